"""Postgres restarts, or stays away, while a cycle goes on: nothing is lost or paid twice, nobody promotes without the lease."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from postgres import OwnPostgres, own_postgres
from pumps import configure, served, write_catalogue
from teachers import quantities

from bench.teacher_server import TeacherServer
from csift import cycles, registry
from csift.config import LoopConfig
from csift.db import Database, database
from csift.exceptions import DatabaseError
from csift.models import BaseModel
from csift.schemas import Cycle, CycleState, PromotionDecision
from csift.settings import settings
from flows.nightly import nightly

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def postgres() -> Iterator[OwnPostgres]:
    with own_postgres() as server:
        yield server


class Loop:
    """A project with a database and a data folder of its own and a served teacher; it runs in this process, for which
    `entered` makes them the ones that settings name."""

    def __init__(self, postgres: OwnPostgres, folder: Path, name: str, model: BaseModel, patience: float = 60.0) -> None:
        write_catalogue(folder)
        self.config: LoopConfig = served(configure(folder, name, model.path))
        self.server = TeacherServer(quantities)
        self.environment = {
            "CSIFT_DATABASE_URL": postgres.database(name),
            "CSIFT_DATABASE_PATIENCE": str(patience),
            "CSIFT_DATA_DIR": str(folder / "data"),
            "CSIFT_OPENAI_BASE_URL": self.server.openai_url,
        }

    @contextmanager
    def entered(self) -> Iterator[Database]:
        """Its database."""
        with self.server, pytest.MonkeyPatch.context() as patch:
            for name, value in self.environment.items():
                patch.setenv(name, value)
            settings.cache_clear()
            database.cache_clear()
            try:
                yield database()
            finally:
                database().close()
                settings.cache_clear()
                database.cache_clear()

    def run(self) -> Cycle:
        """A turn of the loop."""
        ended: Any = nightly(self.config, return_state=True).result()
        return ended


class Stages:
    """Sees every statement: counts those of each stage, and acts once in each, halfway, in the middle of a transaction."""

    def __init__(self, db: Database, act: Callable[[], None], at: Mapping[str, int]) -> None:
        self.counts = Counter[str]()
        self.met: list[str] = []
        self._stage, self._act, self._at = "", act, at
        sa.event.listen(db.engine, "before_cursor_execute", self._see)

    def _see(self, connection: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool) -> None:
        if statement.startswith("SELECT 1"):  # of who keeps the lease, which comes by the clock
            return
        if statement.startswith("INSERT INTO stages") and parameters["state"] == "running":
            self._stage = parameters["stage"]
        self.counts[self._stage] += 1
        if self._stage not in self.met and self.counts[self._stage] == self._at.get(self._stage):
            self.met.append(self._stage)
            self._act()


def told(db: Database, cycle: Cycle) -> tuple[Any, ...]:
    """The decision, without ids and what a clock told."""
    made = registry.load(db, PromotionDecision, cycle.decision_id or "")
    return made.verdict, made.difference, made.champion_accuracy, made.challenger_accuracy, made.wins, made.losses


def test_restarted_in_every_stage_the_cycle_ends_as_if_nothing_had_happened(
    postgres: OwnPostgres, prefect_server: None, tmp_path: Path, tiny_model: BaseModel
) -> None:
    whole = Loop(postgres, tmp_path / "whole", "whole", tiny_model)
    with whole.entered() as db:
        stages = Stages(db, lambda: None, {})
        undisturbed = whole.run()
        decided = told(db, undisturbed)
    halfway = {stage: count // 2 + 1 for stage, count in stages.counts.items() if stage}

    cut = Loop(postgres, tmp_path / "cut", "cut", tiny_model)
    with cut.entered() as db:
        stages = Stages(db, postgres.restart, halfway)
        cycle = cut.run()
        assert stages.met == [stage.stage for stage in undisturbed.stages]
        assert cycle.state is CycleState.COMPLETED
        assert told(db, cycle) == decided

    assert cut.server.asked() == whole.server.asked()
    assert max(cut.server.asked().values()) == 1
    assert cycle.cost.calls == undisturbed.cost.calls
    print(
        f"postgres restarted in each of {postgres.restarts} stages of one cycle: {cut.server.asked().total()} paid calls, "
        f"each made once; {cycle.cost.calls} calls in all, as undisturbed; the same decision"
    )


def test_away_for_too_long_the_cycle_fails_with_an_alert_and_the_next_run_pays_for_the_rest(
    postgres: OwnPostgres,
    prefect_server: None,
    sent: Callable[[], list[dict[str, Any]]],
    tmp_path: Path,
    tiny_model: BaseModel,
) -> None:
    loop = Loop(postgres, tmp_path / "away", "away", tiny_model, patience=1.0)
    with loop.entered() as db:
        Stages(db, postgres.stop, {"judge champion": 5})
        with pytest.raises(DatabaseError, match=r"Postgres was away for more than 1 s: .*start it and run again"):
            loop.run()
        before = loop.server.asked()
        (alert,) = sent()
        assert (alert["event"], alert["project"]) == ("csift.cycle.failed", "away")
        assert "Postgres was away" in alert["happened"]

        postgres.start()
        cycle = loop.run()

        first, last = reversed(cycles.recent(db, "away", 5))
        assert (first.state, last.state) == (CycleState.INTERRUPTED, CycleState.COMPLETED)
    assert loop.server.asked() == before
    print(
        f"postgres away for longer than is waited for: alert sent, {before.total()} paid calls kept, next run {cycle.state.value}"
    )
