"""Questions written by people: read, checked against the corpus, split by document, retired when their document changes or
leaves.

They come from files of questions, from pages (csift.written_labels), and from the corpus itself where it carries some. A label is
pinned to the hash its document had when the label was first seen. When the document changes, the label is retired, until its
question or answer is edited (relabelled). A document's split is sticky: once trained on, a document never becomes an eval one. A
document that may only be retrieved from is never in the training split.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from csift.config import CorpusConfig
from csift.corpus.document import NO_TEXT, Unusable
from csift.corpus.scrub import Scrubber
from csift.corpus.tables import csv_table, json_lines, listed
from csift.db.connection import Database
from csift.db.corpus import DocumentRow, FileRow, LabelRow
from csift.exceptions import CorpusError, LabelError
from csift.hashing import content_id, sha256
from csift.schemas import (
    STYLES,
    CorpusSnapshot,
    IngestReport,
    Label,
    LabelSet,
    RetiredLabel,
    SourceLabel,
    Split,
    Style,
    WrittenLabel,
)
from csift.textmatch import normalise
from csift.written_labels import label_hash, written

SPLITS: tuple[Split, ...] = get_args(Split)


@dataclass(frozen=True)
class RawLabel:
    """A line of a labels file, checked by itself; `where` is file:line. `content_hash` changes when a person edits the row."""

    id: str
    question: str
    answer: str | None
    document_id: str
    style: Style
    split: Split | None
    where: str
    content_hash: str


def read_labels(files: tuple[Path, ...]) -> list[RawLabel]:
    """All rows of the files.

    Raises:
        LabelError: a file is missing, or neither UTF-8 JSON lines nor a CSV with its columns, a row lacks a field, or an id
            occurs twice; names file and line.
    """
    rows: dict[str, RawLabel] = {}
    for path in files:
        for row in _read_file(path):
            if row.id in rows:
                raise LabelError(f"{row.where}: the id {row.id!r} is used by {rows[row.id].where} already; give it its own")
            rows[row.id] = row
    return list(rows.values())


def _read_file(path: Path) -> Iterator[RawLabel]:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise LabelError(f"there is no labels file {path}; create it or correct corpus.questions") from None
    except OSError as error:
        raise LabelError(f"cannot read {path}: {error.strerror}; correct its permissions") from None
    yield from (_csv_rows if path.suffix.lower() == ".csv" else _json_rows)(path, content)


def _json_rows(path: Path, content: bytes) -> Iterator[RawLabel]:
    try:
        lines = json_lines(content)
    except Unusable as problem:
        raise LabelError(f"{path} {problem}") from None
    for number, line in lines:
        yield _parse(line, f"{path}:{number}")


def _csv_rows(path: Path, content: bytes) -> Iterator[RawLabel]:
    """Columns document, question, answer (empty: unanswerable), and perhaps id, style and split."""
    try:
        columns, records = csv_table(content)
        if {"document", "question", "answer"} - {column.lower() for column in columns}:
            raise LabelError(
                f"{path} needs the columns document, question and answer, and has only {listed(columns)}; rename its columns"
            )
        for line, record in records:
            cells = {name: cell.strip() or None for name, cell in record.items()}
            document, question = cells["document"], cells.get("question")
            identity = cells.get("id") or content_id("label", [document, question])
            known = {"id": identity, "question": question, "answer": cells.get("answer"), "document": document}
            yield _check(known | {name: cells.get(name) for name in ("style", "split")}, f"{path}:{line}")
    except Unusable as problem:
        raise LabelError(f"{path} {problem}") from None


def _parse(line: str, where: str) -> RawLabel:
    try:
        row = json.loads(line)
    except ValueError:
        raise LabelError(f"{where} is not JSON; write one object a line") from None
    if not isinstance(row, dict):
        raise LabelError(f"{where} is not a JSON object; write one object a line")
    if missing := [name for name in ("id", "question", "answer", "document") if name not in row]:
        raise LabelError(
            f"{where} lacks {', '.join(missing)}; a label has id, question, answer (null: unanswerable) and document"
        )
    if NO_TEXT.search("".join(str(value) for value in row.values())):
        raise LabelError(f"{where} holds NUL or half a surrogate pair, which are not text; remove these escapes")
    return _check(row, where)


def _check(row: dict[str, Any], where: str) -> RawLabel:
    question, answer = str(row["question"] or "").strip(), row["answer"]
    if not question or (answer is not None and not str(answer).strip()):
        raise LabelError(f"{where} has an empty question or answer; fill it, or write null where the document does not answer")
    style = row.get("style") or ("unanswerable" if answer is None else "factoid")
    split = row.get("split")
    if style not in STYLES or (split is not None and split not in SPLITS):
        raise LabelError(
            f"{where}: style is one of {', '.join(STYLES)} and split one of {', '.join(SPLITS)}, not {style!r}, {split!r}"
        )
    return _raw(
        str(row["id"]), question, None if answer is None else str(answer).strip(), str(row["document"]), style, split, where
    )


def _raw(
    id_: str, question: str, answer: str | None, document_id: str, style: Style, split: Split | None, where: str
) -> RawLabel:
    return RawLabel(id_, question, answer, document_id, style, split, where, label_hash(question, answer, document_id, style))


def _of_corpus(label: SourceLabel) -> RawLabel:
    style = label.style or ("unanswerable" if label.answer is None else "factoid")
    where = f"the corpus, {label.document_id}"
    return _raw(label.id, label.question, label.answer, label.document_id, style, None, where)


def _merge(rows: list[RawLabel], of_corpus: tuple[SourceLabel, ...]) -> list[RawLabel]:
    """The labels of the files and those that came with the corpus."""
    taken = {row.id: row.where for row in rows}
    for label in of_corpus:
        if label.id in taken:
            raise LabelError(
                f"{taken[label.id]}: the id {label.id!r} belongs to a question of the corpus itself; give it another"
            )
    return rows + [_of_corpus(label) for label in of_corpus]


def _with_written(rows: list[RawLabel], written: list[WrittenLabel]) -> list[RawLabel]:
    """And those written on pages; a question that somebody put into a file as well is the file's."""
    asked = {(row.document_id, normalise(row.question)) for row in rows}
    return rows + [
        _raw(label.id, label.question, label.answer, label.document_id, label.style, None, f"the review page, by {label.by}")
        for label in written
        if (label.document_id, normalise(label.question)) not in asked
    ]


