"""How a project came to where it is: decisions, drift, feedback and cost over time, read from Postgres for the dashboard."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from csift import evalsets, registry
from csift.db.base import now
from csift.db.connection import Database
from csift.db.feedback import FeedbackRow
from csift.db.judging import DecisionRow, EvalSetRow
from csift.db.learning import CallRow
from csift.db.operations import CycleRow, DriftReportRow
from csift.db.serving import ServedAnswerRow
from csift.feedback import BAD_TO, GOOD_FROM
from csift.promotion.spending import left
from csift.schemas import ChampionMove, DriftReport, EvalSetHistory, Interval, PromotionDecision

DECISIONS, DRIFT, CYCLES = 100, 60, 30  # the newest that are shown
WEEKS = 12


@dataclass(frozen=True)
class Decided:
    """A decision, when it was made, the cycle that has a run report about it, and the move of the champion it led to."""

    decision: PromotionDecision
    at: datetime
    reported: str | None
    move: ChampionMove | None

    @property
    def accuracy(self) -> Interval:
        """The champion's from then on, on the questions of the decision."""
        return self.decision.challenger_accuracy if self.move else self.decision.champion_accuracy


@dataclass(frozen=True)
class Checked:
    """A drift report and when it was made."""

    report: DriftReport
    at: datetime


@dataclass(frozen=True)
class Week:
    """What was said of answers in the seven days from `begin` on. A record may be in several of the counts."""

    begin: datetime
    good: int
    bad: int
    edits: int


@dataclass(frozen=True)
class Spent:
    """What a cycle's model calls took."""

    cycle_id: str
    at: datetime
    calls: int
    usd: float
    reported: bool
    run_url: str | None


@dataclass(frozen=True)
class Trends:
    """All of it, the oldest first; feedback of the last twelve weeks, answers of the last seven days. `left` is the share of the
    eval set's budget; None before there is a set."""

    decisions: tuple[Decided, ...]
    drift: tuple[Checked, ...]
    feedback: tuple[Week, ...]
    spent: tuple[Spent, ...]
    answers: int
    history: EvalSetHistory | None
    left: float | None


def read_trends(db: Database, project: str) -> Trends:
    """What the dashboard shows of a project beside its status."""
    with db.session() as session:
        has_set = session.scalar(sa.select(sa.exists().where(EvalSetRow.project == project)))
        week = sa.and_(ServedAnswerRow.project == project, ServedAnswerRow.at >= now() - timedelta(days=7))
        answers = session.scalar(sa.select(sa.func.count()).where(week)) or 0
    history = registry.history(db, project, evalsets.newest(db, project).life) if has_set else None
    return Trends(
        decisions=_decisions(db, project),
        drift=_drift(db, project),
        feedback=_feedback(db, project),
        spent=_spent(db, project),
        answers=answers,
        history=history,
        left=left(history) if history else None,
    )


def _decisions(db: Database, project: str) -> tuple[Decided, ...]:
    moves = {move.decision_id: move for move in registry.champion_log(db, project) if move.decision_id}
    newest = sa.select(DecisionRow.record, DecisionRow.created_at).where(DecisionRow.project == project)
    reports = sa.select(CycleRow.decision_id, CycleRow.id).where(CycleRow.project == project, CycleRow.report_uri.is_not(None))
    with db.session() as session:
        rows = session.execute(newest.order_by(DecisionRow.created_at.desc()).limit(DECISIONS)).tuples().all()
        reported = dict(session.execute(reports.order_by(CycleRow.started_at)).tuples().all())
    decisions = [(PromotionDecision.model_validate(record), at) for record, at in reversed(rows)]
    return tuple(Decided(told, at, reported.get(told.id), moves.get(told.id)) for told, at in decisions)


def _drift(db: Database, project: str) -> tuple[Checked, ...]:
    newest = sa.select(DriftReportRow.record, DriftReportRow.created_at).where(DriftReportRow.project == project)
    with db.session() as session:
        rows = session.execute(newest.order_by(DriftReportRow.created_at.desc()).limit(DRIFT)).tuples().all()
    return tuple(Checked(DriftReport.model_validate(record), at) for record, at in reversed(rows))


def _feedback(db: Database, project: str) -> tuple[Week, ...]:
    """Weeks in which nobody said anything are there, too."""
    end = now()
    starts = [end - timedelta(weeks=weeks) for weeks in range(WEEKS, 0, -1)]
    said, rating = FeedbackRow.record, FeedbackRow.record["rating"].as_integer()
    thumb = said["thumb"].astext
    columns = {
        "good": sa.or_(thumb == "up", rating >= GOOD_FROM),
        "bad": sa.or_(thumb == "down", rating <= BAD_TO),
        "edits": said["edited_answer"].astext.is_not(None),
    }
    number = sa.func.width_bucket(FeedbackRow.created_at, sa.cast(starts, sa.ARRAY(sa.DateTime(timezone=True))))
    counts = [sa.func.count().filter(condition).label(name) for name, condition in columns.items()]
    wanted = sa.select(number.label("number"), *counts).where(FeedbackRow.project == project, FeedbackRow.created_at >= starts[0])
    with db.session() as session:
        found = {row.number: row for row in session.execute(wanted.group_by("number"))}
    return tuple(
        Week(start, *((row.good, row.bad, row.edits) if (row := found.get(place)) else (0, 0, 0)))
        for place, start in enumerate(starts, start=1)
    )


def _spent(db: Database, project: str) -> tuple[Spent, ...]:
    wanted = (
        sa.select(
            CycleRow.id,
            CycleRow.started_at,
            sa.func.count(CallRow.id),
            sa.func.sum(CallRow.cost_usd),
            CycleRow.report_uri.is_not(None),
            CycleRow.run_url,
        )
        .outerjoin(CallRow, CallRow.cycle_id == CycleRow.id)
        .where(CycleRow.project == project)
        .group_by(CycleRow.id)
        .order_by(CycleRow.started_at.desc())
        .limit(CYCLES)
    )
    with db.session() as session:
        rows = session.execute(wanted).tuples().all()
    return tuple(Spent(id_, at, calls, float(usd or 0), reported, url) for id_, at, calls, usd, reported, url in reversed(rows))
