"""What people say is kept once: given by answer id, or imported."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

import sqlalchemy as sa
from pydantic import TypeAdapter, ValidationError
from sqlalchemy.dialects.postgresql import insert

from csift.db.base import now
from csift.db.connection import Database
from csift.db.feedback import FeedbackRow
from csift.db.serving import ServedAnswerRow
from csift.exceptions import LabelError
from csift.feedback.voices import Said, same
from csift.hashing import content_id
from csift.schemas import FeedbackRecord, Ranking, ServedAnswer

RECORD: TypeAdapter[Said] = TypeAdapter(FeedbackRecord | Ranking)
ONE_AFTER_ANOTHER = timedelta(microseconds=1)
NO_ANSWERS: Mapping[str, Sequence[str]] = {}


@dataclass(frozen=True)
class Given:
    """The id under which something said is kept, and whether it was not known before."""

    id: str
    new: bool


def give(
    db: Database,
    project: str,
    answer_id: str,
    *,
    scrub: Callable[[str], str],
    thumb: Literal["up", "down"] | None = None,
    rating: int | None = None,
    edited_answer: str | None = None,
    comment: str | None = None,
    rater: str | None = None,
) -> Given:
    """Keeps what a person says of an answer that was served; the same said twice is kept once, and the last word holds.

    Args:
        scrub: removes personal data from a text, such as `csift.corpus.scrub.Scrubber().text`.
        rating: 1 (bad) to 5 (good).
        rater: tells people apart; a hash of it is kept.

    Raises:
        LabelError: there is no such answer, or what is said of it is nothing, impossible or contradicts itself.
    """
    (answer,) = answers_of_ids(db, project, [answer_id])
    what = {"thumb": thumb, "rating": rating, "edited_answer": edited_answer, "comment": comment}
    return say(db, project, about([answer], rater, what), [answer], scrub)


def rank(
    db: Database,
    project: str,
    answer_ids: Sequence[str],
    *,
    scrub: Callable[[str], str],
    comment: str | None = None,
    rater: str | None = None,
) -> Given:
    """Keeps a person's order of answers to one question, best first. Raises LabelError as `give`, and for answers to several
    questions, equal ones, or fewer than two.
    """
    answers = answers_of_ids(db, project, answer_ids)
    return say(db, project, about(answers, rater, {"comment": comment}, ranking=True), answers, scrub)


def answers_of_ids(db: Database, project: str, ids: Sequence[str]) -> list[ServedAnswer]:
    """Served answers, in the order of the ids. Raises LabelError when there is none of an id."""
    with db.session() as session:
        query = sa.select(ServedAnswerRow.record).where(ServedAnswerRow.project == project, ServedAnswerRow.id.in_(ids))
        found = {answer.id: answer for answer in map(ServedAnswer.model_validate, session.scalars(query))}
    if missing := [id_ for id_ in ids if id_ not in found]:
        raise LabelError(f"no answer {missing[0]!r} was given in {project}; ids are in the answers of `csift serve`")
    return [found[id_] for id_ in ids]


def about(answers: Sequence[ServedAnswer], rater: str | None, what: Mapping[str, Any], ranking: bool = False) -> Said:
    """The record of what is said of one served answer, or of an order of several. Raises LabelError when it says nothing."""
    if len({same(answer.question) for answer in answers}) > 1:
        raise LabelError("these answers are to different questions; rank answers to one question")
    try:
        if ranking:
            return Ranking.of(question=answers[0].question, answers=tuple(a.answer for a in answers), rater=rater, **what)
        (answer,) = answers
        return FeedbackRecord.of(question=answer.question, answer=answer.answer, system_id=answer.system_id, rater=rater, **what)
    except ValidationError as error:
        raise LabelError(told(error)) from None


def told(error: ValidationError) -> str:
    """Pydantic's findings in a few words."""
    return ", ".join(_told(problem) for problem in error.errors())


def _told(problem: Any) -> str:
    plain = {"missing": "is missing", "string_too_short": "is empty", "too_short": "needs two or more"}
    said = plain.get(problem["type"], problem["msg"]).removeprefix("Value error, ").removeprefix("Input ")
    return " ".join([*(str(part) for part in problem["loc"]), said])


def say(
    db: Database,
    project: str,
    record: Said,
    answers: Sequence[ServedAnswer],
    scrub: Callable[[str], str],
    key_id: str | None = None,
) -> Given:
    """Keeps a record about served answers, scrubbed; said again it becomes the last word again.

    Args:
        key_id: the API key that it was said with.
    """
    kept = private(record, scrub)
    row = {**_row(project, kept), "said_at": now(), "answer_ids": [answer.id for answer in answers], "key_id": key_id}
    with db.session() as session:
        new = session.scalar(insert(FeedbackRow).values(row).on_conflict_do_nothing().returning(FeedbackRow.id))
        if not new:
            again = sa.update(FeedbackRow).where(FeedbackRow.project == project, FeedbackRow.id == kept.id)
            session.execute(again.values(said_at=row["said_at"]))
    return Given(kept.id, bool(new))


def private(record: Said, scrub: Callable[[str], str]) -> Said:
    """The record as it may be stored: texts scrubbed, the rater's name replaced by a hash of it, which keeps people apart and
    leads from a name to all that its bearer said. Raises LabelError when answers of a ranking become the same by that.
    """
    said = record.model_dump(exclude={"id"})
    texts: dict[str, Any] = {
        name: scrub(said[name]) for name in ("question", "answer", "edited_answer", "comment") if said.get(name) is not None
    }
    if isinstance(record, Ranking):
        texts["answers"] = tuple(scrub(answer) for answer in record.answers)
    rater = None if record.rater is None else hashed(record.rater)
    try:
        return type(record).of(**{**said, **texts, "rater": rater})
    except ValidationError as error:
        raise LabelError(f"without personal data {told(error)}") from None


def hashed(rater: str) -> str:
    """What is kept of a rater's name."""
    return content_id("rater", rater)


def save(db: Database, project: str, records: Iterable[Said], answered: Mapping[str, Sequence[str]] = NO_ANSWERS) -> int:
    """Stores records in the order in which they were said; those that are known stay as they are. Returns how many are new.

    Args:
        answered: record id → ids of the served answers that it is about, where they are known.
    """
    unique = {record.id: record for record in records}
    begin = now()
    rows = [
        {**_row(project, record), "said_at": begin + place * ONE_AFTER_ANOTHER, "answer_ids": list(answered.get(id_, ()))}
        for place, (id_, record) in enumerate(unique.items())
    ]
    if not rows:
        return 0
    rows.sort(key=lambda row: str(row["id"]))  # two savers that lock the same rows in the same order do not wait for each other
    with db.session() as session:
        return len(session.scalars(insert(FeedbackRow).on_conflict_do_nothing().returning(FeedbackRow.id), rows).all())


def _row(project: str, record: Said) -> dict[str, Any]:
    return {"project": project, "id": record.id, "rater": record.rater, "record": record.model_dump(mode="json")}


def load(db: Database, project: str) -> list[Said]:
    """All that was said to a project, in the order in which it was said."""
    query = sa.select(FeedbackRow.record).where(FeedbackRow.project == project)
    with db.session() as session:
        return [RECORD.validate_python(record) for record in session.scalars(query.order_by(FeedbackRow.said_at, FeedbackRow.id))]
