"""What exists and what is champion: systems, adapters, losses, decisions, and the pointer with its log."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from csift.db.backfill import BackfillRow, PartitionRow
from csift.db.base import RecordTable, now
from csift.db.connection import Database
from csift.db.corpus import IngestRow, SnapshotRow
from csift.db.feedback import DeletionRow
from csift.db.judging import ChampionLogRow, ChampionRow, DecisionRow, EvalReportRow, EvalSetRow, SystemRow
from csift.db.learning import AdapterRow, CustomModelRow, DatasetRow, LossRow
from csift.db.operations import CycleInputsRow, DriftReportRow, MonitorReportRow
from csift.db.serving import TrialRow
from csift.exceptions import GateError, StorageError
from csift.interfaces import ObjectStore
from csift.leases import Lease
from csift.schemas import (
    Adapter,
    BackfillPlan,
    ChampionMove,
    CorpusSnapshot,
    CustomModel,
    CycleInputs,
    DatasetVersion,
    Deletion,
    DriftReport,
    EvalReport,
    EvalSet,
    EvalSetHistory,
    IngestReport,
    LossPoint,
    MonitorReport,
    PromotionDecision,
    Record,
    StageLosses,
    System,
    TaughtPartition,
    Verdict,
)

R = TypeVar("R", bound=Record)

TABLES: dict[type[Record], type[RecordTable]] = {
    CorpusSnapshot: SnapshotRow,
    IngestReport: IngestRow,
    DatasetVersion: DatasetRow,
    EvalSet: EvalSetRow,
    System: SystemRow,
    Adapter: AdapterRow,
    PromotionDecision: DecisionRow,
    EvalReport: EvalReportRow,
    DriftReport: DriftReportRow,
    CycleInputs: CycleInputsRow,
    MonitorReport: MonitorReportRow,
    BackfillPlan: BackfillRow,
    TaughtPartition: PartitionRow,
    Deletion: DeletionRow,
}


def find(db: Database, kind: type[R], id_: str) -> R | None:
    """A stored record, or None."""
    with db.session() as session:
        row = session.get(TABLES[kind], id_)
        return kind.model_validate(row.record) if row else None


def load(db: Database, kind: type[R], id_: str) -> R:
    """A stored record. Raises GateError when there is none of that id."""
    found = find(db, kind, id_)
    if found is None:
        raise GateError(f"there is no {kind.__name__} {id_}; see `csift status` for the ids that exist")
    return found


def deletions(db: Database, project: str) -> list[Deletion]:
    """The deletions of people's data, the newest first."""
    query = sa.select(DeletionRow.record).where(DeletionRow.project == project).order_by(DeletionRow.created_at.desc())
    with db.session() as session:
        return [Deletion.model_validate(record) for record in session.scalars(query)]


def deletion_of(db: Database, dataset_id: str) -> Deletion | None:
    """The newest deletion that took rows from a dataset, or None."""
    took = DeletionRow.record["datasets"].has_key(dataset_id)
    with db.session() as session:
        record = session.scalar(sa.select(DeletionRow.record).where(took).order_by(DeletionRow.created_at.desc()).limit(1))
    return Deletion.model_validate(record) if record else None


def save_system(db: Database, system: System) -> System:
    """Stores a System; again is nothing."""
    with db.session() as session:
        _save_system(session, system)
    return system


def _save_system(session: Session, system: System) -> None:
    values = {
        "id": system.id,
        "adapter_id": system.adapter_id,
        "snapshot_id": system.snapshot_id,
        "record": system.model_dump(mode="json"),
    }
    session.execute(insert(SystemRow).values(values).on_conflict_do_nothing())


def save_adapter(session: Session, adapter: Adapter) -> None:
    """Stores an Adapter in the caller's transaction; one that was trained again, its artifact being gone, replaces itself."""
    values = {"id": adapter.id, "dataset_id": adapter.dataset_id, "record": adapter.model_dump(mode="json")}
    again = {"record": values["record"]}
    session.execute(insert(AdapterRow).values(values).on_conflict_do_update(index_elements=[AdapterRow.id], set_=again))


def find_adapter(db: Database, id_: str) -> Adapter | None:
    """The adapter of this id, or None."""
    with db.session() as session:
        row = session.get(AdapterRow, id_)
    return Adapter.model_validate(row.record) if row else None


def adapter_folder(db: Database, store: ObjectStore, id_: str) -> Path:
    """The folder of an adapter's weights on this machine.

    Raises:
        GateError: there is no adapter of that id.
        StorageError: its artifact was collected, or is not whole.
    """
    artifact = load(db, Adapter, id_).artifact
    if not store.has_artifact(artifact):
        raise StorageError(
            f"{id_} was trained and its weights are no longer in {store.url}: `csift gc` collects adapters that no champion and "
            "no decision refers to; run the cycle again, and it is trained anew"
        )
    return store.open_artifact(artifact)


def save_custom_model(db: Database, model: CustomModel, dataset_id: str) -> CustomModel:
    """Stores a CustomModel and what it was made from; again is nothing."""
    values = {"id": model.name, "arn": model.arn, "dataset_id": dataset_id, "record": model.model_dump(mode="json")}
    with db.session() as session:
        session.execute(insert(CustomModelRow).values(values).on_conflict_do_nothing())
    return model


