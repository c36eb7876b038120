"""Training on the gpu pool: two real workers on one machine, of which one is killed in the middle of a job."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from served import Served, last_cycle, on_data, serving, small_project, until

pytestmark = pytest.mark.slow

STEPS, EVERY = 24, 3
JOB = """
import json, sqlalchemy as sa
from csift.db import database
from csift.jobs import load
with database().engine.connect() as connection:
    ids = connection.scalars(sa.text("SELECT id FROM jobs WHERE kind = 'train'")).all()
jobs = [load(database(), id_) for id_ in ids]
print(json.dumps([dict(id=j.id, state=j.state, token=j.token, attempts=j.attempts, holder=j.holder,
                       done=j.progress.done if j.progress else 0, note=j.progress.note if j.progress else "") for j in jobs]))
"""
LOSSES = """
import json
from csift.db import database
from csift.registry import find_adapter, load_losses
adapter = find_adapter(database(), {id!r})
print(json.dumps(dict(steps=[point.step for point in load_losses(database(), adapter.id)], artifact=adapter.artifact)))
"""


class Worker:
    """A worker of the gpu pool."""

    def __init__(self, up: Served, name: str) -> None:
        self.name = name
        environment = {
            **os.environ,
            "CSIFT_DATA_DIR": str(up.data),
            "PREFECT_HOME": str(up.data / "prefect"),
            "PREFECT_API_URL": f"{up.url}/api",
            "PREFECT_WORKER_QUERY_SECONDS": "2",
        }
        command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", "gpu", "--name", name, "--limit", "1"]
        with (up.data / f"{name}.log").open("wb") as log:
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=up.data)

    def pids(self) -> set[int]:
        """Its own process and those of the runs that it started."""
        mine = psutil.Process(self.process.pid)
        return {mine.pid, *(child.pid for child in mine.children(recursive=True))}

    def kill(self) -> None:
        """As when its machine goes: the worker and whatever it runs, at once."""
        family = [psutil.Process(pid) for pid in self.pids()] if self.process.poll() is None else []
        for one in family:
            one.kill()
        self.process.wait()


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Served]:
    small_project(tmp_path)
    with serving(tmp_path) as served:
        yield served


def job(up: Served) -> dict[str, Any]:
    """The only training job, or nothing yet."""
    found: list[dict[str, Any]] = on_data(up.data, JOB)
    return found[0] if found else {"token": 0, "done": 0, "state": "none"}


def test_a_killed_workers_job_is_finished_by_another_from_the_checkpoint(up: Served) -> None:
    config = up.api.read_deployment_by_name("nightly/nightly").parameters["config"]
    training = {**config["training"], "run_on": "gpu", "max_steps": STEPS, "checkpoint_every": EVERY}
    workers = [Worker(up, "first"), Worker(up, "second")]
    try:
        run = up.run("nightly/nightly", config={**config, "training": training})
        held = until(lambda: job(up), lambda seen: seen["done"] > 2 * EVERY, seconds=400)
        pid = pid_of(held["holder"])
        [killed] = [worker for worker in workers if pid in worker.pids()]
        killed.kill()
        before = job(up)["done"]

        taken = until(lambda: job(up), lambda seen: seen["token"] == 2 and seen["done"] > 0, seconds=180)
        assert taken["done"] > before - EVERY  # from the last checkpoint, not from the start
        assert pid_of(taken["holder"]) != pid

        run = up.until(run, lambda seen: seen.state.is_final(), seconds=600)
        assert run.state.is_completed(), run.state.message
        done = job(up)
        assert (done["state"], done["token"], done["attempts"]) == ("done", 2, 2)
        told = on_data(up.data, LOSSES.format(id=done["id"]))
        assert told["steps"] == list(range(1, STEPS + 1))
        assert told["artifact"].endswith(f"{done['id']}.2")
        assert last_cycle(up.data)["state"] == "completed"
    finally:
        for worker in workers:
            worker.kill()


def pid_of(holder: str) -> int:
    """The process of a holder such as `host pid 123 since ...`."""
    return int(holder.partition("pid ")[2].split()[0])
