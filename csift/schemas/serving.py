"""What serving keeps: answers that were given, and who may ask."""

from datetime import datetime
from typing import Literal

from csift.schemas.base import Interval, Record
from csift.schemas.corpus import Hit

Role = Literal["ask", "review", "operate"]  # each may do what those before it may
TrialKind = Literal["canary", "shadow"]


class Answered(Record):
    """What a System said to a question, and all that it was made of; `sources` best first."""

    project: str
    system_id: str
    adapter_id: str | None
    at: datetime
    answer: str
    sources: tuple[Hit, ...]
    finish: Literal["stop", "length"]
    tokens_in: int
    tokens_out: int
    seconds: float


class ServedAnswer(Answered):
    """An answer that somebody got; `seconds` from request to answer.

    `session` groups the questions of one conversation, `asked_by` is the id of the API key; both None where nobody said.
    """

    id: str
    session: str | None
    asked_by: str | None
    question: str


class ApiKey(Record):
    """A key as it is kept: by the SHA-256 (hex) of its 256 random bits."""

    id: str
    project: str
    name: str
    role: Role
    sha256: str
    created_at: datetime
    revoked_at: datetime | None = None


class Trial(Record):
    """A challenger that is tried on a project's traffic beside the System that was champion when it began.

    As canary it answers `share` of the sessions; as shadow it answers the questions of that share as well, unseen, after the
    champion. `dropped` are questions that a shadow left out for want of time, `failed` those that the challenger did not answer.
    """

    id: str
    project: str
    kind: TrialKind
    system_id: str
    champion_id: str
    share: float
    began_at: datetime
    ended_at: datetime | None = None
    reason: str = ""
    dropped: int = 0
    failed: int = 0


class ShadowAnswer(Answered):
    """What a challenger would have said: an answer that nobody got, to the question of the ServedAnswer `answer_id`. `seconds`
    are without those in which it let people's questions go first."""

    answer_id: str


class ShadowPair(Record):
    """Both answers to one question."""

    served: ServedAnswer
    shadow: ShadowAnswer


class ArmReport(Record):
    """What one System of a trial did: seconds an answer, and of the `rated` answers the share that more people call good than
    bad, None where none is rated. `sessions` are 0 for a shadow, whom nobody asked."""

    system_id: str
    answers: int
    sessions: int
    median_seconds: float | None
    p95_seconds: float | None
    tokens_out: int
    rated: int
    good: Interval | None


class TrialReport(Record):
    """Both sides of a trial. `same` is the share of a shadow's answers that say what the champion's do, word for
    word, None where there are none."""

    trial: Trial
    champion: ArmReport
    challenger: ArmReport
    same: Interval | None
