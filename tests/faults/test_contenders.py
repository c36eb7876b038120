"""Several nightly runs at the same moment, by hand and by schedule, in processes of their own: one goes on.

Prefect keeps its own things in Postgres here, as wherever several run at once: in SQLite, writers lock each other out for longer
than Prefect's client tries again.
"""

import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from queue import Queue

import pytest
from postgres import own_postgres
from pumps import configure, toml_of, write_catalogue
from sites import Site
from sqlalchemy.engine import make_url

from csift import cycles, registry
from csift.db import Database
from csift.models import BaseModel
from csift.schemas import CycleState
from deployments.like_compose import postgres_programs

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
from tasks.results import result_storage

config, trigger = load_config(Path(sys.argv[1])), sys.argv[2]
told = []

def progress(*_):
    if not told:
        print("runs", flush=True)
        told.append(sys.stdin.readline())

result_storage()
print("ready", flush=True)
sys.stdin.readline()
with show_in(progress):
    state = nightly(config, trigger, return_state=True)
print("ended", state.name, state.result().state.value, state.message or "", flush=True)
"""


class Contender:
    """A process that runs the loop; what it says goes into a queue, with its number, and at last that it is gone."""

    def __init__(self, number: int, toml: Path, environment: Mapping[str, str], said: Queue[tuple[int, str]]) -> None:
        self.number, self.said = number, said
        command = [sys.executable, "-c", CHILD, str(toml), "schedule" if number % 2 else "manual"]
        self.process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        for line in self.process.stdout or ():
            self.said.put((self.number, line.strip()))
        self.said.put((self.number, "gone"))

    def tell(self) -> None:
        """Lets it go on."""
        assert self.process.stdin
        self.process.stdin.write("go\n")
        self.process.stdin.flush()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A Prefect server on a Postgres of its own."""
    with own_postgres(postgres_programs()) as postgres:
        url = make_url(postgres.database("prefect")).set(drivername="postgresql+asyncpg")
        made = Site(tmp_path, PREFECT_SERVER_DATABASE_CONNECTION_URL=url.render_as_string(hide_password=False))
        try:
            made.start_server()
            yield made
        finally:
            made.end()


def test_one_of_six_goes_on_and_the_others_name_it(
    db: Database, project: str, site: Site, tmp_path: Path, tiny_model: BaseModel
) -> None:
    write_catalogue(tmp_path)
    toml = tmp_path / "csift.toml"
    toml.write_text(toml_of(configure(tmp_path, project, tiny_model.path)))
    address = db.url.render_as_string(hide_password=False)
    environment = {**site.environment, "CSIFT_DATABASE_URL": address, "OMP_NUM_THREADS": "1"}
    said: Queue[tuple[int, str]] = Queue()
    contenders = [Contender(number, toml, environment, said) for number in range(CONTENDERS)]

    try:
        assert {said.get(timeout=PATIENCE)[1] for _ in contenders} == {"ready"}
        for contender in contenders:
            contender.tell()
        lines = [said.get(timeout=PATIENCE) for _ in range(2 * CONTENDERS - 1)]  # all but the winner end
        (winner,) = [number for number, line in lines if line == "runs"]
        skipped = [line for _, line in lines if line.startswith("ended Skipped skipped")]
        assert len(skipped) == CONTENDERS - 1, lines
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
