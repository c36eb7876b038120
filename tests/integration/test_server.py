"""A real Prefect server and worker as `csift up` starts them, on one small project."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest
from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId
from prefect.states import Cancelling
from served import Hook, Served, last_cycle, on_data, processes_on, serving, small_project, start, until

from tasks.results import RESULT_STORAGE

pytestmark = pytest.mark.slow

ASKED_AGAIN = """
import json, sqlalchemy as sa
from csift.db import database
from csift.ledger import CALLS
twice = sa.select(CALLS.c.key).where(CALLS.c.response.is_not(None)).group_by(CALLS.c.key).having(sa.func.count() > 1)
with database().engine.connect() as connection:
    print(json.dumps(connection.scalars(twice).all()))
"""


@pytest.fixture(scope="module")
def hook() -> Iterator[Hook]:
    """Somebody who is told."""
    with Hook() as listening:
        yield listening


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, hook: Hook) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("served")
    small_project(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CSIFT_ALERT_WEBHOOK", hook.url)
        with serving(folder) as up:
            yield up


def test_the_cron_schedules_runs(served: Served) -> None:
    # With SQLAlchemy 2.1 Prefect's schedules never fire, and nothing says so.
    runs = until(lambda: [run for run in served.api.read_flow_runs() if run.auto_scheduled], bool, seconds=60)
    nightly = [run for run in runs if "trigger" in run.parameters]
    assert {f"{run.expected_start_time:%H:%M}" for run in nightly} == {"02:00"}
    assert {run.parameters["trigger"] for run in nightly} == {"schedule"}


def test_doctor_finds_all_as_it_should_be(served: Served) -> None:
    both = {True, False}  # the nightly's schedule has a parameter, the monitor's none
    waiting = lambda: {"trigger" in run.parameters for run in served.api.read_flow_runs() if run.auto_scheduled}  # noqa: E731
    until(waiting, lambda seen: seen == both, seconds=60)
    environment = {**os.environ, "CSIFT_DATA_DIR": str(served.data), "PREFECT_API_URL": f"{served.url}/api"}
    command = [sys.executable, "-m", "flows.cli", "doctor", "--json", "--config", str(served.data.parent / "small.toml")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    found = {one["check"]: one for one in json.loads(done.stdout)}
    assert [one for one in found.values() if one["state"] == "FAIL"] == []
    assert done.returncode == 0
    assert {"pool cpu", "deployment nightly", "deployment monitor", "teacher", "retriever"} <= found.keys()


def test_everything_of_the_file_is_deployed_with_the_project(served: Served) -> None:
    for name in ("nightly/nightly", "backfill/backfill"):
        deployment = served.api.read_deployment_by_name(name)
        assert deployment.parameters["config"]["project"] == "small"
        assert Path(deployment.parameters["config"]["corpus"]["sources"][0]["location"]).is_absolute()
        assert deployment.work_pool_name == "cpu"
        assert "config" in deployment.parameter_openapi_schema["properties"]
    slug, name = RESULT_STORAGE.split("/")
    assert served.api.read_block_document_by_name(name, slug)


def test_a_run_of_the_deployment_is_a_cycle_in_postgres(served: Served) -> None:
    run = served.until(served.run("nightly/nightly"), lambda seen: seen.state.is_final())
    assert run.state.is_completed(), run.state.message
    cycle = last_cycle(served.data)
    assert (cycle["project"], cycle["trigger"], cycle["state"]) == ("small", "manual", "completed")
    assert cycle["decision_id"]
    assert served.api.read_logs(LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run.id])))
    keys = {artifact.key for artifact in served.api.read_artifacts()}
    assert {"decision", "run-report", "progress-train"} <= keys


def test_worse_answers_reach_a_webhook_within_ten_seconds(served: Served, hook: Hook) -> None:
    def rated(name: str, right: int) -> Path:
        now, path = datetime.now(UTC), served.data.parent / name
        rows = [
            {"session": f"s{n}", "question": f"How heavy is it {n % 7}?", "correct": n % 10 < right, "at": now.isoformat()}
            for n in range(120)
        ]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path

    config = served.api.read_deployment_by_name("monitor/monitor").parameters["config"]
    drift = {**config["drift"], "reference": str(rated("before.jsonl", 9)), "current": str(rated("now.jsonl", 2))}
    run = served.until(served.run("monitor/monitor", config={**config, "drift": drift}), lambda seen: seen.state.is_final())
    assert run.state.is_completed(), run.state.message

    told = until(lambda: [said for said in hook.told if said["event"] == "csift.accuracy.regressed"], bool, seconds=10)[0]
    assert told["project"] == "small"
    assert "20.0% of 120 rated sessions" in told["numbers"]
    assert told["link"] and "csift rollback" in told["what_to_do"]


def test_a_second_one_says_that_the_port_is_taken(served: Served) -> None:
    port = int(served.url.rsplit(":", 1)[1])
    output, _ = start(served.data.parent, port).communicate(timeout=60)
    assert f"cannot serve on 127.0.0.1:{port}: Address already in use" in output.splitlines()[-1]


def test_ctrl_c_interrupts_the_run_and_leaves_nothing(tmp_path: Path) -> None:
    small_project(tmp_path)
    with serving(tmp_path) as up:
        up.until(up.run("nightly/nightly"), lambda seen: seen.state.is_running())
        until(lambda: last_cycle(up.data)["state"], lambda state: state == "running")
        up.process.send_signal(signal.SIGINT)
        output, _ = up.process.communicate(timeout=90)
        assert (up.process.returncode, output) == (0, "Stopped.\n")
        assert processes_on(up.data) == []
    assert last_cycle(up.data)["state"] == "interrupted"


def test_a_run_cancelled_in_the_ui_stops_and_the_next_one_continues_it(tmp_path: Path) -> None:
    small_project(tmp_path)
    with serving(tmp_path) as up:
        idle = processes_on(up.data)
        run = up.run("nightly/nightly")
        up.until(run, lambda seen: seen.state.is_running())
        until(lambda: last_cycle(up.data)["cost"]["calls"], bool)
        up.api.set_flow_run_state(run.id, Cancelling())
        run = up.until(run, lambda seen: seen.state.is_final(), seconds=20)
        assert run.state.is_cancelled(), run.state
        stopped = last_cycle(up.data)
        assert (stopped["state"], stopped["decision_id"]) == ("interrupted", None)
        until(lambda: processes_on(up.data), lambda left: len(left) <= len(idle), seconds=10)

        again = up.until(up.run("nightly/nightly"), lambda seen: seen.state.is_final())
        assert again.state.is_completed(), again.state.message
        assert last_cycle(up.data)["decision_id"]
        assert stopped["cost"]["calls"] > 0
        assert on_data(up.data, ASKED_AGAIN) == []


def test_when_the_worker_dies_all_is_stopped_and_said(tmp_path: Path) -> None:
    small_project(tmp_path)
    with serving(tmp_path) as up:
        [worker] = [process for process in psutil.Process(up.process.pid).children() if "worker" in process.cmdline()]
        worker.kill()
        output, _ = up.process.communicate(timeout=90)
        assert up.process.returncode == 1
        assert "the Prefect cpu worker ended, so all was stopped; see the end of" in output.splitlines()[-1]
        assert processes_on(up.data) == []
