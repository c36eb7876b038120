"""Factuality: whether an answer says what the gold answer says, true or false."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from csift.hashing import content_id
from csift.judges.asking import DATA, MAX_TOKENS, Asker, gold_text
from csift.judges.parsing import parse_bool
from csift.llm import LanguageModel
from csift.schemas import Failure, JudgeItem, Score

EMPTY = Score(value=0.0, correct=False, reason="empty answer")  # nobody is asked about it


@lru_cache(maxsize=1)
def signature() -> Any:
    """The prompt."""
    import dspy

    class JudgeFactuality(dspy.Signature):
        question: str = dspy.InputField()
        gold: str = dspy.InputField(desc="the right answer, by people who know the documents")
        answer: str = dspy.InputField(desc="the answer to judge")
        reason: str = dspy.OutputField(desc="one sentence: what of the right answer is there, missing or contradicted")
        correct: bool = dspy.OutputField()

    return JudgeFactuality.with_instructions(
        "Is the answer factually right, by the right answer alone? Other wording, other units for the same quantity and harmless "
        "additions are right. It is wrong when a part that the question asks for is missing, differs or is taken back, and when "
        "it refuses although there is a right answer. " + DATA
    )


class FactualityJudge:
    """True or false: 1.0 or 0.0."""

    def __init__(self, model: LanguageModel, max_tokens: int = MAX_TOKENS) -> None:
        self._asker = Asker(model, signature(), max_tokens)
        self.id = content_id("judge", ["factuality", *self._asker.identity])

    def judge(self, items: Sequence[JudgeItem]) -> list[Score | Failure]:
        """One a item, same order. Raises what `LanguageModel.map` raises."""
        return self._asker.model.map(self._score, items, stage="judge")

    def _score(self, item: JudgeItem) -> Score:
        if not item.answer.strip():
            return EMPTY
        correct, reason = self._asker.ask(
            lambda reply: parse_bool(reply, "correct"), question=item.question, gold=gold_text(item.gold), answer=item.answer
        )
        return Score(value=float(correct), correct=correct, reason=reason)
