"""What partitions have taught, in Postgres: written once and whole, found by their content."""

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from csift.config import SynthesisConfig
from csift.db.backfill import BackfillRow, PartitionExampleRow, PartitionRow
from csift.db.connection import Database
from csift.interfaces import Embedder, Progress, no_progress
from csift.leases import Lease
from csift.schemas import BackfillPlan, Chunk, Example, Label, Partition, TaughtPartition
from csift.synthesis import SynthesisResult, Writer, synthesise


def save_plan(db: Database, project: str, plan: BackfillPlan) -> None:
    """Stores a plan; again is nothing."""
    row = {"id": plan.id, "project": project, "record": plan.model_dump(mode="json")}
    with db.session() as session:
        session.execute(insert(BackfillRow).values(row).on_conflict_do_nothing())


def teach(
    db: Database,
    lease: Lease,
    project: str,
    partition: Partition,
    writer: Writer,
    chunks: Sequence[Chunk],
    labels: Sequence[Label],
    embedder: Embedder,
    config: SynthesisConfig,
    near_duplicate: float,
    progress: Progress = no_progress,
) -> TaughtPartition:
    """Has the teacher write about a partition's documents and stores what is accepted, all or nothing. Nobody is asked about one
    that is done.

    Args:
        chunks, labels: of the whole corpus; those of the partition's documents are taken, and all labels as demonstrations.

    Raises:
        TeacherError, BudgetExhausted: as `LanguageModel.map`; every answer until then is in the ledger.
        GateError: the project's lease passed to another run.
    """
    if known := _find(db, partition.id):
        return known
    mine = {ref.document_id for ref in partition.documents}
    passages = [chunk for chunk in chunks if chunk.document_id in mine]
    result = synthesise(writer, passages, labels, embedder, config, near_duplicate, progress)
    taught = TaughtPartition(
        id=partition.id,
        name=partition.name,
        teacher=result.teacher,
        candidates=result.candidates,
        accepted=len(result.examples),
        rejections=result.rejections,
    )
    rows = [
        {"partition_id": partition.id, "position": position, "record": example.model_dump(mode="json")}
        for position, example in enumerate(result.examples)
    ]
    with db.session() as session:
        lease.check(session)
        session.add(PartitionRow(id=taught.id, project=project, record=taught.model_dump(mode="json")))
        session.flush()
        if rows:
            session.execute(insert(PartitionExampleRow), rows)
    return taught


def _find(db: Database, id_: str) -> TaughtPartition | None:
    with db.session() as session:
        row = session.get(PartitionRow, id_)
        return TaughtPartition.model_validate(row.record) if row else None


def taught(db: Database, plan: BackfillPlan) -> SynthesisResult:
    """What all partitions of a plan have taught together, in the plan's order. They must be done."""
    ids = [partition.id for partition in plan.partitions]
    with db.session() as session:
        found = session.scalars(sa.select(PartitionRow).where(PartitionRow.id.in_(ids)))
        done = {row.id: TaughtPartition.model_validate(row.record) for row in found}
        query = sa.select(PartitionExampleRow.partition_id, PartitionExampleRow.record)
        rows = session.execute(
            query.where(PartitionExampleRow.partition_id.in_(ids)).order_by(PartitionExampleRow.position)
        ).tuples()
        examples: dict[str, list[Example]] = {id_: [] for id_ in ids}
        for id_, record in rows:
            examples[id_].append(Example.model_validate(record))
    return SynthesisResult(
        teacher=", ".join(sorted({done[id_].teacher for id_ in ids})),
        examples=tuple(example for id_ in ids for example in examples[id_]),
        candidates=sum(done[id_].candidates for id_ in ids),
        rejections=tuple(rejection for id_ in ids for rejection in done[id_].rejections),
    )
