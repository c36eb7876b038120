"""`csift metrics`: figures of all projects for Prometheus."""

from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from csift.config import load_config
from csift.exceptions import ServiceError
from csift.settings import settings
from flows.cli import Debug, app, command


@command(app, "metrics")
def metrics(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 9464,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    config: Annotated[Path | None, typer.Option("--config", "-c", help="A project's TOML; its budget is shown, too.")] = None,
    debug: Debug = False,
) -> None:
    """Serves figures for Prometheus, read from Postgres at each scrape, until Ctrl-C."""
    loaded = load_config(config) if config else None
    from csift.db.connection import connect
    from csift.telemetry.metrics import PostgresCollector, exporter

    try:
        server = exporter(PostgresCollector(connect(settings()), loaded), host, port)
    except OSError as error:
        why = f"cannot serve on {host}:{port}: {error.strerror}"
        raise ServiceError(f"{why}; stop what runs there, or choose another --host or --port") from None
    print(f"Metrics: http://{host}:{port}/metrics")
    with suppress(KeyboardInterrupt):
        server.serve_forever()
