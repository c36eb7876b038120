"""How far the partitions of a plan are, as Postgres tells it: done ones are stored, of others the calls are counted."""

import sqlalchemy as sa

from csift.db.backfill import PartitionRow
from csift.db.connection import Database
from csift.db.learning import CallRow
from csift.registry import load
from csift.schemas import BackfillPlan, Cycle, PartitionState

STAGE = "partitions"  # of a cycle, which makes the plan


def plan_of(db: Database, cycle: Cycle) -> BackfillPlan | None:
    """What a backfill's cycle has planned, or None where it came to no plan or is no backfill."""
    made = next((stage.record_id for stage in cycle.stages if stage.stage == STAGE and stage.record_id), None)
    return load(db, BackfillPlan, made) if made else None


def states(db: Database, plan: BackfillPlan) -> tuple[PartitionState, ...]:
    """How far each partition of a plan is, in its order."""
    ids = [partition.id for partition in plan.partitions]
    answered = sa.func.count(CallRow.response)
    accepted = PartitionRow.record["accepted"].as_integer()
    with db.session() as session:
        done = dict(session.execute(sa.select(PartitionRow.id, accepted).where(PartitionRow.id.in_(ids))).tuples().all())
        query = sa.select(CallRow.partition_id, answered).where(CallRow.partition_id.in_(ids)).group_by(CallRow.partition_id)
        calls = dict(session.execute(query).tuples().all())
    return tuple(
        PartitionState(
            id=partition.id,
            name=partition.name,
            documents=len(partition.documents),
            state="done" if partition.id in done else "partly" if calls.get(partition.id) else "new",
            calls=calls.get(partition.id, 0),
            accepted=done.get(partition.id, 0),
        )
        for partition in plan.partitions
    )
