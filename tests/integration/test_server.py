"""A real Prefect server and worker as `csift up` starts them, on one small project."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId
from prefect.client.schemas.objects import FlowRun
from prefect.states import Cancelling

from deployments.local import MARK, PREFECT_YAML
from tasks.results import RESULT_STORAGE

pytestmark = pytest.mark.slow

EXAMPLES = PREFECT_YAML.parent / "examples"
LAST_CYCLE = """
from csift.cycles import recent
from csift.db import database
print(recent(database(), "small", 1)[0].model_dump_json())
"""
ASKED_AGAIN = """
import json, sqlalchemy as sa
from csift.db import database
from csift.ledger import CALLS
twice = sa.select(CALLS.c.key).where(CALLS.c.response.is_not(None)).group_by(CALLS.c.key).having(sa.func.count() > 1)
with database().engine.connect() as connection:
    print(json.dumps(connection.scalars(twice).all()))
"""


@dataclass(frozen=True)
class Served:
    """A running `csift up`: its process, its data folder, the server and its API."""

    process: subprocess.Popen[str]
    data: Path
    url: str
    api: SyncPrefectClient

    def run(self, deployment: str) -> FlowRun:
        """Starts a run of a deployment as the UI does."""
        found = self.api.read_deployment_by_name(deployment)
        return self.api.create_flow_run_from_deployment(found.id)

    def until(self, run: FlowRun, holds: Callable[[FlowRun], bool], seconds: float = 300) -> FlowRun:
        """The run, once something holds of it."""
        return until(lambda: self.api.read_flow_run(run.id), holds, seconds)


def until(look: Callable[[], Any], holds: Callable[[Any], bool], seconds: float = 300) -> Any:
    """Looks again and again until it holds of what is seen."""
    deadline = time.monotonic() + seconds
    while not holds(seen := look()):
        assert time.monotonic() < deadline, f"still {seen!r} after {seconds} s"
        time.sleep(0.2)
    return seen


def small_project(folder: Path) -> Path:
    """A TOML over two documents to train on and two to evaluate on."""
    documents = {"kestrel-40.md", "marlow-d12.md", "drayton-30.md", "isolde.md"}
    (folder / "corpus").mkdir()
    for name in documents:
        (folder / "corpus" / name).write_bytes((EXAMPLES / "catalogue-1" / name).read_bytes())
    rows = (EXAMPLES / "questions-1.jsonl").read_text().splitlines()
    kept = [row for row in rows if json.loads(row)["document"] in documents and row.split('"')[3].endswith(("1", "2"))]
    (folder / "questions.jsonl").write_text("\n".join(kept))
    (folder / "traffic.jsonl").write_text("\n".join((EXAMPLES / "traffic-1.jsonl").read_text().splitlines()[:30]))
    toml = folder / "small.toml"
    toml.write_text("""
project = "small"
corpus = { sources = [{ location = "corpus" }], questions = ["questions.jsonl"] }
teacher = { tune_steps = 2 }
synthesis = { candidates = 2 }
training = { max_steps = 2, batch_size = 1 }
gate = { min_items = 2, resamples = 1000 }
drift = { reference = "traffic.jsonl", current = "traffic.jsonl", permutations = 99 }
""")
    return toml


def start(folder: Path, port: int) -> subprocess.Popen[str]:
    """`csift up` on the project in a folder."""
    environment = {**os.environ, "CSIFT_DATA_DIR": str(folder / "data")}
    environment.pop("PREFECT_API_URL", None)
    return subprocess.Popen(
        [sys.executable, "-m", "flows.cli", "up", "--config", str(folder / "small.toml"), "--port", str(port)],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


@contextmanager
def serving(folder: Path) -> Iterator[Served]:
    """A `csift up` that is ready, on a port of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = start(folder, port)
    try:
        printed = []
        for line in process.stdout or ():
            printed.append(line)
            if "Ctrl-C stops" in line:
                break
        else:
            pytest.fail("".join(printed))
        url = f"http://127.0.0.1:{port}"
        with SyncPrefectClient(f"{url}/api") as api:
            yield Served(process, folder / "data", url, api)
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=90)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("served")
    small_project(folder)
    with serving(folder) as up:
        yield up


def on_data(data: Path, script: str) -> Any:
    """What another process reads from a data folder's Postgres."""
    environment = {**os.environ, "CSIFT_DATA_DIR": str(data)}
    command = [sys.executable, "-c", script]
    return json.loads(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)


def last_cycle(data: Path) -> dict[str, Any]:
    """The project's newest cycle."""
    cycle: dict[str, Any] = on_data(data, LAST_CYCLE)
    return cycle


def processes_on(data: Path) -> list[str]:
    """The command lines of all that still runs on a data folder."""
    found = []
    for process in psutil.process_iter():
        try:
            if str(data) in " ".join([*process.cmdline(), process.environ().get(MARK, "")]):
                found.append(" ".join(process.cmdline()))
        except psutil.Error:  # gone meanwhile, or somebody else's
            continue
    return found


def test_the_cron_schedules_runs(served: Served) -> None:
    # With SQLAlchemy 2.1 Prefect's schedules never fire, and nothing says so.
    runs = until(lambda: [run for run in served.api.read_flow_runs() if run.auto_scheduled], bool, seconds=60)
    assert {f"{run.expected_start_time:%H:%M}" for run in runs} == {"02:00"}
    assert {run.parameters["trigger"] for run in runs} == {"schedule"}


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
