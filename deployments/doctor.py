"""All that `csift doctor` looks at, and what it looks at on the Prefect server: version, pools and who polls them, deployments,
schedules, clock. The server is that of Prefect's own settings (PREFECT_API_URL), else the one that `csift up` starts."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path

import httpx
import prefect
from packaging.version import Version
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import StateType
from prefect.client.schemas.responses import DeploymentResponse
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.settings import PREFECT_API_URL, temporary_settings

from csift.config import LoopConfig, load_config
from csift.db.base import now
from csift.doctor import Finding, attempt, failed, installation, models, ok, places, warning
from csift.exceptions import ServiceError
from csift.settings import settings
from tasks.collaborators import index, store

HERE = "http://127.0.0.1:4200/api"  # where `csift up` serves
POLLED = timedelta(seconds=60)  # a worker is heard of every 10 to 15 s
SECONDS = 10.0  # the server has to answer
UP = "run `csift up`, or `prefect deploy --all`"


def examine(config_path: Path) -> Iterator[Finding]:
    """Every check in order, as it is made; those that the configuration does not ask for are left out."""
    told = settings()
    yield from installation.python()
    yield from installation.libraries()
    yield from places.data_folder(told.root)
    yield from attempt("database", lambda: places.database(told))
    yield from attempt("object store", lambda: places.object_store(store()))
    read: list[LoopConfig] = []
    yield from attempt("configuration", lambda: _read(config_path, read))
    for config in read:
        yield from _of_project(config)
    yield from attempt("prefect", lambda: server(read[0] if read else None))


def _read(path: Path, read: list[LoopConfig]) -> Iterator[Finding]:
    read.append(load_config(path))
    yield ok("configuration", f"{path}, project {read[0].project}")


def _of_project(config: LoopConfig) -> Iterator[Finding]:
    told = settings()
    yield from attempt("base model", lambda: models.local("base model", config.training.base_model, told))
    yield from attempt("embedder", lambda: models.embedder(config, told))
    yield from attempt("retriever", lambda: _retriever(config))
    yield from attempt("teacher", lambda: models.model("teacher", config.teacher.model, told))
    for judge in sorted({member.model for member in config.judge.asked if member.model}):
        yield from attempt("judge", lambda spec=judge: models.model("judge", spec, told))  # type: ignore[misc]
    yield from installation.gpu(config.training)


def _retriever(config: LoopConfig) -> Iterator[Finding]:
    found = index(config.project, config.retrieval)
    return models.index(found) if found else models.knowledge_base(settings())


def server(config: LoopConfig | None) -> Iterator[Finding]:
    """What a Prefect server says of itself, and of a project's deployments and their workers.

    Raises:
        ServiceError: it is named and not reached, or does not take this machine's password.
    """
    named = PREFECT_API_URL.value()
    url = str(named or HERE)
    try:
        health = httpx.get(f"{url}/health", timeout=SECONDS)
        health.raise_for_status()
    except httpx.HTTPError as error:
        if named:
            raise ServiceError(f"{url} (PREFECT_API_URL) is not reached: {error}; start that server or correct the URL") from None
        found = f"no server at {url}, and PREFECT_API_URL names none"
        yield warning("prefect", found, "nothing, if `csift run` is all that is meant; else run `csift up`")
        return
    here = parsedate_to_datetime(health.headers["date"])
    try:
        with temporary_settings({PREFECT_API_URL: url}), get_client(sync_client=True) as client:
            yield version(url, client.api_version())
            yield places.clock("clock of prefect", "the Prefect server", here, now())
            for name in ("cpu", "gpu") if config is None or config.training.run_on == "gpu" else ("cpu",):
                yield pool(client, name, here)
            yield from _deployments(client, config)
    except PrefectHTTPStatusError as error:
        if error.response.status_code not in (401, 403):
            raise
        raise ServiceError(f"{url} refuses this machine: {error.response.status_code}; set PREFECT_API_AUTH_STRING") from None


def version(url: str, theirs: str, ours: str = prefect.__version__) -> Finding:
    """Whether a server's version of Prefect suits this machine's."""
    found = f"{url}, Prefect {theirs}" + ("" if theirs == ours else f", and {ours} here")
    if Version(theirs).major != Version(ours).major:
        return failed("prefect", found, "install the same version on both")
    if theirs != ours:
        return warning("prefect", found, "install the same version on both; csift is tested with equal ones")
    return ok("prefect", found)


def pool(client: SyncPrefectClient, name: str, at: datetime) -> Finding:
    """Whether a work pool is there and a worker polls it, `at` being the server's present time."""
    check = f"pool {name}"
    try:
        told = client.read_work_pool(name)
    except ObjectNotFound:
        return failed(check, "is not on the server", f"{UP} after `prefect work-pool create {name} --type process`")
    if told.is_paused:
        return failed(check, "is paused, so no run of it starts", f"`prefect work-pool resume {name}`")
    heard = [worker.last_heartbeat_time for worker in client.read_workers_for_work_pool(name) if worker.last_heartbeat_time]
    polling = sum(at - time.astimezone(UTC) <= POLLED for time in heard)
    if polling:
        return ok(check, f"{polling} polling, of type {told.type}")
    last = f"the last was heard of {max(heard):%Y-%m-%d %H:%M:%S} UTC" if heard else "none ever did"
    return failed(check, f"no worker polls it; {last}", f"start one: `prefect worker start --pool {name}`")


def _deployments(client: SyncPrefectClient, config: LoopConfig | None) -> Iterator[Finding]:
    needed = ["nightly", "monitor", *(["train"] if config and config.training.run_on == "gpu" else [])]
    found = {one.name: one for one in client.read_deployments() if "csift" in one.tags}
    for name in needed:
        check = f"deployment {name}"
        if name not in found:
            yield failed(check, "is not on the server", UP)
            continue
        one = found[name]
        project = (one.parameters.get("config") or {}).get("project")
        if one.paused:
            yield warning(check, "is paused", f"`prefect deployment resume {name}/{name}`, or the switch in the UI")
        elif config and project not in (None, config.project):
            yield failed(check, f"is of project {project}, not of {config.project}", f"{UP} with this configuration")
        else:
            yield _schedule(client, check, one)


def _schedule(client: SyncPrefectClient, check: str, one: DeploymentResponse) -> Finding:
    """A schedule that is on has runs waiting; with SQLAlchemy 2.1 on the server there are none, ever."""
    if not any(schedule.active for schedule in one.schedules):
        return ok(check, "is there, without a schedule")
    waiting = client.read_flow_runs(
        deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[one.id])),
        flow_run_filter=FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.SCHEDULED]))),
        limit=200,
    )
    times = [run.expected_start_time for run in waiting if run.auto_scheduled and run.expected_start_time]
    if times:
        return ok(check, f"is there, next run {min(times):%Y-%m-%d %H:%M} UTC")
    fix = "wait a minute if it was deployed just now; else the server has SQLAlchemy 2.1 or newer: install sqlalchemy<2.1 there"
    return failed(check, "has a schedule, and no run of it waits", fix)