def _scrubbed(db: Database, rows: list[RawLabel], scrubber: Scrubber) -> list[RawLabel]:
    """Questions and answers scrubbed as documents are; what was scrubbed once is known again, as the scrubber loads slowly."""
    key = content_id("questions", [scrubber.id, [[row.question, row.answer] for row in rows]])
    with db.session() as session:
        record = session.scalar(sa.select(FileRow.record).where(FileRow.key == key))
        if record is None:
            clean = {text: scrubber.scrub(text)[0] for row in rows for text in (row.question, row.answer) if text is not None}
            texts = [[clean[row.question], None if row.answer is None else clean[row.answer]] for row in rows]
            record = {"texts": texts}
            session.execute(insert(FileRow).values(key=key, record=record).on_conflict_do_nothing())
    return [replace(row, question=q, answer=a) for row, (q, a) in zip(rows, record["texts"], strict=True)]


def register(db: Database, project: str, config: CorpusConfig, report: IngestReport) -> LabelSet:
    """Reads the project's labels, fixes the split of every document, and tells which labels hold against what was ingested.

    Raises:
        LabelError: as `read_labels`; also when a document was never in the corpus, or a split contradicts an earlier one.
        CorpusError: the corpus has one document, which cannot be split.
    """
    snapshot = report.snapshot
    told = _merge(_scrubbed(db, read_labels(config.questions), Scrubber(config.scrub, config.allow)), report.labels)
    rows = _with_written(told, written(db, project))
    hashes = snapshot.hashes()
    if len(hashes) < 2:
        raise CorpusError("the corpus has one document, which cannot be split into training and evaluation; add more")
    with db.session() as session:
        known = _known_labels(session, project)
        for row in rows:
            before = known.get(row.id)
            if row.document_id not in hashes and (before is None or before.document_id != row.document_id):
                raise LabelError(
                    f"{row.where}: label {row.id!r} is about {row.document_id!r}, which is not in the corpus; correct it"
                )
        barred = hashes.keys() - snapshot.trainable()
        splits = _assign_splits(session, project, config, rows, hashes, barred)
        labels, retired = _sort_out(session, project, rows, known, hashes, splits, barred)
    return LabelSet(snapshot_id=snapshot.id, labels=tuple(labels), retired=tuple(retired))


