"""What a project is at this moment, read from Postgres for `csift status` and pages."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg2
import sqlalchemy as sa

from csift import approvals, backfill, cycles, forgetting, jobs, registry
from csift.db.base import now
from csift.db.connection import Database
from csift.db.judging import DecisionRow
from csift.db.operations import CycleRow, StageRow
from csift.exceptions import DatabaseError
from csift.leases import cycle_lease, holder
from csift.reports.status import Lineage, Now, PastCycle, Status
from csift.schemas import (
    Adapter,
    CorpusSnapshot,
    Cycle,
    CycleState,
    DatasetVersion,
    DriftReport,
    PartitionState,
    PromotionDecision,
    System,
    Verdict,
)

CYCLES_SHOWN = 10
POLL_SECONDS = 2.0  # stages and the champion do not notify; they are looked at so often
REST_SECONDS = 0.5  # between two looks, however many jobs of the database change


def read_status(db: Database, project: str) -> Status:
    """Champion with its lineage down to the documents, the last cycles, and who runs now."""
    champion = registry.champion(db, project)
    log = registry.champion_log(db, project)
    return Status(
        project=project,
        champion=champion,
        since=log[0].at if log else None,
        lineage=_lineage(db, champion) if champion else None,
        cycles=tuple(_past(db, cycle) for cycle in cycles.recent(db, project, CYCLES_SHOWN)),
        holder=_runner(db, project),
        jobs=tuple(jobs.of_project(db, project)),
        awaiting=approvals.awaiting(db, project),
    )


def read_now(db: Database, project: str) -> Now:
    """The champion, the newest cycle with its stages, who runs it, and the jobs that are queued or worked on."""
    cycle, runner = _newest(db, project), _runner(db, project)
    if cycle and cycle.state is CycleState.RUNNING and runner is None:
        cycle = _newest(db, project)  # it may have ended between the two looks; if not, its process is gone
    log = registry.champion_log(db, project)
    return Now(
        at=now(),
        project=project,
        champion=registry.champion(db, project),
        since=log[0].at if log else None,
        holder=runner,
        cycle=cycle,
        verdict=_verdict(db, cycle.decision_id) if cycle and cycle.decision_id else None,
        jobs=tuple(jobs.of_project(db, project)),
        partitions=_partitions(db, cycle) if cycle else (),
    )


def watch(db: Database, project: str) -> Iterator[Now]:
    """`read_now` again and again, without end: at once when a job changes, else every `POLL_SECONDS`.

    Two that follow each other may be alike.

    Raises:
        DatabaseError: Postgres went away.
    """
    with _while_connected(project), jobs.listening(db) as heard:
        while True:
            yield read_now(db, project)
            time.sleep(REST_SECONDS)
            heard(POLL_SECONDS)


@contextmanager
def _while_connected(project: str) -> Iterator[None]:
    try:
        yield
    except (*jobs.CUT, psycopg2.Error) as error:
        first = str(error).strip().splitlines()[0]
        raise DatabaseError(f"Postgres went away while {project} was watched: {first}; watch again when it is back") from None


def _runner(db: Database, project: str) -> str | None:
    return holder(db, cycle_lease(project))


def _newest(db: Database, project: str) -> Cycle | None:
    """The cycle that counts as running, or the newest. Stages that go on have the seconds by the clocks of both machines."""
    running = CycleRow.state == CycleState.RUNNING
    with db.session() as session:
        newest = sa.select(CycleRow.id).where(CycleRow.project == project).order_by(running.desc(), CycleRow.started_at.desc())
        id_ = session.scalar(newest.limit(1))
        if id_ is None:
            return None
        rows = session.execute(sa.select(StageRow.stage, StageRow.started_at).where(StageRow.cycle_id == id_)).all()
    began = {row.stage: row.started_at for row in rows}
    found = cycles.load(db, id_)
    stages = (
        stage.model_copy(update={"seconds": max(0.0, (now() - began[stage.stage]).total_seconds())})
        if stage.state == "running" and stage.stage in began  # else it began between the two looks
        else stage
        for stage in found.stages
    )
    return found.model_copy(update={"stages": tuple(stages)})


def _verdict(db: Database, decision_id: str) -> Verdict | None:
    with db.session() as session:
        found = session.scalar(sa.select(DecisionRow.verdict).where(DecisionRow.id == decision_id))
    return Verdict(found) if found else None


def _lineage(db: Database, champion: System) -> Lineage:
    adapter = registry.load(db, Adapter, champion.adapter_id) if champion.adapter_id else None
    custom, dataset_id = registry.custom_model_of(db, champion) if champion.custom_model else (None, None)
    if adapter:
        dataset_id = adapter.dataset_id
    dataset = registry.load(db, DatasetVersion, dataset_id) if dataset_id else None
    deletion = registry.deletion_of(db, dataset.id) if dataset else None
    snapshot = registry.load(db, CorpusSnapshot, dataset.snapshot_id if dataset else champion.snapshot_id)
    return Lineage(
        adapter_id=adapter.id if adapter else None,
        dataset_id=dataset.id if dataset else None,
        sources=dataset.sources if dataset else {},
        snapshot_id=snapshot.id,
        documents=snapshot.documents,
        custom_model=custom.name if custom else None,
        deletion_id=deletion.id if deletion else None,
    )


def _past(db: Database, cycle: Cycle) -> PastCycle:
    return PastCycle(
        cycle=cycle,
        decision=registry.load(db, PromotionDecision, cycle.decision_id) if cycle.decision_id else None,
        drift=registry.load(db, DriftReport, cycle.drift_id) if cycle.drift_id else None,
        retention=forgetting.of_cycle(db, cycle),
        partitions=_partitions(db, cycle),
    )


def _partitions(db: Database, cycle: Cycle) -> tuple[PartitionState, ...]:
    plan = backfill.plan_of(db, cycle)
    return backfill.states(db, plan) if plan else ()
