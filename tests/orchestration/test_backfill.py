"""A backfill as a flow: a real Prefect server, real Postgres, a stand-in teacher over HTTP, a tiny model."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from months import write_year, year_config
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from prefect.exceptions import ParameterTypeError
from prefect.utilities.callables import parameter_schema
from pumps import NAMES, configure, write_catalogue
from teachers import quantities

from bench.teacher_server import Error, Reply, TeacherServer
from csift import backfill as parts
from csift import cycles, dataset, registry
from csift.backfill import BackfillRequest
from csift.config import LoopConfig
from csift.db import Database
from csift.exceptions import BudgetExhausted, CorpusError, TeacherError
from csift.models import BaseModel
from csift.overview import read_status
from csift.reports.status import status_json
from csift.schemas import BackfillEstimate, Cycle, CycleState, PartitionState
from flows.backfill import backfill
from tasks.progress import show_in

PATIENCE = 60.0  # seconds
SPRING = BackfillRequest.model_validate({"since": "2024-03-01", "until": "2024-05-31"})
YEAR = BackfillRequest.model_validate({"since": "2024-01-01", "until": "2024-12-31"})


@pytest.fixture
def config(tmp_path: Path, project: str, tiny_model: BaseModel) -> LoopConfig:
    """The project's documents name it, so that no other test has asked about them."""
    write_year(tmp_path, project)
    return year_config(tmp_path, project, tiny_model.path, f"openai/{project}")


def run(config: LoopConfig, request: BackfillRequest) -> Cycle:
    return backfill(config, request, return_state=True).result()


def states(db: Database, cycle: Cycle) -> tuple[PartitionState, ...]:
    plan = parts.plan_of(db, cycle)
    assert plan is not None
    return parts.states(db, plan)


def published(key: str) -> bool:
    """Whether there is an artifact of this key."""
    wanted = ArtifactFilter(key=ArtifactFilterKey(any_=[key]))
    with get_client(sync_client=True) as client:
        return bool(client.read_artifacts(artifact_filter=wanted))


@pytest.mark.slow
def test_months_are_taught_side_by_side_and_again_is_nothing(
    db: Database, config: LoopConfig, serve: Callable[[TeacherServer], None]
) -> None:
    with TeacherServer(quantities, latency=0.02) as server:
        serve(server)
        cycle = run(config, SPRING)
        asked = server.asked()
        again = run(config, SPRING)
        assert server.asked() == asked
    assert server.most_at_once <= 2  # teacher.concurrency, over all partitions
    assert cycle.state is CycleState.COMPLETED
    assert [move.kind for move in registry.champion_log(db, config.project)] == ["bootstrap"]

    found = states(db, cycle)
    assert [(state.name, state.state, state.documents) for state in found] == [
        ("2024-03", "done", 1),
        ("2024-04", "done", 1),
        ("2024-05", "done", 1),
    ]
    assert sum(state.calls for state in found) == sum(asked.values())
    version = dataset.find(db, config.project, "latest").version
    assert version.synthesis.candidates == 12
    rows = dataset.load_examples(db, version)
    assert {row.document_id[:7] for row in rows} == {"2024-03", "2024-04", "2024-05"}
    shown = status_json(read_status(db, config.project))["cycles"]
    assert [partition["state"] for partition in shown[1]["partitions"]] == ["done"] * 3

    assert published("partitions")
    assert again.state is CycleState.NOTHING_NEW
    assert "are those of the last decision" in again.reason


@pytest.mark.slow
def test_without_days_a_local_teacher_writes_about_the_whole_source(
    db: Database, tmp_path: Path, project: str, tiny_model: BaseModel
) -> None:
    write_catalogue(tmp_path / "pumps", tuple(f"{name} {project}" for name in NAMES))
    cycle = run(configure(tmp_path / "pumps", project, tiny_model.path), BackfillRequest())

    assert cycle.state is CycleState.COMPLETED
    (state,) = states(db, cycle)
    assert (state.name, state.state, state.documents) == ("all", "done", 3)  # the other three are to be judged on
    assert state.calls > 0
    assert dataset.find(db, project, "latest").version.synthesis.candidates == 6


