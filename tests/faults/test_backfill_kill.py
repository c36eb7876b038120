"""kill -9 on `csift backfill` over twelve months, twice: what is left is that of a run that nobody disturbed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from months import MONTHS, write_year, year_config
from prefect.settings import PREFECT_API_URL
from pumps import toml_of
from teachers import quantities

from bench.teacher_server import TeacherServer
from csift import cycles, registry
from csift.db.connection import Database, open_database
from csift.models import BaseModel
from csift.schemas import CycleState
from csift.settings import Settings

pytestmark = pytest.mark.slow
PATIENCE = 300.0  # seconds
KILLS = (3, 8)  # when so many partitions have booked calls

BEGUN = "SELECT count(DISTINCT partition_id) FROM calls WHERE response IS NOT NULL"
ANSWERED = "SELECT count(*) FROM calls WHERE role = 'teacher' AND response IS NOT NULL"
DONE = "SELECT count(*) FROM partitions"
ROWS = "SELECT partition_id, position, record FROM partition_examples ORDER BY partition_id, position"
OUTCOMES = "SELECT id, project, record FROM partitions ORDER BY id"
DATASETS = "SELECT id, record FROM datasets"


class Year:
    """A project on a database of its own, with a teacher of its own, run by the command."""

    def __init__(self, folder: Path, docs: Path, model: BaseModel) -> None:
        self.folder = folder
        folder.mkdir()
        self.data = folder / "data"
        config = year_config(docs, "year", model.path, "openai/gpt-4o-mini")
        (folder / "csift.toml").write_text(toml_of(config))
        self.db: Database = open_database(Settings(data_dir=self.data))
        self.server = TeacherServer(quantities, latency=0.05)

    def start(self) -> subprocess.Popen[str]:
        """The backfill in a process group of its own."""
        where = {"CSIFT_DATA_DIR": str(self.data), "CSIFT_OPENAI_BASE_URL": self.server.openai_url}
        environment = {**os.environ, **where, "PREFECT_API_URL": str(PREFECT_API_URL.value())}
        command = ["backfill", "--since", "2024-01-01", "--until", "2024-12-31", "--parallel", "2"]
        return subprocess.Popen(
            [sys.executable, "-m", "flows.cli", *command],
            cwd=self.folder, env=environment, start_new_session=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def kill(self, reached: Callable[[], bool]) -> None:
        """Starts it, and ends it with all that it started when it has come to a point."""
        process = self.start()
        deadline = time.monotonic() + PATIENCE
        while not reached():
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < deadline
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()

    def all(self, query: str) -> list[Any]:
        with self.db.session() as session:
            return [tuple(row) for row in session.execute(sa.text(query))]

    def count(self, query: str) -> int:
        return int(self.all(query)[0][0])


def ended(process: subprocess.Popen[str]) -> str:
    """What a run printed that came to its end."""
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    return out


@pytest.fixture
def pair(tmp_path: Path, tiny_model: BaseModel, prefect_server: None) -> Iterator[tuple[Year, Year]]:
    """Two projects over the same documents, whose runs have one Prefect server, as starting four would take the longest."""
    write_year(tmp_path / "corpus", "Alder")
    years = (Year(tmp_path / "whole", tmp_path / "corpus", tiny_model), Year(tmp_path / "cut", tmp_path / "corpus", tiny_model))
    with years[0].server, years[1].server:
        yield years
    for year in years:
        year.db.close()


def test_killed_twice_among_twelve_months_the_rows_are_those_of_one_run(pair: tuple[Year, Year]) -> None:
    whole, cut = pair
    undisturbed = whole.start()
    told = []
    for begun in KILLS:
        cut.kill(lambda begun=begun: cut.count(BEGUN) >= begun)  # type: ignore[misc]
        told.append((cut.count(BEGUN), cut.count(DONE), cut.count(ANSWERED)))
    printed = ended(cut.start())
    ended(undisturbed)

    assert told[0][1] < told[1][1] < len(MONTHS)  # the first run left partitions done, the second more, neither all
    assert cut.count(DONE) == whole.count(DONE) == len(MONTHS)
    assert cut.all(ROWS) == whole.all(ROWS) != []
    assert cut.all(OUTCOMES) == whole.all(OUTCOMES)
    assert cut.all(DATASETS) == whole.all(DATASETS)

    paid = cut.count(ANSWERED)
    assert paid == whole.count(ANSWERED) == sum(whole.server.answered.values())
    lost = cut.count("SELECT count(*) FROM calls WHERE outcome = 'in flight'")
    assert sum(cut.server.asked().values()) - paid <= lost  # only what was in flight at a kill may have been asked twice

    first, second, last = sorted(cycles.recent(cut.db, "year", 5), key=lambda cycle: cycle.scheduled_at)
    assert [first.state, second.state, last.state] == [CycleState.INTERRUPTED, CycleState.INTERRUPTED, CycleState.COMPLETED]
    assert "12 partitions: 12 done" in printed
    for year in pair:
        assert [move.kind for move in registry.champion_log(year.db, "year")] == ["bootstrap"]
    print(
        f"killed with {' and '.join(f'{b} partitions begun, {d} done, {a} calls booked' for b, d, a in told)}; "
        f"{len(cut.all(ROWS))} rows and {paid} paid calls as undisturbed, {lost} in flight at the kills"
    )
