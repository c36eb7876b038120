"""Two worker processes and one job; the first is killed with -9 or stopped: the second takes over, one of them publishes."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from queue import Queue

import pytest
import sqlalchemy as sa

from csift.db import Database
from csift.db.operations import TaskResultRow
from csift.interfaces import no_progress
from csift.jobs import BEATS, JobState, enqueue, listening, load, wait

pytestmark = pytest.mark.slow
PATIENCE = 60.0  # seconds
LOST = 2.0  # seconds without a heartbeat, for the workers of these tests

# A worker: waits for the job, then does what it is told, a line for each command. What it publishes is a file under its own key
# and a row that names it.
WORKER = """
import pathlib, sys
from csift.db import database
from csift.db.operations import TaskResultRow
from csift.exceptions import TrainingError
from csift.jobs import listening, take

job, name, lost, folder = sys.argv[1:]
db = database()

def publish(session):
    session.add(TaskResultRow(key=held.key, content=name.encode()))
    session.flush()
    if "halfway" in command:
        print("halfway", flush=True)
        sys.stdin.readline()

with listening(db) as heard:
    print("ready", flush=True)
    while (held := take(db, job, name, float(lost))) is None:
        heard(0.05)
try:
    with held:
        print("took", held.job.token, held.job.progress and held.job.progress.done, flush=True)
        for command in sys.stdin:
            if command.startswith("step"):
                held.progress("train", int(command.split()[1]), 10)
            elif command.startswith("await"):
                print("lost", held.lost.wait(60), flush=True)
            else:
                (pathlib.Path(folder) / held.key).write_text(name)
                held.finish({"by": name, "file": held.key}, publish)
                break
    print("finished", flush=True)
except TrainingError as error:
    print("refused", error, flush=True)
"""


class Worker:
    """A worker process, told and heard by lines."""

    def __init__(self, db: Database, job: str, name: str, folder: os.PathLike[str]) -> None:
        environment = {**os.environ, "CSIFT_DATABASE_URL": db.url.render_as_string(hide_password=False)}
        command = [sys.executable, "-c", WORKER, job, name, str(LOST), str(folder)]
        self.process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.lines: Queue[str] = Queue()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        for line in self.process.stdout or ():
            self.lines.put(line.strip())
        self.lines.put("(ended)")

    def says(self) -> str:
        """Its next line."""
        return self.lines.get(timeout=PATIENCE)

    def told(self, command: str) -> None:
        """Gives it a command."""
        assert self.process.stdin is not None
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()

    def send(self, number: signal.Signals) -> None:
        """Sends it a signal."""
        self.process.send_signal(number)


@pytest.fixture
def worker(db: Database, project: str, tmp_path: os.PathLike[str]) -> Iterator[Callable[[str], Worker]]:
    """Starts workers for the test's job; each is ready when it is given."""
    started: list[Worker] = []

    def start(name: str) -> Worker:
        started.append(Worker(db, project, name, tmp_path))
        assert started[-1].says() == "ready"
        return started[-1]

    enqueue(db, project, project, {})
    yield start
    for one in started:
        one.process.kill()
        one.process.communicate()


def published(db: Database, job: str) -> dict[str, str]:
    """Key and worker of every row that was published for the job."""
    with db.session() as session:
        rows = session.scalars(sa.select(TaskResultRow).where(TaskResultRow.key.startswith(job)))
        return {row.key: row.content.decode() for row in rows}


def progressed(db: Database, job: str, done: int) -> None:
    """Waits until the job's row says so."""
    deadline = time.monotonic() + PATIENCE
    with listening(db) as heard:
        while (stand := load(db, job).progress) is None or stand.done < done:
            assert time.monotonic() < deadline
            heard(0.2)


def pair(db: Database, job: str, worker: Callable[[str], Worker]) -> tuple[Worker, Worker]:
    """The first in the middle of the job, the second waiting for it."""
    first = worker("first")
    assert first.says() == "took 1 None"
    first.told("step 4")
    progressed(db, job, 4)
    return first, worker("second")


def test_killed_in_the_middle_another_takes_over_and_publishes(
    db: Database, project: str, worker: Callable[[str], Worker]
) -> None:
    first, second = pair(db, project, worker)
    assert (second.lines.empty(), load(db, project).holder) == (True, "first")
    first.send(signal.SIGKILL)
    began = time.monotonic()
    assert second.says() == "took 2 4"
    print(f"taken over {time.monotonic() - began:.2f} s after kill -9, heartbeats are missed after {LOST} s")
    second.told("finish")
    assert second.says() == "finished"
    with listening(db) as heard:
        result = wait(db, project, no_progress, lambda job: heard(1.0))
    assert result == {"by": "second", "file": f"{project}.2"}
    assert published(db, project) == {f"{project}.2": "second"}
    assert load(db, project).attempts == 2


@pytest.mark.parametrize("noticed", [True, False])
def test_stopped_and_continued_the_first_is_refused(
    db: Database, project: str, worker: Callable[[str], Worker], noticed: bool
) -> None:
    first, second = pair(db, project, worker)
    first.send(signal.SIGSTOP)
    assert second.says() == "took 2 4"
    if noticed:  # while the second is at work
        first.send(signal.SIGCONT)
        first.told("await the loss")
        assert first.says() == "lost True"
        first.told("finish")
        assert first.says().startswith(
            f"refused job {project} (token 1, first) was silent and passed on (token 2, second, running)"
        )
    second.told("finish")
    assert second.says() == "finished"
    if not noticed:  # when all is over
        first.told("finish")
        first.send(signal.SIGCONT)
        assert first.says().startswith(f"refused job {project} (token 1, first) was silent and passed on (token 2, second, done)")
    assert first.says() == "(ended)"
    assert published(db, project) == {f"{project}.2": "second"}
    assert (load(db, project).state, load(db, project).result) == (JobState.DONE, {"by": "second", "file": f"{project}.2"})


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_cut_off_between_its_row_and_the_commit_nothing_of_it_is_published(
    db: Database, project: str, worker: Callable[[str], Worker], number: signal.Signals
) -> None:
    first, second = pair(db, project, worker)
    first.told("finish halfway")
    assert first.says() == "halfway"
    first.send(number)
    assert second.says() == "took 2 4"
    second.told("finish")
    assert second.says() == "finished"
    if number is signal.SIGSTOP:
        first.told("go on")
        first.send(signal.SIGCONT)
        assert first.says().startswith(f"refused job {project} (token 1, first) was silent and passed on (token 2, second, done)")
    assert first.says() == "(ended)"
    assert published(db, project) == {f"{project}.2": "second"}


def test_a_worker_at_work_is_left_alone_for_as_long_as_it_takes(
    db: Database, project: str, worker: Callable[[str], Worker]
) -> None:
    first, second = pair(db, project, worker)
    heartbeats: set[object] = set()
    with listening(db) as heard:
        while len(heartbeats) < 3 * BEATS:  # three times the window
            assert heard(PATIENCE)
            with db.session() as session:
                query = sa.text("SELECT heartbeat_at FROM jobs WHERE id = :id")
                heartbeats.add(session.scalar(query, {"id": project}))
    assert second.lines.empty()
    first.told("finish")
    assert first.says() == "finished"
    assert published(db, project) == {f"{project}.1": "first"}
