"""Answers that were served, for tests of what people say of them."""

from datetime import UTC, datetime
from itertools import count
from typing import Any

import sqlalchemy as sa

from csift.db import Database
from csift.db.serving import ServedAnswerRow
from csift.schemas import Hit, ServedAnswer

ORRIN = "What weighs the Orrin in kg?"
HIT = Hit(chunk_id="chunk-1", document_id="a.md", text="The Orrin weighs 29 kg.", score=0.9)
numbers = count()


def served(db: Database, project: str, answer: str = "28 kg", question: str = ORRIN, **more: Any) -> str:
    """The id of a new answer."""
    given = ServedAnswer.model_validate(
        {
            "id": f"answer-{project}-{next(numbers)}", "project": project, "system_id": "system-1", "adapter_id": None,
            "session": None, "asked_by": None, "at": datetime.now(UTC), "question": question, "answer": answer,
            "sources": (HIT,), "finish": "stop", "tokens_in": 1, "tokens_out": 1, "seconds": 0.1, **more,
        }
    )  # fmt: skip
    row = {name: getattr(given, name) for name in ("id", "project", "system_id", "asked_by", "at")}
    with db.session() as session:
        session.execute(sa.insert(ServedAnswerRow).values(**row, record=given.model_dump(mode="json")))
    return given.id
