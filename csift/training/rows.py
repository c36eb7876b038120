"""What each training method learns from. Rows carry the id of the example they were made of, so that a bad batch can be named."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from csift.exceptions import TrainingError
from csift.interfaces import Messages
from csift.schemas import Method


@dataclass(frozen=True)
class TextRow:
    """A stretch of corpus text (cpt)."""

    text: str
    id: str = ""


@dataclass(frozen=True)
class TrainingRow:
    """A chat up to the answer, and the answer (sft)."""

    prompt: Messages
    completion: str
    id: str = ""


@dataclass(frozen=True)
class PreferenceRow:
    """A chat up to the answer, the better answer and the worse one (dpo, orpo, reward)."""

    prompt: Messages
    chosen: str
    rejected: str
    id: str = ""


@dataclass(frozen=True)
class RatedRow:
    """A chat up to the answer, an answer, and whether it is one to give (kto)."""

    prompt: Messages
    completion: str
    desirable: bool
    id: str = ""


@dataclass(frozen=True)
class ScoredRow:
    """A chat up to the answer, an answer, and how good it is, from 0 to 1 (reward)."""

    prompt: Messages
    completion: str
    score: float
    id: str = ""


@dataclass(frozen=True)
class PromptRow:
    """A chat up to the answer that the model gives itself, and the right answer (ppo, grpo, rloo)."""

    prompt: Messages
    gold: str
    id: str = ""


Row = TextRow | TrainingRow | PreferenceRow | RatedRow | ScoredRow | PromptRow

NEEDS: Mapping[Method, str] = {
    "cpt": "texts",
    "sft": "pairs",
    "dpo": "preferences",
    "orpo": "preferences",
    "reward": "opinions",
    "kto": "ratings",
    "ppo": "prompts",
    "grpo": "prompts",
    "rloo": "prompts",
}


@dataclass(frozen=True)
class TrainingData:
    """All that a sequence of stages may learn from."""

    texts: Sequence[TextRow] = ()
    pairs: Sequence[TrainingRow] = ()
    preferences: Sequence[PreferenceRow] = ()
    ratings: Sequence[RatedRow] = ()
    prompts: Sequence[PromptRow] = field(default=())
    scores: Sequence[ScoredRow] = ()

    @property
    def opinions(self) -> Sequence[PreferenceRow | ScoredRow]:
        """What a reward model learns from: which of two answers is better, and how good one is."""
        return [*self.preferences, *self.scores]

    def rows(self, method: Method) -> Sequence[Row]:
        """What a method learns from. Raises TrainingError when there is none."""
        rows: Sequence[Row] = getattr(self, NEEDS[method])
        if not rows:
            raise TrainingError(f"{method} learns from {NEEDS[method]} and the dataset has none; add some or drop the stage")
        return rows


def unpaired(preferences: Sequence[PreferenceRow]) -> list[RatedRow]:
    """Preference pairs as ratings: the better answer is one to give, the worse one is not."""
    return [
        RatedRow(row.prompt, answer, desirable, row.id)
        for row in preferences
        for answer, desirable in ((row.chosen, True), (row.rejected, False))
    ]
