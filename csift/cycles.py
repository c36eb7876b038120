"""Cycles: one turn of the loop, its stages with state and timings, and what became of it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from csift.db.base import now
from csift.db.connection import Database, steady
from csift.db.operations import CycleRow, StageRow
from csift.exceptions import GateError
from csift.ledger import cost_of
from csift.schemas import Cycle, CycleState, StageRun
from csift.telemetry.context import inside


def cycle_id(project: str, trigger: str, scheduled_at: datetime) -> str:
    """The same scheduled run has the same id, however often it is started; in UTC, in which no hour comes twice."""
    return f"{project}-{trigger}-{scheduled_at.astimezone(UTC):%Y%m%dT%H%M%S.%f}"


@steady
def begin(db: Database, project: str, trigger: str, scheduled_at: datetime) -> str:
    """Opens the cycle, or opens it again after it was cut off; the stages it made remain. Returns its id.

    Call it with the project's lease held: a cycle of the project that still counts as running was killed and is marked
    interrupted.
    """
    id_ = cycle_id(project, trigger, scheduled_at)
    fresh = {
        "id": id_,
        "project": project,
        "trigger": trigger,
        "scheduled_at": scheduled_at,
        "state": CycleState.RUNNING,
        "reason": "",
    }
    with db.session() as session:
        running = sa.select(CycleRow.id).where(
            CycleRow.project == project, CycleRow.state == CycleState.RUNNING, CycleRow.id != id_
        )
        cut = sa.update(StageRow).where(StageRow.cycle_id.in_(running), StageRow.state == "running").values(state="interrupted")
        session.execute(cut.execution_options(synchronize_session=False))
        session.execute(
            sa.update(CycleRow)
            .where(CycleRow.project == project, CycleRow.state == CycleState.RUNNING, CycleRow.id != id_)
            .values(state=CycleState.INTERRUPTED, reason="the process was killed")
        )
        again = {"state": CycleState.RUNNING, "reason": ""}
        session.execute(insert(CycleRow).values(fresh).on_conflict_do_update(index_elements=[CycleRow.id], set_=again))
    return id_


@steady
def skip(db: Database, project: str, trigger: str, scheduled_at: datetime, reason: str) -> Cycle:
    """Records a cycle that did not start, because another one holds the lease."""
    id_ = cycle_id(project, trigger, scheduled_at)
    row = {
        "id": id_,
        "project": project,
        "trigger": trigger,
        "scheduled_at": scheduled_at,
        "state": CycleState.SKIPPED,
        "reason": reason,
    }
    with db.session() as session:
        session.execute(insert(CycleRow).values(row).on_conflict_do_nothing())
    return load(db, id_)


@steady
def note(db: Database, id_: str, **columns: str | None) -> None:
    """Sets columns of the cycle's row: fingerprint, drift_id, decision_id, report_uri, run_url, state, reason."""
    with db.session() as session:
        session.execute(sa.update(CycleRow).where(CycleRow.id == id_).values(columns))


@contextmanager
def stage(db: Database, id_: str, name: str) -> Iterator[list[str]]:
    """Times a stage. The block puts the id of the record it made into the list; the row shows how the stage ended.

    Raises:
        GateError: this run was taken for dead, and another one has begun.
    """
    began = time.monotonic()
    made: list[str] = []
    _write_stage(db, id_, name, "running", 0.0, None)
    try:
        with inside(cycle=id_, stage=name):
            yield made
    except KeyboardInterrupt:
        _write_stage(db, id_, name, "interrupted", time.monotonic() - began, None)
        raise
    except BaseException:
        _write_stage(db, id_, name, "failed", time.monotonic() - began, None)
        raise
    _write_stage(db, id_, name, "completed", time.monotonic() - began, made[-1] if made else None)


@steady
def _write_stage(db: Database, id_: str, name: str, state: str, seconds: float, record_id: str | None) -> None:
    row = {"cycle_id": id_, "stage": name, "state": state, "seconds": seconds, "record_id": record_id}
    if state == "running":
        row["started_at"] = now()
    keys = [StageRow.cycle_id, StageRow.stage]
    with db.session() as session:
        if state == "running" and session.scalar(sa.select(CycleRow.state).where(CycleRow.id == id_)) == CycleState.INTERRUPTED:
            raise GateError(f"another run took over from {id_} while it was cut off from Postgres; it stops before {name}")
        session.execute(insert(StageRow).values(row).on_conflict_do_update(index_elements=keys, set_=row))


@steady
def load(db: Database, id_: str) -> Cycle:
    """A cycle with its stages in the order they began, and its cost. Raises GateError when there is none of that id."""
    with db.session() as session:
        row = session.get(CycleRow, id_)
        if row is None:
            raise GateError(f"there is no cycle {id_}; see `csift status`")
        rows = session.scalars(sa.select(StageRow).where(StageRow.cycle_id == id_).order_by(StageRow.started_at)).all()
    stages = tuple(
        StageRun(stage=entry.stage, state=entry.state, seconds=entry.seconds, record_id=entry.record_id) for entry in rows
    )
    return Cycle(
        id=row.id,
        project=row.project,
        trigger=row.trigger,
        scheduled_at=row.scheduled_at,
        state=CycleState(row.state),
        reason=row.reason,
        fingerprint=row.fingerprint,
        stages=stages,
        cost=cost_of(db, id_),
        decision_id=row.decision_id,
        drift_id=row.drift_id,
        report_uri=row.report_uri,
        run_url=row.run_url,
    )


def recent(db: Database, project: str, count: int) -> list[Cycle]:
    """The last cycles of a project, newest first."""
    with db.session() as session:
        ids = session.scalars(
            sa.select(CycleRow.id).where(CycleRow.project == project).order_by(CycleRow.started_at.desc()).limit(count)
        ).all()
    return [load(db, id_) for id_ in ids]


def last_decided(db: Database, project: str) -> Cycle | None:
    """The last cycle that trained and was decided, or None."""
    with db.session() as session:
        id_ = session.scalar(
            sa.select(CycleRow.id)
            .where(CycleRow.project == project, CycleRow.state == CycleState.COMPLETED, CycleRow.decision_id.is_not(None))
            .order_by(CycleRow.started_at.desc())
            .limit(1)
        )
    return load(db, id_) if id_ else None
