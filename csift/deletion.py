"""A person's data is deleted: what they said and asked, and every training row that holds words of it.

Of a row its id stays, a hash, in the datasets that had it and in the record of the deletion, which marks them. Decisions are made
of scores and hashes of eval items, none of which is a customer's, so they replay as before.

Not reached: what adapters learnt from the rows, files that somebody exported, rows that were sent to Bedrock, backups.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

from csift.db.base import RecordTable, now
from csift.db.connection import Database
from csift.db.corpus import SnapshotRow
from csift.db.feedback import CritiqueRow, DeletionRow, FeedbackRow, OriginRow
from csift.db.learning import CallRow, DatasetRow, ExampleRow, PreferencePairRow, RatedAnswerRow, RejectionRow, ScoredAnswerRow
from csift.db.operations import DriftReportRow
from csift.db.serving import ApiKeyRow, ServedAnswerRow, ShadowAnswerRow
from csift.exceptions import LabelError
from csift.feedback.critic import item_of
from csift.feedback.keeping import hashed
from csift.hashing import content_id
from csift.interfaces import ObjectStore
from csift.judges.critic import CRITIC, prompt_hash
from csift.leases import cycle_lease, hold
from csift.schemas import DatasetVersion, Deletion, ServedAnswer

ROWS: tuple[tuple[type[RecordTable], str | None], ...] = (  # tables of training rows; the source by which people's are known
    (ExampleRow, "feedback"), (PreferencePairRow, "human"), (RatedAnswerRow, None), (ScoredAnswerRow, None),
)  # fmt: skip
GONE = "(deleted)"


@dataclass(frozen=True)
class _Theirs:
    """What is kept of a person."""

    feedback: frozenset[str]
    answers: tuple[ServedAnswer, ...]
    questions: frozenset[str]


def of_rater(db: Database, store: ObjectStore, project: str, rater: str) -> Deletion | None:
    """Deletes what a rater said, with whatever key, and what they asked with the key that they rated the answer with.

    Returns:
        What was deleted; None where nothing is kept of them.

    Raises:
        CycleRunning: a cycle goes on, which may be writing rows of theirs.
        StorageError: a page that shows their words cannot be removed; nothing was deleted, then.
    """
    with db.session() as session:
        keys = session.scalars(sa.select(ApiKeyRow.id).where(ApiKeyRow.project == project)).all()
    names = {hashed(name) for name in (rater, *(f"{key}/{rater}" for key in keys))}
    asked = sa.select(FeedbackRow.key_id, sa.func.unnest(FeedbackRow.answer_ids).label("answer_id"))
    spoken = asked.where(FeedbackRow.project == project, FeedbackRow.rater.in_(names)).subquery()
    rated = sa.exists().where(
        spoken.c.answer_id == ServedAnswerRow.id, spoken.c.key_id.is_not_distinct_from(ServedAnswerRow.asked_by)
    )
    return _delete(db, store, project, FeedbackRow.rater.in_(names), rated)


def of_key(db: Database, store: ObjectStore, project: str, key: str) -> Deletion | None:
    """Deletes what was asked and said with an API key, revoked or not, by its name or id. Otherwise as `of_rater`.

    Raises:
        LabelError: the project never had such a key.
    """
    named = sa.or_(ApiKeyRow.name == key, ApiKeyRow.id == key)
    with db.session() as session:
        ids = session.scalars(sa.select(ApiKeyRow.id).where(ApiKeyRow.project == project, named)).all()
    if not ids:
        raise LabelError(f"{project} never had a key {key!r}; `csift keys list` shows those that are valid")
    said = sa.or_(FeedbackRow.key_id.in_(ids), FeedbackRow.rater.in_([hashed(id_) for id_ in ids]))
    return _delete(db, store, project, said, ServedAnswerRow.asked_by.in_(ids))


def _delete(
    db: Database, store: ObjectStore, project: str, said: sa.ColumnElement[bool], asked: sa.ColumnElement[bool]
) -> Deletion | None:
    with hold(db, cycle_lease(project)):
        with db.session() as session:
            theirs = _theirs(session, project, said, asked)
            rows = _rows_of(session, project, theirs)
            datasets = _datasets_with(session, rows)
            cards = _cards(session, project, theirs, datasets)
            pages = _drift_pages(session, project, theirs)
        if not theirs.feedback and not theirs.answers:
            return None
        for page in (*(f"data-cards/{id_}.html" for id_ in cards), *(f"drift/{id_}.html" for id_ in pages)):
            store.remove(page)  # before the rows: killed in between, they are found again
        at = now()
        made = Deletion(
            id=content_id("deletion", [project, at.isoformat()]),
            project=project,
            at=at,
            feedback=len(theirs.feedback),
            answers=len(theirs.answers),
            rows=tuple(sorted(rows)),
            datasets=tuple(datasets),
            cards=tuple(cards),
        )
        with db.session() as session:
            _remove(session, project, theirs, rows)
            session.add(DeletionRow(id=made.id, project=project, record=made.model_dump(mode="json"), created_at=made.at))
    return made


def _theirs(session: Session, project: str, said: sa.ColumnElement[bool], asked: sa.ColumnElement[bool]) -> _Theirs:
    """What others said of answers that the person asked for repeats the question, and goes with it."""
    query = sa.select(ServedAnswerRow.record).where(ServedAnswerRow.project == project, asked).order_by(ServedAnswerRow.at)
    answers = tuple(ServedAnswer.model_validate(record) for record in session.scalars(query))
    of_theirs = FeedbackRow.answer_ids.overlap([answer.id for answer in answers])
    mine = sa.select(FeedbackRow.id, FeedbackRow.record["question"].astext)
    found = session.execute(mine.where(FeedbackRow.project == project, sa.or_(said, of_theirs))).tuples().all()
    return _Theirs(
        feedback=frozenset(id_ for id_, _ in found),
        answers=answers,
        questions=frozenset((*(question for _, question in found), *(answer.question for answer in answers))),
    )


def _rows_of(session: Session, project: str, theirs: _Theirs) -> set[str]:
    """Training rows made of the feedback, or of the answers; and, since rows of before 0014 do not say what they were made of,
    those of the project's datasets that people's words on the same questions gave.
    """
    made_of = [*theirs.feedback, *(answer.id for answer in theirs.answers)]
    found = set(session.scalars(sa.select(OriginRow.row_id).where(OriginRow.feedback_id.in_(made_of))))
    of_project = {id_ for version in _versions(session, project) for id_ in _ids(version)}
    for table, source in ROWS:
        known = sa.exists().where(OriginRow.row_id == table.id)
        alike = sa.select(table.id).where(~known, table.record["question"].astext.in_(theirs.questions))
        if source is not None:
            alike = alike.where(table.record["source"].astext == source)
        found |= of_project & set(session.scalars(alike))
    return found


def _versions(session: Session, project: str | None = None) -> list[DatasetVersion]:
    query = sa.select(DatasetRow.record).order_by(DatasetRow.created_at, DatasetRow.id)
    if project is not None:
        query = query.join(SnapshotRow, SnapshotRow.id == DatasetRow.snapshot_id).where(SnapshotRow.project == project)
    return [DatasetVersion.model_validate(record) for record in session.scalars(query)]


def _ids(version: DatasetVersion) -> Collection[str]:
    return {*version.example_ids, *version.preference_ids, *version.rating_ids, *version.score_ids}


def _datasets_with(session: Session, rows: set[str]) -> list[str]:
    """Of whatever project: an id stands for one row."""
    return [version.id for version in _versions(session) if not rows.isdisjoint(_ids(version))]


def _cards(session: Session, project: str, theirs: _Theirs, datasets: Sequence[str]) -> list[str]:
    """Datasets whose data cards may show something: they have rows of it, or it was refused for them."""
    refused = sa.select(RejectionRow.dataset_id).distinct().where(*_refused(session, project, theirs))
    return sorted({*datasets, *session.scalars(refused)})


def _drift_pages(session: Session, project: str, theirs: _Theirs) -> list[str]:
    """Drift reports since they first asked, whose pages show questions."""
    if not theirs.answers:
        return []
    since = DriftReportRow.created_at >= theirs.answers[0].at
    return list(session.scalars(sa.select(DriftReportRow.id).where(DriftReportRow.project == project, since)))


def _remove(session: Session, project: str, theirs: _Theirs, rows: set[str]) -> None:
    answers = [answer.id for answer in theirs.answers]
    for table, _ in ROWS:
        session.execute(sa.delete(table).where(table.id.in_(rows)))
    made_of = OriginRow.feedback_id.in_([*theirs.feedback, *answers])
    session.execute(sa.delete(OriginRow).where(sa.or_(OriginRow.row_id.in_(rows), made_of)))
    session.execute(sa.delete(CritiqueRow).where(CritiqueRow.answer_id.in_(answers)))
    session.execute(sa.delete(FeedbackRow).where(FeedbackRow.project == project, FeedbackRow.id.in_(theirs.feedback)))
    session.execute(sa.delete(ServedAnswerRow).where(ServedAnswerRow.id.in_(answers)))
    session.execute(sa.delete(ShadowAnswerRow).where(ShadowAnswerRow.answer_id.in_(answers)))
    blank = sa.func.jsonb_build_object("question", GONE, "answer", "", "detail", "")
    refused = _refused(session, project, theirs)
    session.execute(sa.update(RejectionRow).where(*refused).values(record=RejectionRow.record.op("||")(blank)))
    critic = CallRow.role == CRITIC, CallRow.prompt_hash.in_([prompt_hash(item_of(answer)) for answer in theirs.answers])
    unsaid = CallRow.response.op("||")(sa.func.jsonb_build_object("text", ""))  # what it cost stays in the books
    session.execute(sa.update(CallRow).where(*critic, CallRow.response.has_key("text")).values(response=unsaid))


def _refused(session: Session, project: str, theirs: _Theirs) -> tuple[sa.ColumnElement[bool], ...]:
    """What of the person's was refused for datasets of the project."""
    ours = [version.id for version in _versions(session, project)]
    return RejectionRow.dataset_id.in_(ours), RejectionRow.record["question"].astext.in_(theirs.questions)
