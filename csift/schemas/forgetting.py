"""What a model can do outside of its domain, before and after training."""

from csift.schemas.base import Failure, Interval, Record
from csift.schemas.systems import GenerationParams


class GeneralAnswer(Record):
    """One question of the general set as one model answered it. Exactly one of `correct` and `failure` is present."""

    question_id: str
    answer: str
    correct: bool | None
    failure: Failure | None


class GeneralScore(Record):
    """One model on the whole general set, without retrieval. Its id is the hash of what answers, what is asked and who grades."""

    id: str
    general_id: str
    grader: str
    base_model: str
    base_revision: str
    adapter_id: str | None
    generation: GenerationParams
    answers: tuple[GeneralAnswer, ...]


class SkillRetention(Record):
    """Right answers in one skill, of the `questions` that all models answered."""

    skill: str
    questions: int
    untrained: int | None
    before: int
    after: int


class Retention(Record):
    """The general set before and after training: right answers of the untrained base model, of the System before, and of the one
    after, all of the same `questions`, and the paired difference in accuracy from either.

    A question that one of them failed to answer is counted in `failures` and in nothing else. What belongs to the untrained model
    is None where csift has none to ask, as that of a custom model on Bedrock.
    """

    id: str
    general_id: str
    grader: str
    before_system_id: str
    after_system_id: str
    untrained_score_id: str | None
    before_score_id: str
    after_score_id: str
    questions: int
    failures: int
    untrained: int | None
    before: int
    after: int
    confidence: float
    difference: Interval
    since_untrained: Interval | None
    skills: tuple[SkillRetention, ...]
