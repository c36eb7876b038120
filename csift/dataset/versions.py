"""DatasetVersions in Postgres: saved once, found again by id, prefix or `latest`."""

import difflib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from csift.db.base import RecordTable
from csift.db.connection import Database
from csift.db.corpus import ChunkRow, IngestRow, SnapshotRow
from csift.db.feedback import DeletionRow, OriginRow
from csift.db.learning import DatasetRow, ExampleRow, PreferencePairRow, RatedAnswerRow, RejectionRow, ScoredAnswerRow
from csift.exceptions import GateError, LabelError, StorageError
from csift.hashing import content_id
from csift.registry import load
from csift.schemas import (
    CorpusSnapshot,
    DatasetVersion,
    Example,
    IngestReport,
    PreferencePair,
    RatedAnswer,
    Rejection,
    ScoredAnswer,
    SynthesisReport,
)

NEAREST = 3  # ids that are suggested for one that does not exist
NO_ORIGINS: Mapping[str, Collection[str]] = {}


Row = Example | PreferencePair | RatedAnswer | ScoredAnswer


@dataclass(frozen=True)
class StoredVersion:
    """A version and when it was first made."""

    version: DatasetVersion
    made_at: datetime


def save(
    db: Database,
    examples: Sequence[Example],
    *,
    snapshot_id: str,
    evalset_id: str,
    recipe: dict[str, str | int | float | None],
    synthesis: SynthesisReport,
    rejected: Sequence[Rejection],
    preferences: Sequence[PreferencePair] = (),
    ratings: Sequence[RatedAnswer] = (),
    scores: Sequence[ScoredAnswer] = (),
    origins: Mapping[str, Collection[str]] = NO_ORIGINS,
    replayed: int = 0,
    documents: dict[str, int] | None = None,
) -> DatasetVersion:
    """Stores rows, preference pairs, rated and scored answers and the version; the same ones and recipe, in any order, are the
    same version.

    A row that is to be shown twice an epoch stands there twice. What a version says is what it said when it was first stored.

    Args:
        origins: row → ids of the feedback that it was made of.

    Raises:
        LabelError: nothing is left to train on.
    """
    if not examples:
        raise LabelError("no examples are left to train on; label questions of training documents or raise synthesis.candidates")
    ids = tuple(sorted(row.id for row in examples))
    pairs = tuple(sorted({pair.id for pair in preferences}))
    rated = tuple(sorted({rating.id for rating in ratings}))
    scored = tuple(sorted({score.id for score in scores}))
    leaks = Counter(entry.reason for entry in rejected if entry.reason.startswith("leak"))
    version = DatasetVersion(
        id=content_id("dataset", [ids, pairs, rated, *([scored] if scored else []), recipe, evalset_id, snapshot_id]),
        snapshot_id=snapshot_id,
        evalset_id=evalset_id,
        example_ids=ids,
        preference_ids=pairs,
        rating_ids=rated,
        score_ids=scored,
        recipe=recipe,
        sources={source: sum(row.source == source for row in examples) for source in ("human", "synthetic", "feedback")},
        replayed=replayed,
        documents=documents or {},
        decontaminated=dict(sorted(leaks.items())),
        synthesis=synthesis,
    )
    with db.session() as session:
        of_table: list[tuple[type[RecordTable], Sequence[Row]]] = [
            (ExampleRow, examples), (PreferencePairRow, preferences), (RatedAnswerRow, ratings), (ScoredAnswerRow, scores),
        ]  # fmt: skip
        for table, records in of_table:
            if records:
                session.execute(insert(table).on_conflict_do_nothing(), _rows(records))
        made_of = [{"row_id": row, "feedback_id": id_} for row in sorted(origins) for id_ in sorted(origins[row])]
        if made_of:
            session.execute(insert(OriginRow).on_conflict_do_nothing(), made_of)
        row = {"id": version.id, "snapshot_id": snapshot_id, "record": version.model_dump(mode="json")}
        made = session.scalar(insert(DatasetRow).values(row).on_conflict_do_nothing().returning(DatasetRow.id))
        if made and rejected:
            session.execute(insert(RejectionRow), _refused(version.id, rejected))
    return load(db, DatasetVersion, version.id)


