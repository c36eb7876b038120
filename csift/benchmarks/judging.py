"""The benchmark's second judge, which needs neither network nor model."""

from collections.abc import Sequence

from csift.hashing import content_id
from csift.schemas import Failure, JudgeItem, Score
from csift.textmatch import is_refusal, token_f1

VERSION = 1


class TokenF1:
    """Token F1 with the gold answer (Rajpurkar et al., SQuAD, EMNLP 2016), correct from 0.5 on; None wants a refusal."""

    def __init__(self, correct_from: float = 0.5) -> None:
        self.correct_from = correct_from
        self.id = content_id("judge", ["token F1", VERSION, correct_from])

    def judge(self, items: Sequence[JudgeItem]) -> list[Score | Failure]:
        """One Score per item."""
        return [self._score(item) for item in items]

    def _score(self, item: JudgeItem) -> Score:
        refused = is_refusal(item.answer)
        value = float(refused) if item.gold is None else 0.0 if refused else token_f1(item.answer, item.gold)
        return Score(value=value, correct=value >= self.correct_from, reason=f"token F1 {value:.2f}")