def custom_model_of(db: Database, system: System) -> tuple[CustomModel, str]:
    """The custom model that answers for the System, and the id of the dataset that it was made from.

    Raises:
        GateError: the System has none, or it was made by another project's database.
    """
    with db.session() as session:
        row = session.scalar(sa.select(CustomModelRow).where(CustomModelRow.arn == system.custom_model))
    if row is None:
        raise GateError(f"nothing is known of the model of {system.id}, {system.base_model}; see it in Bedrock's console")
    return CustomModel.model_validate(row.record), row.dataset_id


def save_inputs(db: Database, inputs: CycleInputs) -> None:
    """Stores what a cycle went by; again is nothing."""
    with db.session() as session:
        values = {"id": inputs.id, "record": inputs.model_dump(mode="json")}
        session.execute(insert(CycleInputsRow).values(values).on_conflict_do_nothing())


def save_drift(db: Database, project: str, report: DriftReport) -> DriftReport:
    """Stores a DriftReport; again is nothing."""
    with db.session() as session:
        values = {
            "id": report.id,
            "project": project,
            "drifted": report.drifted,
            "p_value": min((signal.p_value for signal in report.signals), default=1.0),
            "record": report.model_dump(mode="json"),
        }
        session.execute(insert(DriftReportRow).values(values).on_conflict_do_nothing())
    return report


def save_loss(session: Session, adapter_id: str, point: LossPoint) -> None:
    """Stores a training step's loss in the caller's transaction; a step that is trained again after a kill replaces itself.

    A custom model's name may stand for the adapter's id.
    """
    values = {"adapter_id": adapter_id, **point.model_dump()}
    keys = [LossRow.adapter_id, LossRow.step]
    session.execute(insert(LossRow).values(values).on_conflict_do_update(index_elements=keys, set_=point.model_dump()))


def load_losses(db: Database, adapter_id: str) -> list[LossPoint]:
    """The loss curve of an adapter or, by its name, of a custom model, in order of steps."""
    with db.session() as session:
        rows = session.scalars(sa.select(LossRow).where(LossRow.adapter_id == adapter_id).order_by(LossRow.step))
        return [LossPoint(step=r.step, loss=r.loss, learning_rate=r.learning_rate, tokens=r.tokens) for r in rows]


def stage_losses(db: Database, adapter: Adapter) -> tuple[StageLosses, ...]:
    """The curve of each stage that the adapter came about by, in their order."""
    stages = zip(adapter.stages, adapter.stage_ids, strict=True)
    return tuple(StageLosses(method=method, points=tuple(load_losses(db, id_))) for method, id_ in stages)


def save_decision(db: Database, decision: PromotionDecision) -> PromotionDecision:
    """Stores a decision; again is nothing."""
    with db.session() as session:
        values = {
            "id": decision.id,
            "project": decision.evidence.project,
            "life": decision.history.life,
            "conclusive": decision.conclusive,
            "verdict": decision.verdict.value,
            "low": decision.difference.low,
            "high": decision.difference.high,
            "record": decision.model_dump(mode="json"),
        }
        session.execute(insert(DecisionRow).values(values).on_conflict_do_nothing())
    return decision


def decisions_on(db: Database, adapter_id: str) -> list[PromotionDecision]:
    """The decisions on challengers with this adapter, the oldest first."""
    challenger = DecisionRow.record["evidence"]["challenger_system_id"].astext
    wanted = sa.select(DecisionRow.record).join(SystemRow, SystemRow.id == challenger).where(SystemRow.adapter_id == adapter_id)
    with db.session() as session:
        return [PromotionDecision.model_validate(record) for record in session.scalars(wanted.order_by(DecisionRow.created_at))]


def history(db: Database, project: str, life: int) -> EvalSetHistory:
    """The conclusive decisions that were made in this life of the project's eval set."""
    with db.session() as session:
        rows = session.execute(
            sa.select(DecisionRow.verdict, sa.func.count())
            .where(DecisionRow.project == project, DecisionRow.life == life, DecisionRow.conclusive)
            .group_by(DecisionRow.verdict)
        )
        made = {str(verdict): int(count) for verdict, count in rows}
    told = (made.get(verdict.value, 0) for verdict in (Verdict.HOLD, Verdict.REJECT, Verdict.PROMOTE))
    return EvalSetHistory(life=life, **dict(zip(("held", "rejected", "promoted"), told, strict=True)))


def won_before(db: Database, project: str) -> frozenset[str]:
    """Ids of the eval items that a champion before the present one answered rightly, whenever it was judged."""
    log = champion_log(db, project)
    earlier = {move.to_system_id for move in log[1:]} - {move.to_system_id for move in log[:1]}
    with db.session() as session:
        records = session.scalars(sa.select(EvalReportRow.record).where(EvalReportRow.system_id.in_(earlier)))
        reports = [EvalReport.model_validate(record) for record in records]
    return frozenset(
        answer.item_id for report in reports for answer in report.answers if answer.score is not None and answer.score.correct
    )


