"""`python -m flows.cli` is `csift`."""

from flows.cli import main

main()
