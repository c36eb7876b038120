"""What people and the critic say of answers, what of it is disputed, and what was deleted."""

from datetime import datetime
from typing import Literal, Self, get_args

from pydantic import Field, model_validator

from csift.hashing import content_id
from csift.schemas.base import Record
from csift.schemas.operations import Text

SettledAs = Literal["good", "bad", "neither"]
SETTLED_AS: tuple[SettledAs, ...] = get_args(SettledAs)


class Ranking(Record):
    """Answers to one question in the order in which one person would give them, best first.

    `rater` tells people apart; None is somebody. The id is a hash of all the rest, as that of a FeedbackRecord.
    """

    id: str
    question: Text
    answers: tuple[Text, ...] = Field(min_length=2, max_length=20)
    rater: Text | None = None
    comment: Text | None = None

    @model_validator(mode="after")
    def _all_different(self) -> Self:
        if len(set(self.answers)) < len(self.answers):
            raise ValueError("a ranking names an answer twice; name each once")
        return self

    @classmethod
    def of(cls, **said: object) -> Self:
        """The record with its content id. Raises pydantic's ValidationError."""
        checked = cls.model_validate({**said, "id": "ranking"})
        return checked.model_copy(update={"id": content_id("ranking", checked.model_dump(exclude={"id"}))})


class Dispute(Record):
    """Raters contradict each other; what they said is not trained on until somebody settles it.

    Without `other`, `good` of them call the answer good and `bad` of them bad. With it, `good` prefer the answer to the other
    one and `bad` the other one to it. `settled` says who is right: the good, the bad, or nobody, so that it is never used.
    """

    id: str
    question: str
    answer: str
    other: str | None
    good: int
    bad: int
    comments: tuple[str, ...]
    settled: SettledAs | None = None


class Critique(Record):
    """What the critic, a language model, says of a served answer that nobody rated: `value` in 0 to 1."""

    answer_id: str
    critic_id: str
    question: str
    answer: str
    value: float
    correct: bool


class Deletion(Record):
    """That a person's data was deleted, without anything of it: how much feedback and how many served answers, the ids of the
    training rows that held their words, and the datasets that had these rows. Adapters trained on those keep what they learnt.
    `cards` are the datasets whose data cards showed something of it.
    """

    id: str
    project: str
    at: datetime
    feedback: int
    answers: int
    rows: tuple[str, ...]
    datasets: tuple[str, ...]
    cards: tuple[str, ...]
