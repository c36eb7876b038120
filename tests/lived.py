"""A project that has been through some nights, written straight into Postgres and a store: what pages show of one."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import sqlalchemy as sa
from champions import NoIndex
from pumps import configure, write_catalogue
from samples import SCRIPT, sample_decision, sample_drift, sample_eval_report, sample_evidence, sample_losses, sample_synthesis

from csift import cycles, evalsets, feedback, registry
from csift.config import CorpusConfig
from csift.corpus import ingest
from csift.dataset import from_labels
from csift.db import Database
from csift.db.base import now
from csift.db.feedback import FeedbackRow
from csift.db.judging import ChampionLogRow, DecisionRow, EvalReportRow
from csift.db.learning import DatasetRow, ExampleRow
from csift.db.operations import CycleRow, DriftReportRow
from csift.interfaces import ObjectStore
from csift.labels import register
from csift.rag import standard_program_hash
from csift.reports.decision import page_key, publish_decision
from csift.schemas import (
    Adapter,
    DatasetVersion,
    EvalReport,
    EvalSet,
    FeedbackRecord,
    GenerationParams,
    Interval,
    LabelSet,
    PromotionDecision,
    System,
    Verdict,
)

NAMES = (
    "Alder", "Birch", "Cedar", "Damson", "Elder", "Fir", "Gorse", "Hazel", "Ivy", "Juniper", "Kapok", "Larch", "Maple", "Nutmeg",
    "Oak", "Pine", "Quince", "Rowan", "Sorrel", "Teak", "Upas", "Viburnum", "Willow", "Yew",
)  # fmt: skip
NIGHTS = 12
PREFECT = "http://127.0.0.1:4200/runs/flow-run"
ACCURACIES = (0.42, 0.42, 0.45, 0.61, 0.60, 0.62, 0.59, 0.61, 0.71, 0.70, 0.73, 0.72)
PROMOTED = (3, 8)


@dataclass(frozen=True)
class Lived:
    """`decision` is the newest; it compared `champion` and `challenger`, whose adapter is trained on `dataset`."""

    project: str
    corpus: CorpusConfig
    labels: LabelSet
    evalset: EvalSet
    dataset: DatasetVersion
    adapter: Adapter
    champion: System
    challenger: System
    decision: PromotionDecision
    cycle_id: str


def live(db: Database, project: str, folder: Path, store: ObjectStore) -> Lived:
    """A pump catalogue of 24 documents, one adapter, twelve nights with two promotions, feedback and drift."""
    write_catalogue(folder, NAMES)
    (folder / "docs" / "alder.md").write_text(f"# Alder pump\n\nThe Alder pump weighs 3 kg. {SCRIPT} It lifts water 10 m.\n")
    corpus = configure(folder, project, Path("m")).corpus.model_copy(update={"scrub": ()})
    report = ingest(db, NoIndex(), project, corpus)
    labels = register(db, project, corpus, report)
    evalset = evalsets.freeze(db, project, labels, 4)
    dataset = _dataset(db, project, labels, evalset)
    adapter = _adapter(db, project, dataset)
    champion, challenger = (_system(db, report.snapshot.id, id_) for id_ in (None, adapter.id))
    before = _evaluated(db, champion, evalset, 3, ("{}", "The manual does not say."))
    after = _evaluated(db, challenger, evalset, 4, ("It is {}, as the manual has it.", "It depends on the model."))
    registry.bootstrap_champion(db, project, champion)
    nights = [_night(db, store, project, night, evalset, before, after) for night in range(NIGHTS)]
    _promoted(db, project, champion, challenger, [decision for decision, _ in nights])
    store.put(f"data-cards/{dataset.id}.html", b"<!doctype html><title>data card</title>")
    _drift(db, store, project)
    _opinions(db, project)
    decision, cycle_id = nights[-1]
    return Lived(project, corpus, labels, evalset, dataset, adapter, champion, challenger, decision, cycle_id)


def _dataset(db: Database, project: str, labels: LabelSet, evalset: EvalSet) -> DatasetVersion:
    rows = from_labels(labels.of_split("train"))
    version = DatasetVersion(
        id=f"dataset-{project}", snapshot_id=labels.snapshot_id, evalset_id=evalset.id,
        example_ids=tuple(row.id for row in rows), preference_ids=(), rating_ids=(), recipe={}, sources={"human": len(rows)},
        replayed=0, documents={"train": 12, "eval": 12}, decontaminated={}, synthesis=sample_synthesis(),
    )  # fmt: skip
    with db.session() as session:
        session.add(DatasetRow(id=version.id, snapshot_id=version.snapshot_id, record=version.model_dump(mode="json")))
        for row in rows:
            session.merge(ExampleRow(id=row.id, record=row.model_dump(mode="json")))
    return version


def _adapter(db: Database, project: str, dataset: DatasetVersion) -> Adapter:
    adapter = Adapter(
        id=f"adapter-{project}", base_model="m", base_revision="1", stages=("sft",), stage_ids=(f"adapter-{project}",),
        config_hash="training-1", dataset_id=dataset.id, metrics={}, artifact=f"adapters/{project}",
    )  # fmt: skip
    with db.session() as session:
        registry.save_adapter(session, adapter)
        for point in sample_losses():
            registry.save_loss(session, adapter.id, point)
    return adapter


def _system(db: Database, snapshot_id: str, adapter_id: str | None) -> System:
    made = System.of(
        base_model="m", base_revision="1", adapter_id=adapter_id, program="standard", program_hash=standard_program_hash(),
        snapshot_id=snapshot_id, embedder="words", k=1, generation=GenerationParams(),
    )  # fmt: skip
    return registry.save_system(db, made)


def _evaluated(db: Database, system: System, evalset: EvalSet, right_of: int, says: tuple[str, str]) -> EvalReport:
    """Right on all but every `right_of`-th question; `says` is how it answers rightly and wrongly. The second question was
    answered with a script."""
    correct = [place % right_of > 0 for place in range(len(evalset.items))]
    answers = [says[not right].format(item.answer) for item, right in zip(evalset.items, correct, strict=True)]
    answers[1] = says[0].format(SCRIPT)
    report = sample_eval_report(system, evalset, correct, answers)
    with db.session() as session:
        session.add(
            EvalReportRow(
                id=report.id, system_id=system.id, evalset_id=evalset.id, judge_id=report.judge_id, failures=0,
                accuracy=report.accuracy.value, low=report.accuracy.low, high=report.accuracy.high,
                record=report.model_dump(mode="json"),
            )
        )  # fmt: skip
    return report


def _night(
    db: Database, store: ObjectStore, project: str, night: int, evalset: EvalSet, before: EvalReport, after: EvalReport
) -> tuple[PromotionDecision, str]:
    at = now() - timedelta(days=NIGHTS - night)
    evidence = sample_evidence(evalset, before, after).model_copy(update={"project": project})
    stays, rises = (
        Interval(value=value, low=value - 0.12, high=value + 0.11)
        for value in (ACCURACIES[night - (night in PROMOTED)], ACCURACIES[night])
    )
    verdict = Verdict.PROMOTE if night in PROMOTED else Verdict.HOLD
    decision = sample_decision(verdict, evidence, Interval(value=0.02, low=-0.09, high=0.14)).model_copy(
        update={"id": f"decision-{night}-{project}", "champion_accuracy": stays, "challenger_accuracy": rises}
    )
    registry.save_decision(db, decision)
    if night == NIGHTS - 1:
        publish_decision(store, decision)
    else:  # nobody reads it, and drawing it takes a while
        store.put(page_key(decision.id), b"<!doctype html><title>decision</title>")
    cycle = cycles.begin(db, project, "schedule", at)
    uri = store.put(f"reports/{cycle}.html", b"<!doctype html><title>run report</title>")
    cycles.note(db, cycle, decision_id=decision.id, report_uri=uri, run_url=f"{PREFECT}/{night}", state="completed")
    _dated(db, DecisionRow.__table__, decision.id, "created_at", at)
    _dated(db, CycleRow.__table__, cycle, "started_at", at)
    return decision, cycle


def _promoted(db: Database, project: str, champion: System, challenger: System, decisions: Sequence[PromotionDecision]) -> None:
    """The challenger became champion twice, with a rollback in between."""
    first, second = (decisions[night].id for night in PROMOTED)
    moves = (
        ("promotion", champion, challenger, first, PROMOTED[0]),
        ("rollback", challenger, champion, None, PROMOTED[1] - 1),
        ("promotion", champion, challenger, second, PROMOTED[1]),
    )
    for version, (kind, before, after, decision, night) in enumerate(moves, start=2):
        with db.session() as session:
            registry.move_champion(session, project, kind, before.id, after.id, decision)
            made = (ChampionLogRow.project == project, ChampionLogRow.version == version)
            session.execute(sa.update(ChampionLogRow).where(*made).values(at=now() - timedelta(days=NIGHTS - night)))


def _dated(db: Database, table: sa.FromClause, id_: str, column: str, at: datetime) -> None:
    assert isinstance(table, sa.Table)
    with db.session() as session:
        session.execute(sa.update(table).where(table.c.id == id_).values({column: at}))


def _drift(db: Database, store: ObjectStore, project: str) -> None:
    for day in range(NIGHTS):
        report = sample_drift(drifted=day == NIGHTS - 1).model_copy(update={"id": f"drift-{day}-{project}"})
        registry.save_drift(db, project, report)
        _dated(db, DriftReportRow.__table__, report.id, "created_at", now() - timedelta(days=NIGHTS - day))
        store.put(f"drift/{report.id}.html", b"<!doctype html><title>drift</title><script>document.title = 'ran'</script>")


def _opinions(db: Database, project: str) -> None:
    said = [
        FeedbackRecord.of(question=f"Question {n}?", answer="3 kg", thumb="down" if n % 3 == 0 else "up", rater=f"r{n}")
        for n in range(40)
    ]
    said += [FeedbackRecord.of(question=f"Question {n}?", answer="3 kg", edited_answer="4 kg") for n in range(6)]
    feedback.save(db, project, said)
    for n, record in enumerate(said):
        with db.session() as session:
            session.execute(
                sa.update(FeedbackRow)
                .where(FeedbackRow.project == project, FeedbackRow.id == record.id)
                .values(created_at=now() - timedelta(days=2 * n))
            )
