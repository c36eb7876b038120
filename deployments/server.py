"""A Prefect server and its workers: how they are started, and what is put on the server."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import yaml
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.exceptions import ObjectAlreadyExists
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings
from prefect.workers.process import ProcessWorker

from csift.config import LoopConfig, load_config
from csift.exceptions import ConfigError, ServiceError
from csift.settings import settings
from deployments.automations import install
from deployments.processes import Service, answers, log_of

PREFECT_YAML = Path(__file__).parents[1] / "prefect.yaml"
POOLS = ("cpu", "gpu")
PREFECT = (sys.executable, "-m", "prefect")


def server(host: str, port: int, environment: Mapping[str, str]) -> Service:
    """The Prefect server with its UI."""
    command = [*PREFECT, "server", "start", "--host", host, "--port", str(port)]
    url = f"http://{host}:{port}/api/health"
    return Service("server", "Prefect server", command, environment, lambda _: answers(url))


def worker(pool: str, environment: Mapping[str, str]) -> Service:
    """A worker of a pool, on the server that its environment names."""
    name = socket.gethostname()
    limit = ["--limit", "1"] if pool == "gpu" else []  # a device trains one adapter at a time
    command = [*PREFECT, "worker", "start", "--pool", pool, "--name", name, *limit]
    polls = partial(_polls, environment, pool, name)
    return Service(f"{pool}-worker", f"Prefect {pool} worker", command, environment, polls)


def deploy(config: LoopConfig, environment: Mapping[str, str], log: Path, file: Path = PREFECT_YAML) -> list[str]:
    """Deploys all of prefect.yaml for one project; returns the deployments' full names.

    It is `prefect deploy --all` on that file, with `config` as the parameter of this name, once the work pools are there.

    Args:
        environment: of the process that deploys; it names the server.
        log: where its output goes.
        file: prefect.yaml, as the repository has it.

    Raises:
        ConfigError: a setting of alerts cannot be used.
        ServiceError: Prefect refused the file or a deployment.
    """
    spec = yaml.safe_load(file.read_text())
    for deployment in spec["deployments"]:
        if "parameters" in deployment:  # those of `train` come with the job
            deployment["parameters"] = {**deployment["parameters"], "config": config.model_dump(mode="json")}
    with _client(environment) as client:
        _ensure_pools(client)
        _prefect_deploy(spec, environment, log, file)
        install(client, config.project, settings())
        by_id = {flow.id: flow.name for flow in client.read_flows()}
        ours = {deployment["name"] for deployment in spec["deployments"]}
        return sorted(f"{by_id[found.flow_id]}/{found.name}" for found in client.read_deployments() if found.name in ours)


def deploy_there(config: Path, file: Path) -> list[str]:
    """As `deploy`, for a TOML, on the server that Prefect's own settings name.

    Raises:
        ConfigError: no server is named, there is no such file, or as `load_config` and `deploy`.
        ServiceError: the server does not answer, or as `deploy`.
    """
    loaded, url = load_config(config), PREFECT_API_URL.value()
    if not url:
        raise ConfigError("no Prefect server is named; export PREFECT_API_URL=http://HOST:4200/api, or let `csift up` start one")
    if not file.is_file():
        raise ConfigError(f"there is no {file}; run this in the folder of csift's prefect.yaml, or name that by --file")
    try:
        return deploy(loaded, {**os.environ, "PREFECT_API_URL": url}, log_of(settings().root, "deploy"), file.resolve())
    except httpx.TransportError as error:
        raise ServiceError(
            f"the Prefect server of {url} does not answer; start it, or correct PREFECT_API_URL ({error})"
        ) from error


@contextmanager
def _client(environment: Mapping[str, str]) -> Iterator[SyncPrefectClient]:
    """One of the server that a child with this environment would have."""
    told = {PREFECT_API_URL: environment["PREFECT_API_URL"], PREFECT_API_AUTH_STRING: environment.get("PREFECT_API_AUTH_STRING")}
    with temporary_settings(told), get_client(sync_client=True) as client:
        yield client


def _ensure_pools(client: SyncPrefectClient) -> None:
    template = ProcessWorker.get_default_base_job_template()
    for name in POOLS:
        with suppress(ObjectAlreadyExists):
            client.create_work_pool(WorkPoolCreate(name=name, type=ProcessWorker.type, base_job_template=template))


def _prefect_deploy(spec: dict[str, Any], environment: Mapping[str, str], log: Path, file: Path) -> None:
    with TemporaryDirectory() as folder, log.open("wb") as output:
        filled = Path(folder) / "prefect.yaml"
        filled.write_text(yaml.safe_dump(spec))  # not JSON: its 5e-05 is a string to YAML 1.1
        command = [*PREFECT, "--no-prompt", "deploy", "--all", "--prefect-file", str(filled)]
        done = subprocess.run(command, cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        raise ServiceError(f"Prefect refused {file}; {log} says why: correct the file and run again")


def _polls(environment: Mapping[str, str], pool: str, name: str, since: datetime) -> bool:
    with _client(environment) as client:
        workers = client.read_workers_for_work_pool(pool)
    return any(w.name == name and w.last_heartbeat_time and w.last_heartbeat_time >= since for w in workers)
