"""Looks at the champion between nights: keeps what was seen, and tells what is new of it."""

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from csift.db.connection import Database
from csift.db.operations import DriftReportRow, MonitorReportRow
from csift.hashing import content_id
from csift.schemas import DriftReport, MonitorReport


def last_look(db: Database, project: str) -> MonitorReport | None:
    """The newest report of a project."""
    newest = sa.select(MonitorReportRow.record).where(MonitorReportRow.project == project)
    with db.session() as session:
        record = session.scalar(newest.order_by(MonitorReportRow.created_at.desc()).limit(1))
    return MonitorReport.model_validate(record) if record else None


def drift_of_day(db: Database, project: str, day: datetime) -> str | None:
    """The id of the drift report that was made on a day (UTC), by a cycle or a look: the levels are those of one a day. One that
    had too little to compare is none."""
    begin = day.replace(hour=0, minute=0, second=0, microsecond=0)
    compared = sa.func.jsonb_array_length(DriftReportRow.record["signals"]) > 0
    made = sa.select(DriftReportRow.id).where(DriftReportRow.project == project, DriftReportRow.created_at >= begin, compared)
    with db.session() as session:
        return session.scalar(made.order_by(DriftReportRow.created_at.desc()).limit(1))


def save(db: Database, report: MonitorReport) -> MonitorReport:
    """Stores a report; again is nothing."""
    row = {"id": report.id, "project": report.project, "record": report.model_dump(mode="json")}
    with db.session() as session:
        session.execute(insert(MonitorReportRow).values(row).on_conflict_do_nothing())
    return report


def report_id(project: str, at: datetime) -> str:
    """The id of the look that was scheduled for a moment."""
    return content_id("monitor", [project, at.isoformat()])


def worse_is_news(now: MonitorReport, before: MonitorReport | None) -> bool:
    """Whether answers got worse and nobody was told: a regression is told once a month and champion."""
    if now.accuracy is None or not now.accuracy.regressed:
        return False
    told = before is not None and before.accuracy is not None and before.accuracy.regressed
    return not (told and before and before.champion_id == now.champion_id and _month(before.at) == _month(now.at))


def drift_is_news(now: DriftReport, before: DriftReport | None) -> bool:
    """Whether a signal drifted that had not, the last time that anybody looked."""
    known = {signal.name for signal in before.signals if signal.drifted} if before else set()
    return bool({signal.name for signal in now.signals if signal.drifted} - known)


def _month(at: datetime) -> tuple[int, int]:
    return at.year, at.month
