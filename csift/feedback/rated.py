"""Rated answers as labelled traffic: what people who care to rate say of the answers that they got.

Who rates chooses to: they are no sample of all who ask, and answers that annoy are rated more often. So these ratings are
compared with ratings that came about in the same way, never with labels of traffic that somebody drew.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from csift.db.connection import Database
from csift.db.feedback import FeedbackRow
from csift.db.serving import ServedAnswerRow
from csift.feedback.keeping import RECORD
from csift.feedback.voices import by_question, heard, opinion, settle
from csift.schemas import FeedbackRecord, ServedAnswer


@dataclass(frozen=True)
class RatedTraffic:
    """A served answer that somebody called good or bad; `at`: when they did."""

    session: str
    question: str
    answer: str
    correct: bool
    at: datetime
    system_id: str


def rated_traffic(db: Database, project: str, per_rater: int, begin: datetime, end: datetime) -> list[RatedTraffic]:
    """The opinions on served answers that were given from `begin` until before `end`, in the order in which they were given: each
    rater's first `per_rater`, so that what comes later changes nothing that was seen, and none on which raters contradict each
    other.
    """
    query = (
        sa.select(FeedbackRow.record, FeedbackRow.said_at, ServedAnswerRow.record)
        .join(ServedAnswerRow, ServedAnswerRow.id == FeedbackRow.answer_ids[1])
        .where(FeedbackRow.project == project, FeedbackRow.said_at >= begin, FeedbackRow.said_at < end)
        .order_by(FeedbackRow.said_at, FeedbackRow.id)
    )
    with db.session() as session:
        rows = session.execute(query).tuples().all()
    said = [RECORD.validate_python(record) for record, _, _ in rows]
    first = heard(said[::-1], per_rater)[::-1]  # of a list that begins with the last, the last are the first
    counted = _counted([record for record in first if isinstance(record, FeedbackRecord)])
    return [
        _point(record, at, ServedAnswer.model_validate(answer))
        for record, (_, at, answer) in zip(said, rows, strict=True)
        if isinstance(record, FeedbackRecord) and record.id in counted
    ]


def _counted(records: Sequence[FeedbackRecord]) -> set[str]:
    """Which of them are somebody's last word, good or bad, that nobody contradicts."""
    counted: set[str] = set()
    for asked in by_question(records):
        settle(asked, {})
        counted |= {record.id for voices in asked.opinions.values() for record in voices.values() if opinion(record)}
    return counted


def _point(record: FeedbackRecord, at: datetime, answer: ServedAnswer) -> RatedTraffic:
    return RatedTraffic(
        session=answer.session or answer.id,
        question=answer.question,
        answer=answer.answer,
        correct=opinion(record) > 0,
        at=at,
        system_id=answer.system_id,
    )