# --- the champion pointer -------------------------------------------------------------------------------------------------


def champion(db: Database, project: str) -> System | None:
    """The System that the project's pointer names, or None before the first cycle."""
    with db.session() as session:
        record = session.scalar(
            sa.select(SystemRow.record)
            .join(ChampionRow, ChampionRow.system_id == SystemRow.id)
            .where(ChampionRow.project == project)
        )
    return System.model_validate(record) if record else None


def champion_log(db: Database, project: str) -> list[ChampionMove]:
    """Every move of the pointer, the newest first."""
    with db.session() as session:
        rows = session.scalars(
            sa.select(ChampionLogRow).where(ChampionLogRow.project == project).order_by(ChampionLogRow.version.desc())
        )
        return [
            ChampionMove(
                project=row.project,
                version=row.version,
                kind=row.kind,
                from_system_id=row.from_system_id,
                to_system_id=row.to_system_id,
                decision_id=row.decision_id,
                at=row.at,
            )
            for row in rows
        ]


def bootstrap_champion(db: Database, project: str, system: System) -> System:
    """Makes `system` (the base model) the first champion, unless there is a champion; returns the champion."""
    with db.session() as session:
        _save_system(session, system)
        values = {"project": project, "system_id": system.id, "version": 1}
        made = session.execute(insert(ChampionRow).values(values).on_conflict_do_nothing().returning(ChampionRow.version))
        if made.scalar() is not None:
            _log(session, project, 1, "bootstrap", None, system.id, None)
    return champion(db, project) or system


def promote(db: Database, decision: PromotionDecision, base: System, challenger: System, lease: Lease) -> ChampionMove | None:
    """Moves the pointer from `base` (the champion that was read when the cycle began) to the challenger, by compare-and-swap.

    Returns None when the pointer is at the challenger already: a run that was killed after the move and started again.

    Raises:
        GateError: the decision is not PROMOTE or is about another System, the champion changed meanwhile, or the lease was lost.
    """
    if decision.verdict is not Verdict.PROMOTE or decision.evidence.challenger_system_id != challenger.id:
        raise GateError(f"decision {decision.id} does not promote {challenger.id}; only a PROMOTE verdict moves the champion")
    with db.session() as session:
        lease.check(session)
        return move_champion(session, decision.evidence.project, "promotion", base.id, challenger.id, decision.id)


def rollback(db: Database, project: str) -> ChampionMove:
    """Moves the pointer back to the System before the last promotion that still stands; the log keeps both moves.

    Raises:
        GateError: there is no promotion to take back, or the champion changed meanwhile.
    """
    log = champion_log(db, project)
    target = standing_before(log)
    if target is None:
        raise GateError(f"project {project} has no promotion to take back; see `csift status`")
    with db.session() as session:
        move = move_champion(session, project, "rollback", log[0].to_system_id, target, None)
    if move is None:
        raise GateError(f"the champion of {project} is {target} already")
    return move


def standing_before(log: Sequence[ChampionMove]) -> str | None:
    """The System to roll back to, or None. Rollbacks undo promotions like a stack: two of them go back two promotions."""
    stack: list[str] = []
    for move in sorted(log, key=lambda move: move.version):
        if move.kind == "rollback":
            stack.pop()
        else:
            stack.append(move.to_system_id)
    return stack[-2] if len(stack) > 1 else None


def move_champion(
    session: Session, project: str, kind: str, expected: str, to: str, decision_id: str | None
) -> ChampionMove | None:
    """Moves the pointer from `expected` to `to` in the caller's transaction; None when it is there already. A trial ends with
    the champion that the challenger was tried against.

    Raises:
        GateError: there is no champion yet, or it is another one than expected.
    """
    row = session.scalar(sa.select(ChampionRow).where(ChampionRow.project == project).with_for_update())
    if row is None:
        raise GateError(f"project {project} has no champion yet; run a cycle first")
    if row.system_id == to:
        return None
    if row.system_id != expected:
        raise GateError(f"the champion of {project} became {row.system_id} meanwhile; nothing was moved, run the cycle again")
    row.system_id = to
    row.version += 1
    _end_trial(session, project, to)
    return _log(session, project, row.version, kind, expected, to, decision_id)


def _end_trial(session: Session, project: str, champion_id: str) -> None:
    told = sa.case((TrialRow.system_id == champion_id, "it became champion"), else_=f"{champion_id} became champion")
    living = sa.update(TrialRow).where(TrialRow.project == project, TrialRow.ended_at.is_(None))
    session.execute(living.values(ended_at=now(), reason=told))


def _log(
    session: Session, project: str, version: int, kind: str, before: str | None, to: str, decision_id: str | None
) -> ChampionMove:
    row = ChampionLogRow(
        project=project, version=version, kind=kind, from_system_id=before, to_system_id=to, decision_id=decision_id
    )
    session.add(row)
    session.flush()
    return ChampionMove(
        project=project,
        version=version,
        kind=kind,
        from_system_id=before,
        to_system_id=to,
        decision_id=decision_id,
        at=row.at,
    )
