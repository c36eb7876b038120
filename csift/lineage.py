"""What an adapter was made of and what became of it, followed through the records from its documents to the decisions on it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from csift import registry
from csift.db.connection import Database
from csift.db.corpus import SnapshotRow
from csift.db.judging import DecisionRow, EvalReportRow, SystemRow
from csift.db.learning import ExampleRow
from csift.db.operations import CycleRow
from csift.exceptions import GateError
from csift.schemas import Adapter, ChampionMove, CorpusSnapshot, DatasetVersion, EvalReport, PromotionDecision, StageLosses


@dataclass(frozen=True)
class AdapterLineage:
    """`documents`: those of which examples were made, with their numbers of examples, the most first. `decisions` compared a
    System with this adapter as challenger; `reported` names the cycle with a run report for each of them that has one; `moves`
    made it champion. All oldest first. `deleted`: the dataset lost rows of a person who asked for deletion."""

    adapter: Adapter
    dataset: DatasetVersion
    snapshot: CorpusSnapshot
    documents: tuple[tuple[str, int], ...]
    losses: tuple[StageLosses, ...]
    evaluations: tuple[EvalReport, ...]
    decisions: tuple[PromotionDecision, ...]
    reported: Mapping[str, str]
    moves: tuple[ChampionMove, ...]
    deleted: bool


def read_lineage(db: Database, project: str, adapter_id: str) -> AdapterLineage:
    """The lineage of an adapter of the project.

    Raises:
        GateError: the project has no such adapter, or it is a teacher's, which was made of no dataset.
    """
    adapter = registry.find(db, Adapter, adapter_id)
    dataset = registry.find(db, DatasetVersion, adapter.dataset_id) if adapter else None
    if adapter is None or dataset is None or not _is_ours(db, project, dataset.snapshot_id):
        raise GateError(f"{project} has no adapter {adapter_id} that was trained on a dataset; see `csift status`")
    with db.session() as session:
        systems = session.scalars(sa.select(SystemRow.id).where(SystemRow.adapter_id == adapter_id)).all()
    decisions = _decisions(db, project, systems)
    return AdapterLineage(
        adapter=adapter,
        dataset=dataset,
        snapshot=registry.load(db, CorpusSnapshot, dataset.snapshot_id),
        documents=_documents(db, dataset),
        losses=registry.stage_losses(db, adapter),
        evaluations=_evaluations(db, systems),
        decisions=decisions,
        reported=_reported(db, project, [decision.id for decision in decisions]),
        moves=tuple(move for move in reversed(registry.champion_log(db, project)) if move.to_system_id in systems),
        deleted=registry.deletion_of(db, dataset.id) is not None,
    )


def _is_ours(db: Database, project: str, snapshot_id: str) -> bool:
    with db.session() as session:
        return session.scalar(sa.select(SnapshotRow.project).where(SnapshotRow.id == snapshot_id)) == project


def _documents(db: Database, dataset: DatasetVersion) -> tuple[tuple[str, int], ...]:
    of = ExampleRow.record["document_id"].astext
    with db.session() as session:
        counts = session.execute(
            sa.select(of, sa.func.count()).where(ExampleRow.id.in_(set(dataset.example_ids))).group_by(of)
        ).tuples()
        return tuple(Counter(dict(counts.all())).most_common())


def _evaluations(db: Database, systems: Sequence[str]) -> tuple[EvalReport, ...]:
    made = sa.select(EvalReportRow.record).where(EvalReportRow.system_id.in_(systems)).order_by(EvalReportRow.created_at)
    with db.session() as session:
        return tuple(EvalReport.model_validate(record) for record in session.scalars(made))


def _decisions(db: Database, project: str, systems: Sequence[str]) -> tuple[PromotionDecision, ...]:
    challenger = DecisionRow.record["evidence"]["challenger_system_id"].astext
    made = sa.select(DecisionRow.record).where(DecisionRow.project == project, challenger.in_(systems))
    with db.session() as session:
        records = session.scalars(made.order_by(DecisionRow.created_at))
        return tuple(PromotionDecision.model_validate(record) for record in records)


def _reported(db: Database, project: str, decisions: Sequence[str]) -> dict[str, str]:
    cycles = sa.select(CycleRow.decision_id, CycleRow.id).where(
        CycleRow.project == project, CycleRow.decision_id.in_(decisions), CycleRow.report_uri.is_not(None)
    )
    with db.session() as session:
        return {str(decision): id_ for decision, id_ in session.execute(cycles.order_by(CycleRow.started_at)).tuples()}
