"""`csift up`: server, worker and deployments on this machine."""

from typing import Annotated

import typer

from flows.cli import DEFAULT_CONFIG, Config, Debug, app, command


@command(app, "up")
def up(
    config: Config = DEFAULT_CONFIG,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port of the Prefect server and UI.")] = 4200,
    like_compose: Annotated[bool, typer.Option("--like-compose", help="With the services of docker-compose.yml.")] = False,
    debug: Debug = False,
) -> None:
    """Starts a Prefect server and a worker and deploys everything; Ctrl-C stops both."""
    from deployments import local

    start = local.up_like_compose if like_compose else local.up
    start(config, host=host, port=port)
