"""`csift up`: server, worker and deployments on this machine."""

from typing import Annotated

import typer

from flows.cli import DEFAULT_CONFIG, Config, Debug, app, command


@command(app, "up")
def up(
    config: Config = DEFAULT_CONFIG,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port of the Prefect server and UI.")] = 4200,
    debug: Debug = False,
) -> None:
    """Starts a Prefect server and a worker and deploys everything; Ctrl-C stops both."""
    from deployments.local import up as start

    start(config, host=host, port=port)