def _known_labels(session: Session, project: str) -> dict[str, LabelRow]:
    rows = session.scalars(sa.select(LabelRow).where(LabelRow.project == project))
    return {row.label_id: row for row in rows}


def document_splits(session: Session, project: str) -> dict[str, Split]:
    """Document id → split, for every document that the project has ever seen."""
    rows = session.execute(sa.select(DocumentRow.document_id, DocumentRow.split).where(DocumentRow.project == project))
    return dict(rows.tuples().all())  # type: ignore[arg-type]


def trainable(db: Database, project: str, snapshot: CorpusSnapshot) -> set[str]:
    """Ids of the documents that training data may be made of: of the train split, from sources that allow it."""
    with db.session() as session:
        splits = document_splits(session, project)
    return {id_ for id_ in snapshot.trainable() if splits[id_] == "train"}


def _assign_splits(
    session: Session, project: str, config: CorpusConfig, rows: list[RawLabel], hashes: dict[str, str], barred: set[str]
) -> dict[str, Split]:
    splits = document_splits(session, project)
    fresh: dict[str, Split] = {}
    for row in sorted(rows, key=lambda row: row.split is None):  # rows that name a split decide for those that do not
        document = row.document_id
        given = splits.get(document) or fresh.get(document)
        if document in barred and row.split == "train":
            raise LabelError(
                f"{row.where}: {document} is for retrieval only and cannot be trained on; correct split or may_train"
            )
        if given is None:
            fresh[document] = row.split or _draw(project, document, config, document in barred)
        elif row.split is not None and row.split != given:
            raise LabelError(
                f"{row.where}: {document} belongs to the {given} split and cannot be {row.split} as well; "
                "all labels of a document share one split, for good"
            )
    # A document without labels is trained on; one that may not be gets its split with its first label.
    fresh |= {document: "train" for document in hashes if document not in splits | fresh and document not in barred}
    if fresh:
        values = [{"project": project, "document_id": document, "split": split} for document, split in fresh.items()]
        session.execute(insert(DocumentRow), values)
    return splits | fresh


def _draw(project: str, document: str, config: CorpusConfig, barred: bool) -> Split:
    """The same document falls into the same split on every machine; one that may not be trained on into eval or golden."""
    share = int(sha256(f"{project}/{document}")[:8], 16) / 2**32
    if barred:
        share *= config.eval_share + config.golden_share
    if share < config.eval_share:
        return "eval"
    return "golden" if share < config.eval_share + config.golden_share else "train"


def _sort_out(
    session: Session,
    project: str,
    rows: list[RawLabel],
    known: dict[str, LabelRow],
    hashes: dict[str, str],
    splits: dict[str, Split],
    barred: set[str],
) -> tuple[list[Label], list[RetiredLabel]]:
    labels: list[Label] = []
    retired: list[RetiredLabel] = []
    pins = []
    for row in sorted(rows, key=lambda row: row.id):
        now = hashes.get(row.document_id)
        before = known.get(row.id)
        split = splits[row.document_id]
        edited = before is None or before.content_hash != row.content_hash
        if now is None or (split == "train" and row.document_id in barred):  # what may not be trained on is gone from training
            retired.append(RetiredLabel(label_id=row.id, document_id=row.document_id, split=split, reason="gone"))
        elif not edited and before is not None and before.document_sha256 != now:
            retired.append(RetiredLabel(label_id=row.id, document_id=row.document_id, split=split, reason="changed"))
        else:
            labels.append(
                Label(
                    id=row.id,
                    question=row.question,
                    answer=row.answer,
                    document_id=row.document_id,
                    style=row.style,
                    split=split,
                    document_sha256=now,
                )
            )
            if edited:
                pins.append(
                    {
                        "project": project,
                        "label_id": row.id,
                        "content_hash": row.content_hash,
                        "document_id": row.document_id,
                        "document_sha256": now,
                    }
                )
    if pins:
        pin = insert(LabelRow).values(pins)
        session.execute(
            pin.on_conflict_do_update(
                index_elements=[LabelRow.project, LabelRow.label_id],
                set_={name: pin.excluded[name] for name in ("content_hash", "document_id", "document_sha256")},
            )
        )
    return labels, retired
