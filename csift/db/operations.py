"""Tables of cycles, leases, drift and task results."""

from datetime import datetime

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from csift.db.base import Base, RecordTable, now


class DriftReportRow(RecordTable, Base):
    """DriftReport."""

    __tablename__ = "drift_reports"
    project: Mapped[str] = mapped_column(index=True)
    drifted: Mapped[bool]
    p_value: Mapped[float]


class MonitorReportRow(RecordTable, Base):
    """MonitorReport."""

    __tablename__ = "monitor_reports"
    project: Mapped[str] = mapped_column(index=True)


class CycleInputsRow(RecordTable, Base):
    """CycleInputs, under the fingerprint of the cycles that had them."""

    __tablename__ = "cycle_inputs"


class CycleRow(Base):
    """Cycle; its stages are in `stages`, its cost is summed from `calls` and `reused`."""

    __tablename__ = "cycles"
    id: Mapped[str] = mapped_column(primary_key=True)
    project: Mapped[str] = mapped_column(index=True)
    trigger: Mapped[str]
    scheduled_at: Mapped[datetime]
    started_at: Mapped[datetime] = mapped_column(default=now, index=True)
    state: Mapped[str]
    reason: Mapped[str]
    fingerprint: Mapped[str | None]
    decision_id: Mapped[str | None]
    drift_id: Mapped[str | None]
    report_uri: Mapped[str | None]
    run_url: Mapped[str | None]
    reused_calls: Mapped[int] = mapped_column(default=0)


class StageRow(Base):
    """StageRun of a cycle."""

    __tablename__ = "stages"
    cycle_id: Mapped[str] = mapped_column(ForeignKey("cycles.id"), primary_key=True)
    stage: Mapped[str] = mapped_column(primary_key=True)
    state: Mapped[str]
    started_at: Mapped[datetime] = mapped_column(default=now)
    seconds: Mapped[float] = mapped_column(default=0.0)
    record_id: Mapped[str | None]


class LeaseRow(Base):
    """Who holds a lease, for people and for fencing; the lock itself is Postgres's (csift.leases)."""

    __tablename__ = "leases"
    name: Mapped[str] = mapped_column(primary_key=True)
    holder: Mapped[str]
    token: Mapped[int]
    acquired_at: Mapped[datetime] = mapped_column(default=now)


class TaskResultRow(Base):
    """A Prefect task's persisted result (tasks/results.py)."""

    __tablename__ = "task_results"
    key: Mapped[str] = mapped_column(primary_key=True)
    content: Mapped[bytes]
    written_at: Mapped[datetime] = mapped_column(default=now)
