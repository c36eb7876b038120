"""kill -9 and Ctrl-C on a real `csift run nightly`: the next run continues and ends as if nothing had happened."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from pumps import configure, toml_of, write_catalogue

from csift import cycles, registry
from csift.config import LoopConfig
from csift.db.connection import Database, open_database
from csift.models import BaseModel
from csift.schemas import Cycle, CycleState, PromotionDecision
from csift.settings import Settings

pytestmark = pytest.mark.slow
PATIENCE = 300.0  # seconds

CALLS = "SELECT count(*) FROM calls WHERE role = '{}'"
LOSSES = "SELECT count(*) FROM losses"  # the first two are those of tuning the teacher


class Loop:
    """A project with a data folder of its own, run by the command."""

    def __init__(self, folder: Path, model: BaseModel) -> None:
        self.data = folder / "data"
        write_catalogue(folder)
        self.config: LoopConfig = configure(folder, "faults", model.path, max_steps=60, checkpoint_every=5)
        (folder / "csift.toml").write_text(toml_of(self.config))
        self.folder = folder
        self.db: Database = open_database(Settings(data_dir=self.data))

    def start(self) -> subprocess.Popen[str]:
        """A run in a process group of its own, as a terminal gives it."""
        environment = {**os.environ, "CSIFT_DATA_DIR": str(self.data)}
        return subprocess.Popen(
            [sys.executable, "-m", "flows.cli", "run", "nightly"],
            cwd=self.folder,
            env=environment,
            start_new_session=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def finish(self) -> Cycle:
        """A run to its end."""
        process = self.start()
        out, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, err
        assert "Report" in out
        return cycles.recent(self.db, "faults", 1)[0]

    def wait(self, process: subprocess.Popen[str], reached: Callable[[], bool]) -> None:
        """Until the run has come to a point."""
        deadline = time.monotonic() + PATIENCE
        while not reached():
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def count(self, query: str) -> int:
        with self.db.session() as session:
            return session.scalar(sa.text(query)) or 0

    def decision(self, cycle: Cycle) -> PromotionDecision:
        """Without what a clock told, and the id, which is made of it as well."""
        made = registry.load(self.db, PromotionDecision, cycle.decision_id or "")
        readings = tuple(reading for reading in made.evidence.readings if "seconds" not in reading.name)
        evidence = made.evidence.model_copy(update={"readings": readings})
        guards = tuple(guard for guard in made.guards if "seconds" not in guard.reading.name)
        return made.model_copy(update={"id": "", "evidence": evidence, "guards": guards})

    def curve(self, cycle: Cycle) -> list[float]:
        adapter = next(stage.record_id for stage in cycle.stages if stage.stage == "train")
        return [point.loss for point in registry.load_losses(self.db, adapter or "")]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, tiny_model: BaseModel) -> Iterator[tuple[Loop, Cycle]]:
    loop = Loop(tmp_path_factory.mktemp("undisturbed") / "project", tiny_model)
    yield loop, loop.finish()
    loop.db.close()


@pytest.mark.parametrize(
    ("stage", "query", "enough"),
    [
        ("synthesise", CALLS.format("teacher"), 1),
        ("train", LOSSES, 14),
        ("judge champion", "SELECT count(*) FROM stages WHERE stage = 'judge champion'", 1),
        ("judge challenger", "SELECT count(*) FROM stages WHERE stage = 'judge challenger'", 1),
    ],
)
def test_killed_in_a_stage_the_next_run_ends_the_same(
    undisturbed: tuple[Loop, Cycle], tmp_path: Path, tiny_model: BaseModel, stage: str, query: str, enough: int
) -> None:
    whole, whole_cycle = undisturbed
    loop = Loop(tmp_path / "project", tiny_model)
    process = loop.start()
    loop.wait(process, lambda: loop.count(query) >= enough)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    made = loop.count("SELECT count(*) FROM calls")

    cycle = loop.finish()

    cut = cycles.recent(loop.db, "faults", 2)[1]
    assert cut.state is CycleState.INTERRUPTED
    assert loop.decision(cycle) == whole.decision(whole_cycle)
    assert loop.curve(cycle) == whole.curve(whole_cycle)
    assert loop.count("SELECT count(*) FROM calls") == whole.count("SELECT count(*) FROM calls")
    assert cycle.cost.calls == whole_cycle.cost.calls - made  # no answered call was made again
    print(
        f"killed in {stage} with {made} calls made: {cycle.cost.calls} were left, {cycle.cost.reused_calls} taken from the ledger"
    )
    loop.db.close()


def test_ctrl_c_in_a_terminal_says_one_line_and_the_next_run_continues(tmp_path: Path, tiny_model: BaseModel) -> None:
    loop = Loop(tmp_path / "project", tiny_model)
    process = loop.start()
    loop.wait(process, lambda: loop.count(LOSSES) >= 9)
    os.killpg(process.pid, signal.SIGINT)  # a terminal sends it to the whole group, Prefect's server included
    _, err = process.communicate(timeout=PATIENCE)

    assert process.returncode == 130
    assert "Traceback" not in err
    assert err.strip().splitlines()[-1] == "csift: stopped; run the same command again and it continues"
    assert cycles.recent(loop.db, "faults", 1)[0].state is CycleState.INTERRUPTED
    cycle = loop.finish()
    assert cycle.state is CycleState.COMPLETED
    assert len(loop.curve(cycle)) == 60
    loop.db.close()


def test_two_runs_at_once_one_is_skipped_and_names_the_other(tmp_path: Path, tiny_model: BaseModel) -> None:
    loop = Loop(tmp_path / "project", tiny_model)
    first = loop.start()
    loop.wait(first, lambda: loop.count("SELECT count(*) FROM stages") >= 1)
    second = loop.start()
    _, said = second.communicate(timeout=PATIENCE)
    first.communicate(timeout=PATIENCE)

    assert first.returncode == 0
    assert second.returncode == 1
    assert "skipped" in said and f"pid {first.pid}" in said
    states = {cycle.state for cycle in cycles.recent(loop.db, "faults", 5)}
    assert states == {CycleState.COMPLETED, CycleState.SKIPPED}
    loop.db.close()
