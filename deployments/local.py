"""One machine: `csift up` starts a Prefect server and a worker, deploys prefect.yaml, and keeps both until Ctrl-C. Where training
goes to the gpu pool, a worker of that pool is started here too; others may join it from anywhere.

Server, workers and flow runs are child processes with this Python and these CSIFT_ settings; Prefect's own data is under
the data folder. Each carries a mark in its environment by which it is found again, whoever its parent is by then.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Any

import httpx
import psutil
import yaml
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.exceptions import ObjectAlreadyExists
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.workers.process import ProcessWorker

from csift.config import LoopConfig, load_config
from csift.db import database
from csift.exceptions import ServiceError
from csift.settings import settings
from deployments.automations import install

PREFECT_YAML = Path(__file__).parents[1] / "prefect.yaml"
POOLS = ("cpu", "gpu")
PREFECT = (sys.executable, "-m", "prefect")
MARK = "CSIFT_UP"  # in the environment of every child: data folder and process id of the `csift up` it belongs to


@dataclass(frozen=True)
class Child:
    """A process that `csift up` keeps: its name for people, and where its output goes."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path


def up(
    config_path: Path,
    host: str = "127.0.0.1",
    port: int = 4200,
    patience: float = 60.0,
    grace: float = 20.0,
    say: Callable[[str], None] = print,
) -> None:
    """Serves the project of a TOML on this machine; returns after Ctrl-C or SIGTERM, when all it started has ended.

    Run again on the same data, it updates the deployments and keeps their history. What a killed `csift up` left
    running is ended first.

    Args:
        patience: longest wait, in seconds, for the server and then for the worker.
        grace: seconds that flow runs, then the worker, then the server have to end before they are killed.

    Raises:
        ConfigError: the TOML cannot be used.
        DatabaseError: Postgres cannot be reached.
        ServiceError: the port is taken, a deployment was refused, or the server or the worker did not start or ended by
            itself.
    """
    config = load_config(config_path)
    _end(_marked(lambda owner: not psutil.pid_exists(owner)), grace)
    _require_free(host, port)
    database()  # an embedded Postgres now lives as long as this process, and no flow run waits for its start
    url = f"http://{host}:{port}"
    try:
        with _termination_interrupts(), _children(grace) as children:
            children.append(_start("server", ["server", "start", "--host", host, "--port", str(port)], url))
            _wait(lambda: _healthy(url), children[-1], patience)
            names = deploy(config, f"{url}/api")
            for pool in POOLS if config.training.run_on == "gpu" else POOLS[:1]:
                name, started = socket.gethostname(), datetime.now(UTC)
                limit = ["--limit", "1"] if pool == "gpu" else []  # a device trains one adapter at a time
                children.append(_start(f"{pool} worker", ["worker", "start", "--pool", pool, "--name", name, *limit], url))
                _wait(partial(_polls, url, pool, name, started), children[-1], patience)
            say(_welcome(config, url, names, children))
            ended = _first_to_end(children)
            raise ServiceError(f"the Prefect {ended.name} ended, so all was stopped; see the end of {ended.log}, then run again")
    except KeyboardInterrupt:
        say("Stopped.")


def deploy(config: LoopConfig, api_url: str) -> list[str]:
    """Deploys all of prefect.yaml for one project on the server at `api_url`; returns the deployments' full names.

    It is `prefect deploy --all` on that file, with `config` as the parameter of this name, once the work pool is there.

    Raises:
        ServiceError: Prefect refused the file or a deployment.
    """
    spec = yaml.safe_load(PREFECT_YAML.read_text())
    for deployment in spec["deployments"]:
        if "parameters" in deployment:  # those of `train` come with the job
            deployment["parameters"] = {**deployment["parameters"], "config": config.model_dump(mode="json")}
    with _client(api_url) as client:
        _ensure_pools(client)
        _prefect_deploy(spec, api_url)
        install(client, config.project, settings())
        by_id = {flow.id: flow.name for flow in client.read_flows()}
        ours = {deployment["name"] for deployment in spec["deployments"]}
        return sorted(f"{by_id[found.flow_id]}/{found.name}" for found in client.read_deployments() if found.name in ours)


def environment(api_url: str) -> dict[str, str]:
    """The environment of every child: this one, with the data folder absolute and Prefect's things inside it."""
    return {
        "PREFECT_WORKER_QUERY_SECONDS": "2",  # what a person starts in the UI starts soon
        **os.environ,
        "CSIFT_DATA_DIR": str(settings().root),
        "PREFECT_HOME": str(settings().root / "prefect"),
        "PREFECT_API_URL": api_url,
        "PREFECT_LOGGING_LEVEL": "INFO",  # the UI shows what runs log, however little this command prints
        "PREFECT_LOGGING_INTERNAL_LEVEL": "ERROR",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }


