"""A database in which every figure that is watched has a value: cycles, decisions, drift, calls, jobs."""

from contextlib import suppress
from datetime import UTC, datetime

from samples import sample_decision, sample_drift, sample_eval_report, sample_eval_set, sample_evidence

from csift import cycles, jobs, registry
from csift.db import Database
from csift.db.corpus import SnapshotRow
from csift.db.judging import EvalSetRow
from csift.db.learning import CallRow, SpendingRow
from csift.db.operations import MonitorReportRow
from csift.ledger import IN_FLIGHT
from csift.schemas import AccuracyWatch, CycleState, GenerationParams, MonitorReport, System, Verdict

PROJECT = "shop"


def fill(db: Database) -> None:
    """One cycle that promoted, one that failed; calls of a teacher, one of them in flight; a job in the queue."""
    for day, state in ((20, CycleState.COMPLETED), (21, CycleState.FAILED)):
        second = cycles.begin(db, PROJECT, "schedule", datetime(2026, 11, day, 2, tzinfo=UTC))
        with cycles.stage(db, second, "drift"):
            pass
        if state is CycleState.FAILED:
            with suppress(ZeroDivisionError), cycles.stage(db, second, "train"):
                raise ZeroDivisionError
        cycles.note(db, second, state=state, reason="said so")
    _decide(db)
    registry.save_drift(db, PROJECT, sample_drift())
    watch = AccuracyWatch(
        before=0.82, floor=0.78, now=0.61, sessions=140, since=datetime(2026, 11, 3, tzinfo=UTC), evidence=9.0, level=0.025
    )
    looks = [("look-1", watch), ("look-2", None)]
    with db.session() as session:
        for id_, accuracy in looks:
            report = MonitorReport(
                id=id_, project=PROJECT, at=datetime(2026, 11, 21, tzinfo=UTC), champion_id=None, since=None, accuracy=accuracy,
                drift_id=None, events=(), note="",
            )  # fmt: skip
            session.add(MonitorReportRow(id=id_, project=PROJECT, record=report.model_dump(mode="json")))
        for night in (1, 2):
            local = {"key": f"night-{night}", "model": f"small@r1+adapter-{night}", "role": "rag", "prompt_hash": "p"}
            session.add(CallRow(**local, tokens_in=3, tokens_out=1, seconds=1.0, outcome="stop", cycle_id=second))
        call = {"key": "k", "model": "openai/teach", "role": "teacher", "prompt_hash": "p", "cycle_id": second}
        for outcome, tokens, usd in (("stop", 10, 0.5), ("rejected", 1, None), (IN_FLIGHT, 1000, 9.0)):
            session.add(CallRow(**call, tokens_in=tokens, tokens_out=2, cost_usd=usd, seconds=1.0, outcome=outcome))
        session.add(SpendingRow(cycle_id=second, tokens=1015, usd=9.5))
    jobs.enqueue(db, "job-1", "train", {"project": PROJECT})


def _decide(db: Database) -> None:
    evalset = sample_eval_set().model_copy(update={"project": PROJECT})
    with db.session() as session:
        session.add(SnapshotRow(id="snapshot", project=PROJECT, record={}))
        session.add(EvalSetRow(id=evalset.id, project=PROJECT, record=evalset.model_dump(mode="json")))
    base, better = (
        registry.save_system(
            db,
            System.of(
                base_model="m", base_revision="1", adapter_id=None, program="standard", program_hash="p", snapshot_id="snapshot",
                embedder="e", k=k, generation=GenerationParams(),
            ),
        )
        for k in (1, 2)
    )  # fmt: skip
    registry.bootstrap_champion(db, PROJECT, base)
    half = [number % 2 == 0 for number in range(len(evalset.items))]
    reports = [sample_eval_report(base, evalset, half), sample_eval_report(better, evalset, [True] * len(half))]
    evidence = sample_evidence(evalset, *reports).model_copy(update={"project": PROJECT})
    registry.save_decision(db, sample_decision(Verdict.HOLD, evidence))
