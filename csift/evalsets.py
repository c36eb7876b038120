"""Freezes eval sets. A set is its items' content; the items of the set before it are guarded.

A project's sets follow one another through editions of the corpus and share most questions; together they live one life, and
every decision on them spends of its budget. A refresh ends the life: the next has only questions that no decision was made on.
"""

from collections import Counter
from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from csift.db.connection import Database
from csift.db.judging import EvalSetRow
from csift.exceptions import LabelError
from csift.schemas import EvalItem, EvalSet, Label, LabelSet
from csift.textmatch import normalise


def freeze(db: Database, project: str, labels: LabelSet, min_items: int) -> EvalSet:
    """The project's eval set against this snapshot; the same items give the set that was frozen before.

    Raises:
        LabelError: there are fewer eval questions than the gate can use, or two of them are the same question.
    """
    with db.session() as session:
        past = _locked(session, project)
        life = past[-1].life if past else 1
        opened = {item.id for evalset in past if evalset.life == life for item in evalset.items}
        used = {item.id for evalset in past if evalset.life < life for item in evalset.items}
        chosen = [
            label
            for label in labels.labels
            if label.id not in used and (label.split == "eval" or (label.split == "golden" and label.id in opened))
        ]
        if len(chosen) < min_items:
            raise LabelError(
                f"{len(chosen)} eval questions are in use and the gate needs {min_items}; label more questions of eval "
                "documents, or lower gate.min_items"
            )
        return _frozen(session, project, life, chosen, labels, past)


def refresh(db: Database, project: str, labels: LabelSet, min_items: int) -> EvalSet:
    """A new eval set of questions that stood in none before, those of the golden part among them; its budget is whole.

    Raises:
        LabelError: there is no set to refresh, too few questions are fresh, or two of them are the same.
    """
    with db.session() as session:
        past = _locked(session, project)
        if not past:
            raise LabelError(f"{project} has no eval set yet, so nothing of it is used up; run a cycle")
        used = {item.id for evalset in past for item in evalset.items}
        fresh = [label for label in labels.labels if label.split in ("eval", "golden") and label.id not in used]
        if len(fresh) < min_items:
            raise LabelError(
                f"{len(fresh)} eval and golden questions of {project} were never decided on, and the gate needs {min_items}; "
                "add newly labelled questions to corpus.questions"
            )
        return _frozen(session, project, past[-1].life + 1, fresh, labels, past)


def newest(db: Database, project: str) -> EvalSet:
    """The set of the project's last cycle or refresh. Raises LabelError when there is none."""
    with db.session() as session:
        record = session.scalar(
            sa.select(EvalSetRow.record).where(EvalSetRow.project == project).order_by(EvalSetRow.created_at.desc()).limit(1)
        )
    if record is None:
        raise LabelError(f"{project} has no eval set yet; run a cycle, which freezes one")
    return EvalSet.model_validate(record)


def _locked(session: Session, project: str) -> list[EvalSet]:
    """The project's sets, the oldest first. One freezer at a time, so that the last one is the set before the next."""
    session.execute(sa.text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 1))"), {"name": project})
    records = session.scalars(sa.select(EvalSetRow.record).where(EvalSetRow.project == project).order_by(EvalSetRow.created_at))
    return [EvalSet.model_validate(record) for record in records]


def _frozen(
    session: Session, project: str, life: int, labels: Sequence[Label], told: LabelSet, past: Sequence[EvalSet]
) -> EvalSet:
    chosen = sorted(labels, key=lambda label: label.id)
    _refuse_twins(chosen)
    previous = past[-1] if past else None
    before = {(item.id, item.document_sha256) for item in previous.items} if previous else set()
    items = tuple(
        EvalItem(
            id=label.id,
            question=label.question,
            answer=label.answer,
            document_id=label.document_id,
            document_sha256=label.document_sha256,
            style=label.style,
            guarded=(label.id, label.document_sha256) in before,
        )
        for label in chosen
    )
    id_ = EvalSet.id_of(project, items)
    if known := next((evalset for evalset in past if evalset.id == id_), None):
        return known
    evalset = EvalSet(
        id=id_,
        project=project,
        life=life,
        items=items,
        retired=tuple(entry for entry in told.retired if entry.split == "eval"),
        previous_id=previous.id if previous else None,
    )
    session.execute(insert(EvalSetRow).values(id=id_, project=project, record=evalset.model_dump(mode="json")))
    return evalset


def _refuse_twins(labels: Sequence[Label]) -> None:
    """One question twice would count twice."""
    counts = Counter((normalise(label.question), label.document_id) for label in labels)
    twins = [label.id for label in labels if counts[normalise(label.question), label.document_id] > 1]
    if twins:
        raise LabelError(f"{len(twins)} eval questions are the same as another ({', '.join(twins[:6])}); keep one of each")
