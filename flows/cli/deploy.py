"""`csift deploy`."""

from pathlib import Path
from typing import Annotated

import typer

from flows.cli import DEFAULT_CONFIG, Config, Debug, app, command


@command(app, "deploy")
def deploy(
    config: Config = DEFAULT_CONFIG,
    file: Annotated[Path, typer.Option(help="The deployments, as Prefect reads them.")] = Path("prefect.yaml"),
    debug: Debug = False,
) -> None:
    """Puts a project's deployments, work pools and alerts on the Prefect server of PREFECT_API_URL."""
    from deployments.server import deploy_there

    for name in deploy_there(config, file):
        print(name)
