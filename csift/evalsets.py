"""Freezes eval sets. A set is its items' content; the items of the set before it are guarded.

Not covered yet: refreshing a set whose budget of decisions is spent, and the general question set.
"""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from csift.db.connection import Database
from csift.db.judging import EvalSetRow
from csift.exceptions import LabelError
from csift.hashing import content_id
from csift.schemas import EvalItem, EvalSet, LabelSet


def freeze(db: Database, project: str, labels: LabelSet, min_items: int) -> EvalSet:
    """The project's eval set against this snapshot; the same items give the set that was frozen before.

    Raises:
        LabelError: there are fewer eval questions than the gate can use.
    """
    chosen = labels.of_split("eval")
    if len(chosen) < min_items:
        raise LabelError(
            f"{len(chosen)} eval questions are in use and the gate needs {min_items}; label more questions of eval documents, "
            "or lower gate.min_items"
        )
    identity = [label.model_dump(exclude={"split"}) for label in chosen]
    id_ = content_id("evalset", [project, identity])
    with db.session() as session:
        # One freezer at a time, so that `previous` is the set before this one.
        session.execute(sa.text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 1))"), {"name": project})
        if row := session.get(EvalSetRow, id_):
            return EvalSet.model_validate(row.record)
        record = session.scalar(
            sa.select(EvalSetRow.record).where(EvalSetRow.project == project).order_by(EvalSetRow.created_at.desc()).limit(1)
        )
        previous = EvalSet.model_validate(record) if record else None
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
        retired = tuple(entry for entry in labels.retired if entry.split == "eval")
        evalset = EvalSet(id=id_, project=project, items=items, retired=retired, previous_id=previous.id if previous else None)
        session.execute(insert(EvalSetRow).values(id=id_, project=project, record=evalset.model_dump(mode="json")))
    return evalset
