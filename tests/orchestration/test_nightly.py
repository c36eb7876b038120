"""The loop as a flow: a real Prefect server, real Postgres, a real (tiny, random) model."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from prefect.client.orchestration import get_client
from pumps import configure, write_catalogue

from csift import cycles, feedback, registry
from csift.config import LoopConfig
from csift.dataset import find
from csift.db import Database, database
from csift.db.judging import ChampionRow
from csift.db.learning import AdapterRow, CallRow
from csift.exceptions import DatabaseError, LabelError
from csift.leases import hold
from csift.models import BaseModel
from csift.overview import read_status
from csift.promotion import replay
from csift.reports.status import status_json
from csift.schemas import Cycle, CycleState, FeedbackRecord, PromotionDecision
from csift.settings import settings
from flows.backfill import backfill
from flows.nightly import nightly
from tasks.cycle import cycle
from tasks.progress import show_in

STAGES = [
    "drift",
    "ingest",
    "labels",
    "eval set",
    "synthesise",
    "dataset",
    "train",
    "judge champion",
    "judge challenger",
    "forgetting",
    "decide",
    "report",
]


@pytest.fixture
def config(tmp_path: Path, project: str, tiny_model: BaseModel) -> LoopConfig:
    write_catalogue(tmp_path)
    return configure(tmp_path, project, tiny_model.path)


def run(config: LoopConfig) -> Cycle:
    return nightly(config, return_state=True).result()


def test_a_cycle_runs_every_stage_and_leaves_its_evidence(db: Database, config: LoopConfig) -> None:
    cycle = run(config)

    assert cycle.state is CycleState.COMPLETED
    assert [stage.stage for stage in cycle.stages] == STAGES
    assert {stage.state for stage in cycle.stages} == {"completed"}
    decision = registry.load(db, PromotionDecision, cycle.decision_id or "")
    assert replay(decision) == decision
    assert decision.history.decisions == 0
    assert registry.history(db, config.project, 1).decisions == 1
    assert {guard.reading.name for guard in decision.guards} == {"general questions", "seconds an answer", "tokens an answer"}
    challenger = next(s.record_id for s in cycle.stages if s.stage == "train")
    assert [point.step for point in registry.load_losses(db, challenger or "")] == [1, 2, 3]
    page = Path(cycle.report_uri or "").read_text()
    assert decision.id in page and "How heavy is the Birch pump?" in page
    assert "/runs/flow-run/" in (cycle.run_url or "")
    assert "Of 120 general questions the challenger got" in page
    assert cycle.cost.calls > 0 and cycle.cost.tokens_in > 0


def test_status_tells_decision_bounds_and_drift_of_the_last_cycle(db: Database, config: LoopConfig) -> None:
    cycle = run(config)
    told = json.loads(json.dumps(status_json(read_status(db, config.project))))

    assert told["decision"] == "HOLD"
    assert told["low"] <= 0 <= told["high"]
    assert told["drift"] == "no drift"
    assert (told["retention"]["questions"], told["retention"]["failures"]) == (120, 0)
    assert told["champion"]["adapter_id"] is None
    assert set(told["lineage"]["documents"]) == {f"{n}.md" for n in ("alder", "birch", "cedar", "damson", "elder", "fir")}
    assert told["cycles"][0]["id"] == cycle.id


def test_a_second_run_with_nothing_new_stops_and_retrains_nothing(db: Database, config: LoopConfig) -> None:
    run(config)
    before = _count(db, CallRow), _count(db, AdapterRow)

    again = run(config)

    assert again.state is CycleState.NOTHING_NEW
    assert "are those of the last decision" in again.reason
    assert (_count(db, CallRow), _count(db, AdapterRow)) == before
    assert status_json(read_status(db, config.project))["decision"] == "HOLD"  # what was decided still stands


def test_a_changed_label_starts_training_again(db: Database, config: LoopConfig) -> None:
    run(config)
    labels = config.corpus.questions[0]
    labels.write_text(labels.read_text().replace("How heavy is the Alder pump?", "What does the Alder pump weigh?"))

    assert run(config).state is CycleState.COMPLETED


def test_imported_feedback_starts_training_again_once(db: Database, config: LoopConfig) -> None:
    run(config)
    liked = FeedbackRecord.of(question="How heavy is the Alder pump?", answer="3 kg", thumb="up")
    feedback.save(db, config.project, [liked])

    assert run(config).state is CycleState.COMPLETED
    assert len(find(db, config.project, "latest").version.rating_ids) == 1
    feedback.save(
        db, config.project, [liked, FeedbackRecord.of(question="How?", answer="So", edited_answer="So")]
    )  # teaches nothing
    assert run(config).state is CycleState.NOTHING_NEW


def test_a_changed_document_retires_its_eval_questions(db: Database, config: LoopConfig) -> None:
    run(config)
    birch = Path(config.corpus.sources[0].location) / "birch.md"
    birch.write_text(birch.read_text().replace("4 kg", "5 kg"))

    cycle = run(config)

    page = Path(cycle.report_uri or "").read_text()
    assert "Birch-0" in page and "changed" in page
    decision = registry.load(db, PromotionDecision, cycle.decision_id or "")
    assert {item.item_id for item in decision.evidence.items} == {"Damson-0", "Damson-1", "Fir-0", "Fir-1"}
    guarded = [item for item in decision.evidence.items if any("guarded" in name for name in item.slices)]
    assert len(guarded) == 4


def test_a_second_cycle_at_once_is_skipped_and_names_the_holder(db: Database, config: LoopConfig) -> None:
    with hold(db, f"cycle of {config.project}"):
        state = nightly(config, return_state=True)
        backfilled = backfill(config, return_state=True)

    for ended in (state, backfilled):
        assert ended.name == "Skipped"
        assert ended.result().state is CycleState.SKIPPED
        assert "pid" in ended.result().reason


def test_killed_between_promotion_and_end_the_next_run_finds_the_work_done(db: Database, config: LoopConfig) -> None:
    cycle = run(config)
    challenger = registry.load(db, PromotionDecision, cycle.decision_id or "").evidence.challenger_system_id
    with db.session() as session:  # what the killed run would have left
        session.execute(sa.update(ChampionRow).where(ChampionRow.project == config.project).values(system_id=challenger))
    cycles.note(db, cycle.id, state=CycleState.RUNNING)

    again = run(config)

    assert again.state is CycleState.NOTHING_NEW
    assert again.reason == "the champion was made from these inputs already"
    assert again.cost.calls == 0


@pytest.mark.parametrize("stage", ["ingest", "synthesise", "train", "judge champion", "judge challenger", "forgetting"])
def test_ctrl_c_in_a_stage_then_the_next_run_continues(db: Database, config: LoopConfig, tmp_path: Path, stage: str) -> None:
    undisturbed = run(config.model_copy(update={"project": f"{config.project}-whole"}))

    with show_in(_interrupt(stage)), pytest.raises(KeyboardInterrupt):
        nightly(config)
    cut = cycles.recent(db, config.project, 1)[0]
    assert cut.state is CycleState.INTERRUPTED
    assert cut.stages[-1].state == "interrupted"
    again = run(config)

    assert again.state is CycleState.COMPLETED
    assert cut.cost.calls + again.cost.calls <= undisturbed.cost.calls + undisturbed.cost.reused_calls
    one, other = (registry.load(db, PromotionDecision, c.decision_id or "") for c in (again, undisturbed))
    assert (one.difference, one.champion_accuracy, one.wins, one.losses) == (
        other.difference,
        other.champion_accuracy,
        other.wins,
        other.losses,
    )


def test_bad_input_fails_the_cycle_and_changes_nothing(db: Database, config: LoopConfig) -> None:
    labels = config.corpus.questions[0]
    labels.write_text(labels.read_text() + '{"id": "x", "question": "Where?", "answer": "here", "document": "none.md"}\n')

    with pytest.raises(LabelError, match=r"none\.md"):
        nightly(config)

    cycle = cycles.recent(db, config.project, 1)[0]
    assert cycle.state is CycleState.FAILED
    assert "none.md" in cycle.reason
    assert registry.champion(db, config.project) is None


def test_without_postgres_somebody_is_told_that_no_cycle_began(
    config: LoopConfig, sent: Callable[[], list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CSIFT_DATABASE_URL", "postgresql://csift@127.0.0.1:1/csift")
    settings.cache_clear()
    database.cache_clear()
    try:
        with pytest.raises(DatabaseError, match=r"cannot reach 127\.0\.0\.1/csift"), cycle(config, "schedule"):
            pytest.fail("began")
    finally:
        monkeypatch.undo()
        settings.cache_clear()
        database.cache_clear()
    (alert,) = sent()
    assert (alert["event"], alert["project"]) == ("csift.cycle.failed", config.project)
    assert "The schedule cycle failed: cannot reach 127.0.0.1/csift" in alert["happened"]


def test_the_ui_gets_decision_table_report_link_and_progress(db: Database, config: LoopConfig) -> None:
    run(config)
    with get_client(sync_client=True) as client:
        keys = {artifact.key for artifact in client.read_artifacts(limit=200)}

    assert {"decision", "run-report", "drift", "progress-train", "progress-synthesise"} <= keys


def _interrupt(at: str) -> Callable[..., None]:
    def progress(stage: str, done: int, total: int, note: str = "") -> None:
        if stage == at:
            raise KeyboardInterrupt

    return progress


def _count(db: Database, table: type) -> int:
    with db.session() as session:
        return session.scalar(sa.select(sa.func.count()).select_from(table)) or 0
