#!/bin/sh
# with-secrets.sh NAME=secret ... -- command ...
# Runs the command with the contents of secrets as environment variables, for programs that read no files.
set -eu
while [ "$1" != -- ]; do
    value=$(cat "${SECRETS:-/run/secrets}/${1#*=}")
    export "${1%%=*}=${value:?the secret ${1#*=} is empty}"
    shift
done
shift
exec "$@"