@contextmanager
def _client(api_url: str) -> Iterator[SyncPrefectClient]:
    with temporary_settings({PREFECT_API_URL: api_url}), get_client(sync_client=True) as client:
        yield client


def _ensure_pools(client: SyncPrefectClient) -> None:
    template = ProcessWorker.get_default_base_job_template()
    for name in POOLS:
        with suppress(ObjectAlreadyExists):
            client.create_work_pool(WorkPoolCreate(name=name, type=ProcessWorker.type, base_job_template=template))


def _prefect_deploy(spec: dict[str, Any], api_url: str) -> None:
    log = _log("deploy")
    with TemporaryDirectory() as folder, log.open("wb") as output:
        filled = Path(folder) / PREFECT_YAML.name
        filled.write_text(yaml.safe_dump(spec))  # not JSON: its 5e-05 is a string to YAML 1.1
        command = [*PREFECT, "--no-prompt", "deploy", "--all", "--prefect-file", str(filled)]
        done = subprocess.run(command, cwd=folder, env=environment(api_url), stdout=output, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        raise ServiceError(f"Prefect refused {PREFECT_YAML}; {log} says why: correct the file and run again")


def _log(name: str) -> Path:
    """Where a child's output goes."""
    path = settings().root / "logs" / f"{name.replace(' ', '-')}.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _start(name: str, arguments: Sequence[str], url: str) -> Child:
    """Starts a Prefect command in a session of its own, so that the terminal's Ctrl-C reaches only us."""
    log = _log(name)
    marked = {**environment(f"{url}/api"), MARK: f"{settings().root}:{os.getpid()}"}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*PREFECT, *arguments], env=marked, cwd=log.parent, stdin=subprocess.DEVNULL, stdout=output,
            stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    return Child(name, process, log)


def _wait(ready: Callable[[], bool], child: Child, patience: float) -> None:
    """Returns once `ready` holds. Raises ServiceError when the child has ended or the patience is at its end."""
    deadline = time.monotonic() + patience
    while not ready():
        if child.process.poll() is not None:
            raise ServiceError(f"the Prefect {child.name} did not start; the reason is at the end of {child.log}")
        if time.monotonic() > deadline:
            raise ServiceError(f"the Prefect {child.name} was not ready within {patience:g} s; see {child.log}, then run again")
        time.sleep(0.1)


def _healthy(url: str) -> bool:
    try:
        return httpx.get(f"{url}/api/health", timeout=2).is_success
    except httpx.TransportError:
        return False


def _polls(url: str, pool: str, name: str, since: datetime) -> bool:
    with _client(f"{url}/api") as client:
        workers = client.read_workers_for_work_pool(pool)
    return any(w.name == name and w.last_heartbeat_time and w.last_heartbeat_time >= since for w in workers)


def _first_to_end(children: Sequence[Child]) -> Child:
    while True:
        for child in children:
            if child.process.poll() is not None:
                return child
        time.sleep(0.5)


@contextmanager
def _children(grace: float) -> Iterator[list[Child]]:
    """Holds the children that the block starts. Flow runs are ended first, so that they can report how they ended."""
    children: list[Child] = []
    try:
        yield children
    finally:
        kept = {child.process.pid for child in children}
        _end([process for process in _marked(lambda owner: owner == os.getpid()) if process.pid not in kept], grace)
        for child in reversed(children):
            if child.process.poll() is None:
                _end([psutil.Process(child.process.pid)], grace)


def _marked(owned: Callable[[int], bool]) -> list[psutil.Process]:
    """The processes on this data folder whose `csift up`, by process id, is `owned`."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):  # gone meanwhile, or somebody else's
            folder, _, owner = process.environ().get(MARK, "").rpartition(":")
            if folder == str(settings().root) and owned(int(owner)):
                found.append(process)
    return found


def _end(processes: Sequence[psutil.Process], grace: float) -> None:
    """Asks processes to end, and kills those that have not within `grace` seconds, or at the next Ctrl-C."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.terminate()
    try:
        _, alive = psutil.wait_procs(processes, timeout=grace)
    except KeyboardInterrupt:
        alive = list(processes)
    for process in alive:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive)


@contextmanager
def _termination_interrupts() -> Iterator[None]:
    """A kill or a closed terminal ends the block as Ctrl-C does, so that it stops its children."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _require_free(host: str, port: int) -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            reason = f"cannot serve on {host}:{port}: {error.strerror}"
            raise ServiceError(f"{reason}; stop what runs there, or choose another --host or --port") from None


def _welcome(config: LoopConfig, url: str, names: Sequence[str], children: Sequence[Child]) -> str:
    logs = ", ".join(str(child.log) for child in children)
    return "\n".join([
        f"Serving {config.project}: {url}",
        f"  deployed: {', '.join(names)}",
        f"  start a run: {url}/deployments, choose one, Run",
        f"  logs: {logs}",
        "  Ctrl-C stops the server, the worker and any run.",
    ])  # fmt: skip