def _rows(records: Sequence[Row]) -> list[dict[str, object]]:
    """Each record once, in order of ids: two savers that lock the same rows in the same order do not wait for each other."""
    unique = {record.id: record for record in records}
    return [{"id": id_, "record": unique[id_].model_dump(mode="json")} for id_ in sorted(unique)]


def _refused(dataset_id: str, rejected: Sequence[Rejection]) -> list[dict[str, object]]:
    ordered = sorted(rejected, key=lambda entry: (entry.reason, entry.document_id, entry.question, entry.answer))
    return [
        {"dataset_id": dataset_id, "position": position, "reason": entry.reason, "record": entry.model_dump(mode="json")}
        for position, entry in enumerate(ordered)
    ]


def versions(db: Database, project: str) -> list[StoredVersion]:
    """All versions of a project, the newest first."""
    with db.session() as session:
        found = session.execute(
            sa.select(DatasetRow.record, DatasetRow.created_at)
            .join(SnapshotRow, SnapshotRow.id == DatasetRow.snapshot_id)
            .where(SnapshotRow.project == project)
            .order_by(DatasetRow.created_at.desc(), DatasetRow.id)
        ).tuples()
        return [StoredVersion(DatasetVersion.model_validate(record), made_at) for record, made_at in found]


def find(db: Database, project: str, wanted: str) -> StoredVersion:
    """A version of a project by its id, a prefix that only one id has (with or without `dataset-`), or `latest`.

    Raises:
        GateError: there is none, or several begin so; names the nearest ids.
    """
    stored = versions(db, project)
    if not stored:
        raise GateError(f"project {project} has no dataset yet; run `csift run nightly`")
    if wanted == "latest":
        return stored[0]
    prefix = wanted if wanted.startswith("dataset-") else f"dataset-{wanted}"
    found = [entry for entry in stored if entry.version.id.startswith(prefix)]
    if len(found) == 1:
        return found[0]
    if found:
        listed = ", ".join(entry.version.id for entry in found[:NEAREST])
        raise GateError(f"{len(found)} datasets of {project} begin with {wanted}: {listed}; write more of the id")
    near = difflib.get_close_matches(prefix, [entry.version.id for entry in stored], NEAREST, cutoff=0)
    raise GateError(f"project {project} has no dataset {wanted}; the nearest: {', '.join(near)}")


def snapshot_of(db: Database, id_: str) -> CorpusSnapshot:
    """A stored snapshot. Raises GateError."""
    return load(db, CorpusSnapshot, id_)


def load_examples(db: Database, version: DatasetVersion) -> list[Example]:
    """The rows of a version as often as an epoch shows them, in its order; without those that went with a person's data."""
    rows = {row.id: row for row in load_examples_of(db, set(version.example_ids))}
    gone = _deleted(db, version) - rows.keys() if len(rows) < len(set(version.example_ids)) else set()
    return [rows[id_] for id_ in version.example_ids if id_ not in gone]


def require_whole(db: Database, version: DatasetVersion) -> None:
    """Makes sure that a version may be trained on. After a deletion others may have said the same again, and it may.

    Raises:
        LabelError: rows of it were deleted with a person's data.
    """
    gone = _deleted(db, version)
    stored: set[str] = set()
    with db.session() as session:
        for table in (ExampleRow, PreferencePairRow, RatedAnswerRow, ScoredAnswerRow):
            stored |= set(session.scalars(sa.select(table.id).where(table.id.in_(gone))))
    if missing := len(gone - stored):
        raise LabelError(
            f"{version.id} lost {missing} rows when a person's data was deleted and is not trained on any more; run again, and a "
            "dataset without them is made"
        )


def _deleted(db: Database, version: DatasetVersion) -> set[str]:
    """Rows that were once taken from a version, because they were of a person who asked for deletion."""
    with db.session() as session:
        took = sa.select(DeletionRow.record["rows"]).where(DeletionRow.record["datasets"].has_key(version.id))
        rows = {id_ for ids in session.scalars(took) for id_ in ids}
    return rows & {*version.example_ids, *version.preference_ids, *version.rating_ids, *version.score_ids}


