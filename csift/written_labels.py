"""Labelled questions that people write on a page, in place of a line in a labels file. `csift.labels.register` reads both.

Only documents that are held out from training (eval and golden) are labelled so. A question is pinned to the version of its
document that its writer had, as one of a file is to that at its first ingest.
"""

from collections.abc import Sequence
from typing import cast

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from csift.db.base import now
from csift.db.connection import Database
from csift.db.corpus import DocumentRow, LabelRow, SnapshotRow
from csift.db.judging import EvalSetRow
from csift.db.reviews import WrittenLabelRow
from csift.exceptions import LabelError
from csift.hashing import content_id
from csift.schemas import CorpusSnapshot, EvalSet, Split, Style, WrittenLabel
from csift.textmatch import normalise


def label_hash(question: str, answer: str | None, document_id: str, style: Style) -> str:
    """Changes when a person edits a label."""
    return content_id("label", [question, answer, document_id, style])


def held_out(db: Database, project: str) -> dict[str, tuple[Split, str]]:
    """Document id → (split, hash of its text) of the eval and golden documents in the project's newest snapshot, sorted."""
    newest = sa.select(SnapshotRow.record).where(SnapshotRow.project == project).order_by(SnapshotRow.created_at.desc()).limit(1)
    chosen = sa.select(DocumentRow.document_id, DocumentRow.split).where(
        DocumentRow.project == project, DocumentRow.split.in_(["eval", "golden"])
    )
    with db.session() as session:
        record = session.scalar(newest)
        splits = dict(session.execute(chosen).tuples().all())
    hashes = CorpusSnapshot.model_validate(record).hashes() if record else {}
    return {id_: (cast("Split", splits[id_]), hash_) for id_, hash_ in sorted(hashes.items()) if id_ in splits}


def write(db: Database, project: str, question: str, answer: str | None, document_id: str, style: Style, by: str) -> WrittenLabel:
    """Keeps a new label; the same written again stays as it was.

    Raises:
        LabelError: question or answer is empty, style and answer do not fit, the document is not held out, or the question is
            asked of it already.
    """
    question, answer = question.strip(), None if answer is None else answer.strip()
    if not question or answer == "":
        raise LabelError("question and answer need some text; say so where the document does not answer the question")
    if (answer is None) != (style == "unanswerable"):
        raise LabelError("a question without an answer is of the kind “unanswerable”, and no other is")
    documents = held_out(db, project)
    if document_id not in documents:
        raise LabelError(f"{document_id!r} is no document that is held out from training; choose another")
    id_ = content_id("label", [document_id, question])
    if id_ not in (known := {label.id: label for label in written(db, project)}):
        _refuse_twin(db, project, question, document_id, list(known.values()))
    label = WrittenLabel(
        id=id_, project=project, question=question, answer=answer, document_id=document_id,
        document_sha256=documents[document_id][1], style=style, by=by, at=now(),
    )  # fmt: skip
    pin = {
        "project": project,
        "label_id": id_,
        "content_hash": label_hash(question, answer, document_id, style),
        "document_id": document_id,
        "document_sha256": label.document_sha256,
    }
    row = {"project": project, "id": id_, "record": label.model_dump(mode="json"), "at": label.at}
    with db.session() as session:
        session.execute(insert(WrittenLabelRow).values(row).on_conflict_do_nothing())
        session.execute(insert(LabelRow).values(pin).on_conflict_do_nothing())
    return label


def written(db: Database, project: str) -> list[WrittenLabel]:
    """All that were written and not withdrawn, the newest first."""
    rows = sa.select(WrittenLabelRow.record).where(WrittenLabelRow.project == project)
    with db.session() as session:
        records = session.scalars(rows.order_by(WrittenLabelRow.at.desc(), WrittenLabelRow.id))
        return [WrittenLabel.model_validate(record) for record in records]


def withdraw(db: Database, project: str, id_: str) -> None:
    """Takes a label back; eval sets that were frozen with it keep it."""
    with db.session() as session:
        session.execute(sa.delete(WrittenLabelRow).where(WrittenLabelRow.project == project, WrittenLabelRow.id == id_))


def _refuse_twin(db: Database, project: str, question: str, document_id: str, labels: Sequence[WrittenLabel]) -> None:
    """One question twice in an eval set stops the night that freezes it."""
    with db.session() as session:
        records = session.scalars(sa.select(EvalSetRow.record).where(EvalSetRow.project == project))
        asked = [item for record in records for item in EvalSet.model_validate(record).items]
    known = {(one.document_id, normalise(one.question)) for one in labels}
    known |= {(one.document_id, normalise(one.question)) for one in asked}
    if (document_id, normalise(question)) in known:
        raise LabelError(f"that question is asked of {document_id} already; ask another one")
