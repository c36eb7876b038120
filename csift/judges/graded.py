"""A score from 0 to 1 for how much of the gold answer an answer gives."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from csift.hashing import content_id
from csift.judges.asking import DATA, MAX_TOKENS, Asker, gold_text
from csift.judges.factual import EMPTY
from csift.judges.parsing import parse_score
from csift.llm import LanguageModel
from csift.schemas import Failure, JudgeItem, Score


@lru_cache(maxsize=1)
def signature() -> Any:
    """The prompt."""
    import dspy

    class GradeAnswer(dspy.Signature):
        question: str = dspy.InputField()
        gold: str = dspy.InputField(desc="the right answer, by people who know the documents")
        answer: str = dspy.InputField(desc="the answer to grade")
        reason: str = dspy.OutputField(desc="one sentence: what of the right answer is there, missing or contradicted")
        score: float = dspy.OutputField(desc="from 0.0 to 1.0")

    return GradeAnswer.with_instructions(
        "How much of the right answer does the answer give? 1.0: all that the question asks for, in whatever words. 0.7: the "
        "main point, with a detail missing. 0.5: half of it. 0.2: on the topic, but not what is asked for. 0.0: wrong, "
        "contradicted, or a refusal although there is a right answer. Length and style do not count. " + DATA
    )


class GradedJudge:
    """A score from 0 to 1, correct from `correct_from` on."""

    def __init__(self, model: LanguageModel, correct_from: float = 0.6, max_tokens: int = MAX_TOKENS) -> None:
        self._asker = Asker(model, signature(), max_tokens)
        self._correct_from = correct_from
        self.id = content_id("judge", ["graded", correct_from, *self._asker.identity])

    def judge(self, items: Sequence[JudgeItem]) -> list[Score | Failure]:
        """One a item, same order. Raises what `LanguageModel.map` raises."""
        return self._asker.model.map(self._score, items, stage="judge")

    def _score(self, item: JudgeItem) -> Score:
        if not item.answer.strip():
            return EMPTY
        value, reason = self._asker.ask(
            lambda reply: parse_score(reply, "score"), question=item.question, gold=gold_text(item.gold), answer=item.answer
        )
        return Score(value=value, correct=value >= self._correct_from, reason=reason)
