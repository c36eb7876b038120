"""The Prefect server restarts, and a machine with a worker goes, while a cycle goes on: real processes, without `csift up`."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from postgres import OwnPostgres, own_postgres
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun
from pumps import configure, write_catalogue
from served import Hook, until
from sites import Site

from csift import cycles
from csift.db import Database, database
from csift.models import BaseModel
from csift.schemas import CycleState
from csift.settings import settings
from deployments.server import deploy

pytestmark = pytest.mark.slow
STUCK = 120.0  # seconds after which no run of a dead worker may be Running
NIGHTLY = "nightly/nightly"


def number(db: Database, query: str) -> int:
    """What a query counts."""
    with db.session() as session:
        return session.scalar(sa.text(query)) or 0


def losses(db: Database) -> int:
    """Training steps that were written down."""
    return number(db, "SELECT count(*) FROM losses")


def calls(db: Database) -> int:
    """Model calls."""
    return number(db, "SELECT count(*) FROM calls")


def repeated(db: Database) -> int:
    """Calls that were made again although they had been answered."""
    return calls(db) - number(db, "SELECT count(DISTINCT key) FROM calls")


@pytest.fixture
def hook() -> Iterator[Hook]:
    """Somebody who is told."""
    with Hook() as listening:
        yield listening


@pytest.fixture
def postgres() -> Iterator[OwnPostgres]:
    """Which outlives the processes."""
    with own_postgres() as server:
        yield server


@pytest.fixture
def site(
    postgres: OwnPostgres, tmp_path: Path, hook: Hook, tiny_model: BaseModel, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Site]:
    """With the pumps' project deployed, and a worker."""
    monkeypatch.setenv("CSIFT_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("CSIFT_DATABASE_URL", postgres.database("site"))
    monkeypatch.setenv("CSIFT_ALERT_WEBHOOK", hook.url)
    monkeypatch.setenv("CSIFT_RUN_SILENCE", "40")
    settings.cache_clear()
    database.cache_clear()
    write_catalogue(tmp_path)
    made = Site(tmp_path)
    try:
        made.start_server()
        config = configure(tmp_path, "site", tiny_model.path, max_steps=40, checkpoint_every=5)
        deploy(config, made.environment, tmp_path / "deploy.log")
        made.start_worker()
        yield made
    finally:
        made.end()
        database().close()
        settings.cache_clear()
        database.cache_clear()


def test_a_run_outlives_the_server_and_a_dead_workers_run_is_called_crashed_and_continued(site: Site, hook: Hook) -> None:
    db = database()
    with SyncPrefectClient(f"{site.url}/api") as api:
        nightly = api.read_deployment_by_name(NIGHTLY)

        def start(**training: Any) -> FlowRun:
            config = nightly.parameters["config"]
            config = {**config, "training": {**config["training"], **training}}
            return api.create_flow_run_from_deployment(nightly.id, parameters={**nightly.parameters, "config": config})

        def state(run: FlowRun) -> Any:
            return api.read_flow_run(run.id).state

        run = start()
        until(lambda: losses(db), lambda seen: seen >= 10)
        site.kill("server")
        site.start_server()
        ended = until(lambda: state(run), lambda seen: seen.is_completed())  # on a slow machine it may be Crashed meanwhile
        assert [cycle.state for cycle in cycles.recent(db, "site", 5)] == [CycleState.COMPLETED]
        assert repeated(db) == 0
        print(f"server killed with -9 and started again: the run {ended.name}, no call of {calls(db)} made twice")

        before = losses(db)
        run = start(learning_rate=3e-4)
        until(lambda: losses(db), lambda seen: seen >= before + 10)
        died = time.monotonic()
        site.kill("worker")
        crashed = until(lambda: state(run), lambda seen: not seen.is_running(), STUCK)
        assert crashed.is_crashed(), crashed
        print(f"worker and run killed with -9: Crashed {time.monotonic() - died:.0f} s later")
        told = until(lambda: [said for said in hook.told if said["event"] == "csift.run.crashed"], bool, 30)[0]
        assert run.name in told["happened"]

        site.start_worker()
        made = calls(db)
        again = start(learning_rate=3e-4)
        ended = until(lambda: state(again), lambda seen: seen.is_final())
        assert ended.is_completed(), ended
        last, cut, _ = cycles.recent(db, "site", 5)
        assert (last.state, cut.state) == (CycleState.COMPLETED, CycleState.INTERRUPTED)
        assert repeated(db) == 0
        print(f"the next run {ended.name}: {calls(db) - made} calls were left, none of {made} was made again; alert sent")
