"""What serving keeps: answers that were given, and who may ask."""

from datetime import datetime
from typing import Literal

from csift.schemas.base import Record
from csift.schemas.corpus import Hit

Role = Literal["ask", "review", "operate"]  # each may do what those before it may


class ServedAnswer(Record):
    """An answer that somebody got, and all that it was made of; `sources` best first, `seconds` from request to answer.

    `session` groups the questions of one conversation, `asked_by` is the id of the API key; both None where nobody said.
    """

    id: str
    project: str
    system_id: str
    adapter_id: str | None
    session: str | None
    asked_by: str | None
    at: datetime
    question: str
    answer: str
    sources: tuple[Hit, ...]
    finish: Literal["stop", "length"]
    tokens_in: int
    tokens_out: int
    seconds: float


class ApiKey(Record):
    """A key as it is kept: by the SHA-256 (hex) of its 256 random bits."""

    id: str
    project: str
    name: str
    role: Role
    sha256: str
    created_at: datetime
    revoked_at: datetime | None = None