def test_a_budget_holds_over_all_partitions_and_the_next_run_continues(
    db: Database, config: LoopConfig, serve: Callable[[TeacherServer], None]
) -> None:
    budget = config.budget.model_copy(update={"tokens": 2000})
    poor = config.model_copy(update={"budget": budget})
    with TeacherServer(quantities) as server:
        serve(server)
        with pytest.raises(BudgetExhausted):
            backfill(poor, YEAR)
        cut = cycles.recent(db, config.project, 1)[0]
        before = server.asked()
        assert 0 < cut.cost.tokens_in + cut.cost.tokens_out <= 2000
        assert {state.state for state in states(db, cut)} != {"done"}

        with pytest.raises(BudgetExhausted):  # another cycle, another budget
            backfill(poor, YEAR)
        assert sum(server.asked().values()) > sum(before.values())
        assert max(server.asked().values()) == 1  # nothing was asked for a second time


def test_a_partition_that_fails_ends_the_run_and_leaves_what_is_done(
    db: Database, config: LoopConfig, serve: Callable[[TeacherServer], None]
) -> None:
    def gone_in_may(prompt: str, time: int) -> Reply:
        return Error(401, "invalid_api_key", "Incorrect API key provided") if "winch" in prompt else quantities(prompt, time)

    one = SPRING.model_copy(update={"parallel": 1})
    with TeacherServer(gone_in_may) as server:
        serve(server)
        with pytest.raises(TeacherError, match="correct the key"):
            backfill(config, one)
    cycle = cycles.recent(db, config.project, 1)[0]
    assert cycle.state is CycleState.FAILED
    assert [state.state for state in states(db, cycle)] == ["done", "done", "new"]


def test_ctrl_c_ends_a_long_partition_between_two_documents(
    db: Database, config: LoopConfig, serve: Callable[[TeacherServer], None]
) -> None:
    many = config.synthesis.model_copy(update={"candidates": 48})
    slow = config.model_copy(update={"synthesis": many, "teacher": config.teacher.model_copy(update={"concurrency": 1})})

    asked = threading.Event()

    def told(prompt: str, time: int) -> Reply:
        asked.set()
        return quantities(prompt, time)

    def interrupt(stage: str, done: int, total: int, note: str = "") -> None:
        if stage == "partitions":  # in the main thread, as a terminal's Ctrl-C
            assert asked.wait(PATIENCE)
            raise KeyboardInterrupt

    with TeacherServer(told, latency=0.05) as server, show_in(interrupt):
        serve(server)
        with pytest.raises(KeyboardInterrupt):
            backfill(slow, BackfillRequest(every="year"))
        written = sum("`[[ ## pairs ## ]]`" in prompt for prompt in server.asked())
    assert 0 < written < 6  # of the twelve documents
    assert cycles.recent(db, config.project, 1)[0].state is CycleState.INTERRUPTED


def test_a_dry_run_is_a_table_and_starts_no_cycle(db: Database, config: LoopConfig) -> None:
    made = backfill(config, SPRING.model_copy(update={"dry_run": True}), return_state=True).result()

    assert isinstance(made, BackfillEstimate)
    assert [part.state.state for part in made.partitions] == ["new"] * 3
    assert cycles.recent(db, config.project, 1) == []
    assert published("backfill-estimate")


def test_a_range_without_documents_fails_in_one_line(db: Database, config: LoopConfig) -> None:
    request = BackfillRequest.model_validate({"since": "2019-01-01", "until": "2019-12-31"})
    with pytest.raises(CorpusError, match="no document is dated from 2019-01-01 to 2019-12-31"):
        backfill(config, request)
    assert "\n" not in cycles.recent(db, config.project, 1)[0].reason


def test_a_bad_window_is_refused_before_anything_runs(config: LoopConfig) -> None:
    with pytest.raises(ParameterTypeError, match="it is before since, 2024-05-01; swap them"):
        backfill(config, {"since": "2024-05-01", "until": "2024-01-01"})  # type: ignore[call-overload]


def test_the_form_has_a_title_and_a_description_for_every_field() -> None:
    fields = parameter_schema(backfill.fn).model_dump()["definitions"]["BackfillRequest"]["properties"]
    assert list(fields) == ["since", "until", "every", "corpus", "parallel", "promote", "dry_run"]
    assert all(field["title"] and field["description"] for field in fields.values())
