"""The flow that makes a dataset: with a local teacher, and with a served one over HTTP."""

from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
from pumps import NAMES, configure, served, write_catalogue
from teachers import quantities

from bench.teacher_server import Error, TeacherServer
from csift import dataset
from csift.config import LoopConfig
from csift.db import Database
from csift.db.learning import CallRow
from csift.exceptions import BudgetExhausted, TeacherError
from csift.models import BaseModel
from csift.schemas import Cycle, CycleState
from flows.build_dataset import build_dataset
from tasks.collaborators import store


@pytest.fixture
def config(tmp_path: Path, project: str, tiny_model: BaseModel) -> LoopConfig:
    """The project's documents name it, so that no other test has asked about them."""
    write_catalogue(tmp_path, tuple(f"{name} {project}" for name in NAMES))
    return configure(tmp_path, project, tiny_model.path)


def run(config: LoopConfig) -> Cycle:
    return build_dataset(config, return_state=True).result()


def calls(db: Database, cycle: Cycle) -> int:
    """Model calls that were booked on the cycle."""
    with db.session() as session:
        return session.scalar(sa.select(sa.func.count()).where(CallRow.cycle_id == cycle.id)) or 0


def test_a_dataset_is_made_with_its_card_and_nothing_is_trained(db: Database, config: LoopConfig) -> None:
    cycle = run(config)

    assert (cycle.state, cycle.trigger) == (CycleState.COMPLETED, "dataset")
    assert [stage.stage for stage in cycle.stages] == ["ingest", "labels", "eval set", "synthesise", "dataset"]
    version = dataset.find(db, config.project, "latest").version
    assert version.sources["human"] == 6
    assert version.synthesis.candidates == 6
    assert sum(version.synthesis.rejected.values()) + version.sources["synthetic"] == 6
    card = store().get(f"data-cards/{version.id}.html").decode()
    assert version.id in card


def test_made_again_it_asks_nobody_and_is_the_same_version(db: Database, config: LoopConfig) -> None:
    first = run(config)
    version = dataset.find(db, config.project, "latest").version
    again = run(config)

    assert calls(db, first) > 0
    assert calls(db, again) == 0
    assert dataset.find(db, config.project, "latest").version == version


def test_the_champions_wrong_answers_become_preference_pairs(db: Database, config: LoopConfig) -> None:
    wanted = config.model_copy(update={"synthesis": config.synthesis.model_copy(update={"preferences": 3})})
    run(wanted)

    version = dataset.find(db, config.project, "latest").version
    pairs = dataset.load_preferences(db, version)
    assert pairs
    assert all(pair.chosen != pair.rejected and pair.context_chunk_ids and 0 < pair.margin <= 1 for pair in pairs)


def test_a_served_teacher_writes_document_by_document(
    db: Database, config: LoopConfig, serve: Callable[[TeacherServer], None]
) -> None:
    with TeacherServer(quantities) as server:
        serve(server)
        cycle = run(served(config))
        asked = sum(server.asked().values())
        again = run(served(config))
        assert sum(server.asked().values()) == asked > 0
    assert cycle.cost.calls == asked
    assert again.cost.calls == 0
    version = dataset.find(db, config.project, "latest").version
    assert version.synthesis.teacher == f"openai/{config.project}"


def test_a_budget_ends_the_run_cleanly_and_the_next_one_continues(
    db: Database, config: LoopConfig, serve: Callable[[TeacherServer], None]
) -> None:
    poor = served(config, max_tokens=100, concurrency=1)
    poor = poor.model_copy(update={"budget": poor.budget.model_copy(update={"tokens": 1500})})
    with TeacherServer(quantities) as server:
        serve(server)
        with pytest.raises(BudgetExhausted):
            run(poor)
        before = server.asked()
        run(served(config, max_tokens=100, concurrency=1))
        assert before
        assert max(server.asked().values()) == 1  # nothing was asked for a second time


def test_a_key_that_is_refused_ends_the_run_in_one_line(config: LoopConfig, serve: Callable[[TeacherServer], None]) -> None:
    with TeacherServer(lambda prompt, time: Error(401, "invalid_api_key", "Incorrect API key provided")) as server:
        serve(server)
        with pytest.raises(TeacherError) as told:
            run(served(config))
    assert "\n" not in str(told.value)
