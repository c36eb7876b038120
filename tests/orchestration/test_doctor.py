"""What `csift doctor` says of a Prefect server: a real one, with pools, workers and deployments of the test's own."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate, WorkPoolCreate, WorkPoolUpdate
from prefect.client.schemas.schedules import RRuleSchedule
from prefect.settings import PREFECT_API_URL, temporary_settings

from csift.config import LoopConfig
from csift.db.base import now
from csift.doctor import Finding, attempt
from deployments.doctor import pool, server, version

CONFIG = LoopConfig.model_validate({
    "project": "shop",
    "corpus": {"sources": [{"location": "docs"}]},
    "drift": {"reference": "r.jsonl", "current": "c.jsonl"},
})  # fmt: skip
ON_GPU = CONFIG.model_copy(update={"training": CONFIG.training.model_copy(update={"run_on": "gpu"})})


@pytest.fixture
def client() -> Iterator[SyncPrefectClient]:
    """A client of the server, on which there is no pool and no deployment; other tests leave theirs there."""
    with get_client(sync_client=True) as made:
        _clear(made)
        yield made
        _clear(made)


def _clear(client: SyncPrefectClient) -> None:
    for kept in client.read_work_pools():
        client.delete_work_pool(kept.name)
    for deployed in client.read_deployments():
        client._client.delete(f"/deployments/{deployed.id}")


def make_pool(client: SyncPrefectClient, name: str, polled: bool = True) -> None:
    """A work pool, and a worker that was heard of just now."""
    client.create_work_pool(WorkPoolCreate(name=name, type="process"))
    if polled:
        client._client.post(f"/work_pools/{name}/workers/heartbeat", json={"name": "w"}).raise_for_status()


def deployment(client: SyncPrefectClient, name: str, project: str = "shop", **told: Any) -> None:
    """A deployment as `csift up` makes it."""
    flow_id = client.create_flow_from_name(name)
    client.create_deployment(flow_id, name, tags=["csift"], parameters={"config": {"project": project}}, **told)


def found(config: LoopConfig | None = CONFIG) -> dict[str, Finding]:
    """The findings by check."""
    return {one.check: one for one in attempt("prefect", lambda: server(config))}


def test_a_server_as_it_should_be(client: SyncPrefectClient) -> None:
    for name in ("cpu", "gpu"):
        make_pool(client, name)
    for name in ("nightly", "monitor", "train"):
        deployment(client, name)
    seen = found(ON_GPU)
    assert {one.state for one in seen.values()} == {"ok"}
    assert set(seen) == {
        "prefect", "clock of prefect", "pool cpu", "pool gpu", "deployment nightly", "deployment monitor", "deployment train",
    }  # fmt: skip
    assert "1 polling" in seen["pool cpu"].found


def test_a_new_server_names_what_it_lacks(client: SyncPrefectClient) -> None:
    seen = found()
    failures = {name: one.fix for name, one in seen.items() if one.state == "FAIL"}
    assert set(failures) == {"pool cpu", "deployment nightly", "deployment monitor"}
    assert all("csift up" in fix for fix in failures.values())


def test_a_pool_that_nobody_polls_and_one_that_is_paused(client: SyncPrefectClient) -> None:
    make_pool(client, "cpu", polled=False)
    make_pool(client, "gpu")
    client.update_work_pool("gpu", WorkPoolUpdate(is_paused=True))
    seen = found(ON_GPU)
    assert (seen["pool cpu"].state, seen["pool cpu"].fix) == ("FAIL", "start one: `prefect worker start --pool cpu`")
    assert (seen["pool gpu"].state, seen["pool gpu"].fix) == ("FAIL", "`prefect work-pool resume gpu`")


def test_a_worker_of_some_minutes_ago_polls_no_more(client: SyncPrefectClient) -> None:
    make_pool(client, "cpu")
    assert pool(client, "cpu", now()).state == "ok"
    later = pool(client, "cpu", now() + timedelta(minutes=3))
    assert later.state == "FAIL"
    assert "the last was heard of" in later.found


def test_deployments_that_are_paused_or_of_another_project(client: SyncPrefectClient) -> None:
    deployment(client, "nightly", project="other")
    deployment(client, "monitor", paused=True)
    seen = found()
    assert seen["deployment nightly"].found == "is of project other, not of shop"
    assert (seen["deployment monitor"].state, seen["deployment nightly"].state) == ("warning", "FAIL")


def test_a_schedule_of_which_nothing_waits_names_the_trap(client: SyncPrefectClient) -> None:
    never = RRuleSchedule(rrule="DTSTART:21000101T020000\nRRULE:FREQ=DAILY;COUNT=1")  # beyond what Prefect looks ahead
    deployment(client, "nightly", schedules=[DeploymentScheduleCreate(schedule=never, active=True)])
    told = found()["deployment nightly"]
    assert told.state == "FAIL"
    assert "sqlalchemy<2.1" in told.fix


def test_without_a_server_the_named_one_fails_and_the_usual_one_is_told() -> None:
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:1/api"}):
        assert found()["prefect"].fix == "start that server or correct the URL"


@pytest.mark.parametrize(("theirs", "state"), [("3.8.8", "ok"), ("3.8.7", "warning"), ("3.9.0", "warning"), ("2.20.1", "FAIL")])
def test_another_prefect_is_told(theirs: str, state: str) -> None:
    assert version("http://h/api", theirs, "3.8.8").state == state