def load_examples_of(db: Database, ids: Collection[str]) -> list[Example]:
    """Examples by their ids, in order of these."""
    with db.session() as session:
        found = session.scalars(sa.select(ExampleRow.record).where(ExampleRow.id.in_(ids)).order_by(ExampleRow.id))
        return [Example.model_validate(record) for record in found]


def load_preferences(db: Database, version: DatasetVersion) -> list[PreferencePair]:
    """The preference pairs of a version, in order of their ids."""
    with db.session() as session:
        query = sa.select(PreferencePairRow.record).where(PreferencePairRow.id.in_(version.preference_ids))
        return [PreferencePair.model_validate(record) for record in session.scalars(query.order_by(PreferencePairRow.id))]


def load_ratings(db: Database, version: DatasetVersion) -> list[RatedAnswer]:
    """The rated answers of a version, in order of their ids."""
    with db.session() as session:
        query = sa.select(RatedAnswerRow.record).where(RatedAnswerRow.id.in_(version.rating_ids)).order_by(RatedAnswerRow.id)
        return [RatedAnswer.model_validate(record) for record in session.scalars(query)]


def load_scores(db: Database, version: DatasetVersion) -> list[ScoredAnswer]:
    """The scored answers of a version, in order of their ids."""
    with db.session() as session:
        query = sa.select(ScoredAnswerRow.record).where(ScoredAnswerRow.id.in_(version.score_ids)).order_by(ScoredAnswerRow.id)
        return [ScoredAnswer.model_validate(record) for record in session.scalars(query)]


def load_origins(db: Database, ids: Collection[str]) -> dict[str, tuple[str, ...]]:
    """Row → ids of the feedback that it was made of (for a critic's, of the served answer), of those made of any."""
    query = sa.select(OriginRow.row_id, OriginRow.feedback_id).where(OriginRow.row_id.in_(ids))
    found: dict[str, tuple[str, ...]] = {}
    with db.session() as session:
        for row, id_ in session.execute(query.order_by(OriginRow.row_id, OriginRow.feedback_id)).tuples():
            found[row] = (*found.get(row, ()), id_)
    return found


def load_rejections(db: Database, dataset_id: str, reason: str | None = None, limit: int | None = None) -> list[Rejection]:
    """What was refused for a version, in order of reasons; those of one reason, the first `limit` of them."""
    query = sa.select(RejectionRow.record).where(RejectionRow.dataset_id == dataset_id).order_by(RejectionRow.position)
    if reason is not None:
        query = query.where(RejectionRow.reason == reason)
    with db.session() as session:
        return [Rejection.model_validate(record) for record in session.scalars(query.limit(limit))]


def count_rejections(db: Database, dataset_id: str) -> dict[str, int]:
    """How many were refused for each reason."""
    query = sa.select(RejectionRow.reason, sa.func.count()).where(RejectionRow.dataset_id == dataset_id)
    with db.session() as session:
        return dict(session.execute(query.group_by(RejectionRow.reason).order_by(RejectionRow.reason)).tuples().all())


def load_texts(db: Database, ids: Collection[str]) -> dict[str, str]:
    """Chunk id → text, of whatever snapshot: an id stands for one text.

    Raises:
        StorageError: a chunk is not stored.
    """
    with db.session() as session:
        query = sa.select(ChunkRow.chunk_id, ChunkRow.text).where(ChunkRow.chunk_id.in_(ids)).distinct()
        texts = dict(session.execute(query).tuples().all())
    if missing := sorted(set(ids) - texts.keys()):
        raise StorageError(f"the text of {missing[0]} is not stored; ingest the corpus that the dataset was made from again")
    return texts


def load_ingest(db: Database, snapshot_id: str) -> IngestReport | None:
    """The newest report on an ingest that came to this snapshot, or None where it was ingested by an older csift."""
    query = sa.select(IngestRow.record).where(IngestRow.snapshot_id == snapshot_id).order_by(IngestRow.created_at.desc()).limit(1)
    with db.session() as session:
        record = session.scalar(query)
    return IngestReport.model_validate(record) if record else None
