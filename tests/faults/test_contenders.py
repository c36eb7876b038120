"""Several nightly runs at the same moment, by hand and by schedule, in processes of their own: one goes on."""

import os
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from queue import Queue

import pytest
from prefect.settings import PREFECT_API_URL
from pumps import configure, toml_of, write_catalogue

from csift import cycles, registry
from csift.db import Database
from csift.models import BaseModel
from csift.schemas import CycleState

pytestmark = pytest.mark.slow
CONTENDERS = 6
PATIENCE = 300.0  # seconds

# Says when it is ready and starts when it is told to. Who gets to a stage says so, and waits there until it is told to go on.
CHILD = """
import sys
from pathlib import Path
from csift.config import load_config
from flows.nightly import nightly
from tasks.progress import show_in

config, trigger = load_config(Path(sys.argv[1])), sys.argv[2]
told = []

def progress(*_):
    if not told:
        print("runs", flush=True)
        told.append(sys.stdin.readline())

print("ready", flush=True)
sys.stdin.readline()
with show_in(progress):
    state = nightly(config, trigger, return_state=True)
print("ended", state.name, state.result().state.value, state.message or "", flush=True)
"""


class Contender:
    """A process that runs the loop; what it says goes into a queue, with its number."""

    def __init__(self, number: int, toml: Path, db: Database, said: Queue[tuple[int, str]]) -> None:
        self.number, self.said = number, said
        environment = {
            **os.environ,
            "CSIFT_DATABASE_URL": db.url.render_as_string(hide_password=False),
            "PREFECT_API_URL": PREFECT_API_URL.value(),
            "OMP_NUM_THREADS": "1",
        }
        command = [sys.executable, "-c", CHILD, str(toml), "schedule" if number % 2 else "manual"]
        self.process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        for line in self.process.stdout or ():
            self.said.put((self.number, line.strip()))

    def tell(self) -> None:
        """Lets it go on."""
        assert self.process.stdin
        self.process.stdin.write("go\n")
        self.process.stdin.flush()


def test_one_of_six_goes_on_and_the_others_name_it(
    db: Database, project: str, prefect_server: None, tmp_path: Path, tiny_model: BaseModel
) -> None:
    write_catalogue(tmp_path)
    toml = tmp_path / "csift.toml"
    toml.write_text(toml_of(configure(tmp_path, project, tiny_model.path)))
    said: Queue[tuple[int, str]] = Queue()
    contenders = [Contender(number, toml, db, said) for number in range(CONTENDERS)]

    try:
        assert {said.get(timeout=PATIENCE)[1] for _ in contenders} == {"ready"}
        for contender in contenders:
            contender.tell()
        lines = [said.get(timeout=PATIENCE) for _ in range(CONTENDERS)]
        (winner,) = [number for number, line in lines if line == "runs"]
        skipped = [line for number, line in lines if number != winner and line.startswith("ended Skipped skipped")]
        assert len(skipped) == CONTENDERS - 1
        assert all(f"pid {contenders[winner].process.pid} since" in line for line in skipped)
        contenders[winner].tell()
        assert said.get(timeout=PATIENCE) == (winner, "ended Completed completed")
    finally:
        for contender in contenders:
            contender.process.kill()
            contender.process.communicate()

    states = Counter(cycle.state for cycle in cycles.recent(db, project, CONTENDERS + 1))
    assert states == {CycleState.COMPLETED: 1, CycleState.SKIPPED: CONTENDERS - 1}
    assert len(registry.champion_log(db, project)) == 1
    print(f"{CONTENDERS} runs at once: 1 went on, {len(skipped)} skipped and named it, the champion pointer moved once")
