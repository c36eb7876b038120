"""One machine: `csift up` starts a Prefect server and a worker, deploys prefect.yaml, and keeps both until Ctrl-C. Where training
goes to the gpu pool, a worker of that pool is started here too; others may join it from anywhere.

Server, workers and flow runs are child processes with this Python and these CSIFT_ settings; Prefect's own data is under
the data folder. With `--like-compose` they are those of docker-compose.yml (deployments/like_compose.py).
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from csift.config import LoopConfig, load_config
from csift.db import database
from csift.exceptions import ServiceError
from csift.settings import settings
from csift.telemetry.logs import VARIABLES as JSON_LOGS
from deployments import like_compose
from deployments.processes import Children, Service, keeping, log_of, require_alone, require_free
from deployments.server import POOLS, deploy, server, worker

PATIENCE = 60.0  # longest wait, in seconds, for each service to be ready
GRACE = 20.0  # seconds that flow runs, then each service have to end before they are killed


def up(config_path: Path, host: str = "127.0.0.1", port: int = 4200, say: Callable[[str], None] = print) -> None:
    """Serves the project of a TOML on this machine; returns after Ctrl-C or SIGTERM, when all it started has ended.

    Run again on the same data, it updates the deployments and keeps their history. What a killed `csift up` left
    running is ended first.

    Raises:
        ConfigError: the TOML cannot be used.
        DatabaseError: Postgres cannot be reached.
        ServiceError: the port is taken, a deployment was refused, or the server or the worker did not start or ended by
            itself.
    """
    config = load_config(config_path)
    told = environment(settings().root, host, port)
    with _kept(settings().root, say) as children:
        require_free(host, port)
        database()  # an embedded Postgres now lives as long as this process, and no flow run waits for its start
        workers = [worker(pool, told) for pool in (POOLS if config.training.run_on == "gpu" else POOLS[:1])]
        names = _start(children, config, [server(host, port, told)], workers)
        say(_welcome(config, told, names))
        _keep(children)


def up_like_compose(config_path: Path, host: str = "127.0.0.1", port: int = 4200, say: Callable[[str], None] = print) -> None:
    """As `up`, with the services of docker-compose.yml: Postgres for csift and for Prefect, Chroma, an object store, a worker of
    each pool. Their data is apart from that of `up`.

    Raises:
        ConfigError: the TOML cannot be used, or a setting names a service that is started here.
        DatabaseError: Postgres did not start.
        ServiceError: as `up`; or this machine has no PostgreSQL or no rclone, or another one runs on this data.
    """
    config = load_config(config_path)
    root = settings().root / "like-compose"
    told = environment(root, host, port)
    like_compose.require_tools_and_no_other_services()
    with _kept(root, say) as children:
        require_free(host, port)
        require_alone(root)
        stack = like_compose.prepare(root, config_path, told, host, port)
        names = _start(children, config, stack.services, stack.ours)
        say(_welcome(config, told, names, stack.hints))
        _keep(children)


def environment(root: Path, host: str, port: int) -> dict[str, str]:
    """What every child has: this environment, with the data folder absolute and Prefect's things inside it."""
    return {
        "PREFECT_WORKER_QUERY_SECONDS": "2",  # what a person starts in the UI starts soon
        **(JSON_LOGS if settings().log_format == "json" else {}),
        **os.environ,
        "CSIFT_DATA_DIR": str(root),
        "PREFECT_HOME": str(root / "prefect"),
        "PREFECT_API_URL": f"http://{host}:{port}/api",
        "PREFECT_LOGGING_LEVEL": "INFO",  # the UI shows what runs log, however little this command prints
        "PREFECT_LOGGING_INTERNAL_LEVEL": "ERROR",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }


@contextmanager
def _kept(root: Path, say: Callable[[str], None]) -> Iterator[Children]:
    """Children until Ctrl-C, which ends the block and is no error."""
    try:
        with keeping(root, GRACE) as children:
            yield children
    except KeyboardInterrupt:
        say("Stopped.")


def _start(children: Children, config: LoopConfig, services: Sequence[Service], ours: Sequence[Service]) -> list[str]:
    """Starts all, and deploys once the server is there and before what runs csift; returns the deployments' names."""
    for service in services:
        children.start(service, PATIENCE)
    names = deploy(config, ours[0].environment, log_of(children.root, "deploy"))
    for one in ours:
        children.start(one, PATIENCE)
    return names


def _keep(children: Children) -> None:
    ended = children.first_to_end()
    log = log_of(children.root, ended.name)
    raise ServiceError(f"the {ended.called} ended, so all was stopped; see the end of {log}, then run again")


def _welcome(config: LoopConfig, told: Mapping[str, str], names: Sequence[str], hints: Sequence[str] = ()) -> str:
    url = told["PREFECT_API_URL"].removesuffix("/api")
    return "\n".join([
        f"Serving {config.project}: {url}",
        f"  deployed: {', '.join(names)}",
        f"  start a run: {url}/deployments, choose one, Run",
        *(f"  {hint}" for hint in hints),
        f"  logs: {Path(told['CSIFT_DATA_DIR']) / 'logs'}",
        "  Ctrl-C stops the server, the worker and any run.",
    ])  # fmt: skip
