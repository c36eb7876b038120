"""A rubric: a mark from 0 to 1 for each of the configured criteria, and their weighted mean."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from csift.config import Criterion
from csift.hashing import content_id
from csift.judges.asking import DATA, MAX_TOKENS, Asker, contexts_text, gold_text
from csift.judges.factual import EMPTY
from csift.judges.parsing import parse_marks
from csift.llm import LanguageModel
from csift.schemas import Failure, JudgeItem, Score, ScorePart


@lru_cache(maxsize=1)
def signature() -> Any:
    """The prompt; weights are not shown."""
    import dspy

    class MarkByRubric(dspy.Signature):
        criteria: str = dspy.InputField(desc="name: what it asks for")
        question: str = dspy.InputField()
        gold: str = dspy.InputField(desc="the right answer, by people who know the documents")
        excerpts: str = dspy.InputField(desc="what was retrieved for the question, numbered")
        answer: str = dspy.InputField(desc="the answer to mark")
        reason: str = dspy.OutputField(desc="one sentence")
        marks: str = dspy.OutputField(desc='a JSON object with every criterion by its name and its mark: {"name": 0.5, ...}')

    return MarkByRubric.with_instructions(
        "Mark the answer on each criterion by itself, from 0.0 (not met at all) to 1.0 (fully met). " + DATA
    )


class RubricJudge:
    """The weighted mean of the marks, correct from `correct_from` on; `parts` are the criteria with their marks."""

    def __init__(
        self, model: LanguageModel, rubric: Sequence[Criterion], correct_from: float = 0.6, max_tokens: int = MAX_TOKENS
    ) -> None:
        self._asker = Asker(model, signature(), max_tokens)
        self._rubric = tuple(rubric)
        self._names = [criterion.name for criterion in rubric]
        self._correct_from = correct_from
        shown = [criterion.model_dump() for criterion in rubric]
        self.id = content_id("judge", ["rubric", shown, correct_from, *self._asker.identity])

    def judge(self, items: Sequence[JudgeItem]) -> list[Score | Failure]:
        """One a item, same order. Raises what `LanguageModel.map` raises."""
        return self._asker.model.map(self._score, items, stage="judge")

    def _score(self, item: JudgeItem) -> Score:
        if not item.answer.strip():
            return EMPTY
        marks, reason = self._asker.ask(
            lambda reply: parse_marks(reply, "marks", self._names),
            criteria="\n".join(f"{criterion.name}: {criterion.description}" for criterion in self._rubric),
            question=item.question,
            gold=gold_text(item.gold),
            excerpts=contexts_text(item.contexts) or "none",
            answer=item.answer,
        )
        total = sum(criterion.weight for criterion in self._rubric)
        value = min(1.0, sum(criterion.weight * marks[criterion.name] for criterion in self._rubric) / total)
        return Score(
            value=value,
            correct=value >= self._correct_from,
            reason=reason,
            parts=tuple(ScorePart(name=name, value=marks[name]) for name in self._names),
        )
