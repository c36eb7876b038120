"""Questions written by people: read, checked against the corpus, split by document, retired when their document changes or
leaves.

A label is pinned to the hash its document had when the label was first seen. When the document changes, the label is
retired, until
its question or answer is edited (relabelled). A document's split is sticky: once trained on, a document never becomes an
eval one.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from csift.config import CorpusConfig
from csift.corpus import NO_TEXT
from csift.db.connection import Database
from csift.db.corpus import DocumentRow, LabelRow
from csift.exceptions import CorpusError, LabelError
from csift.hashing import content_id, sha256
from csift.schemas import CorpusSnapshot, Label, LabelSet, RetiredLabel, Split, Style

SPLITS: tuple[Split, ...] = ("train", "eval", "golden")
STYLES: tuple[Style, ...] = ("factoid", "yes_no", "list", "unanswerable")


@dataclass(frozen=True)
class RawLabel:
    """A line of a labels file, checked by itself; `where` is file:line."""

    id: str
    question: str
    answer: str | None
    document_id: str
    style: Style
    split: Split | None
    where: str

    @property
    def content_hash(self) -> str:
        """Changes when a person edits the row."""
        return content_id("label", [self.question, self.answer, self.document_id, self.style])


def read_labels(files: tuple[Path, ...]) -> list[RawLabel]:
    """All rows of the files.

    Raises:
        LabelError: a file is missing or not UTF-8 JSON lines, a row lacks a field, or an id occurs twice; names file and line.
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
        lines = path.read_text("utf-8-sig").split("\n")  # splitlines would also part at U+2028, which JSON allows in a string
    except FileNotFoundError:
        raise LabelError(f"there is no labels file {path}; create it or correct corpus.questions") from None
    except (OSError, UnicodeDecodeError) as error:
        raise LabelError(f"cannot read {path} as UTF-8: {error}; convert it") from None
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield _parse(line, f"{path}:{number}")


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
    answer = row["answer"]
    if not str(row["question"]).strip() or (answer is not None and not str(answer).strip()):
        raise LabelError(f"{where} has an empty question or answer; fill it, or write null where the document does not answer")
    style = row.get("style") or ("unanswerable" if answer is None else "factoid")
    split = row.get("split")
    if style not in STYLES or (split is not None and split not in SPLITS):
        raise LabelError(
            f"{where}: style is one of {', '.join(STYLES)} and split one of {', '.join(SPLITS)}, not {style!r}, {split!r}"
        )
    return RawLabel(
        id=str(row["id"]),
        question=str(row["question"]).strip(),
        answer=None if answer is None else str(answer).strip(),
        document_id=str(row["document"]),
        style=style,
        split=split,
        where=where,
    )


def register(db: Database, project: str, config: CorpusConfig, snapshot: CorpusSnapshot) -> LabelSet:
    """Reads the project's labels, fixes the split of every document, and tells which labels hold against this snapshot.

    Raises:
        LabelError: as `read_labels`; also when a document was never in the corpus, or a split contradicts an earlier one.
        CorpusError: the corpus has one document, which cannot be split.
    """
    rows = read_labels(config.questions)
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
        splits = _assign_splits(session, project, config, rows, hashes)
        labels, retired = _sort_out(session, project, rows, known, hashes, splits)
    return LabelSet(snapshot_id=snapshot.id, labels=tuple(labels), retired=tuple(retired))


def _known_labels(session: Session, project: str) -> dict[str, LabelRow]:
    rows = session.scalars(sa.select(LabelRow).where(LabelRow.project == project))
    return {row.label_id: row for row in rows}


def document_splits(session: Session, project: str) -> dict[str, Split]:
    """Document id → split, for every document that the project has ever seen."""
    rows = session.execute(sa.select(DocumentRow.document_id, DocumentRow.split).where(DocumentRow.project == project))
    return dict(rows.tuples().all())  # type: ignore[arg-type]


def _assign_splits(
    session: Session, project: str, config: CorpusConfig, rows: list[RawLabel], hashes: dict[str, str]
) -> dict[str, Split]:
    splits = document_splits(session, project)
    fresh: dict[str, Split] = {}
    for row in sorted(rows, key=lambda row: row.split is None):  # rows that name a split decide for those that do not
        document = row.document_id
        given = splits.get(document) or fresh.get(document)
        if given is None:
            fresh[document] = row.split or _draw(project, document, config)
        elif row.split is not None and row.split != given:
            raise LabelError(
                f"{row.where}: {document} belongs to the {given} split and cannot be {row.split} as well; "
                "all labels of a document share one split, for good"
            )
    # A document without labels is trained on.
    fresh |= {document: "train" for document in hashes if document not in splits and document not in fresh}
    if fresh:
        values = [{"project": project, "document_id": document, "split": split} for document, split in fresh.items()]
        session.execute(insert(DocumentRow), values)
    return splits | fresh


def _draw(project: str, document: str, config: CorpusConfig) -> Split:
    """The same document falls into the same split on every machine."""
    share = int(sha256(f"{project}/{document}")[:8], 16) / 2**32
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
) -> tuple[list[Label], list[RetiredLabel]]:
    labels: list[Label] = []
    retired: list[RetiredLabel] = []
    pins = []
    for row in sorted(rows, key=lambda row: row.id):
        now = hashes.get(row.document_id)
        before = known.get(row.id)
        split = splits[row.document_id]
        edited = before is None or before.content_hash != row.content_hash
        if now is None:
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
