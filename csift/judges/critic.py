"""The critic: how good an answer is when nobody wrote down the right one, by principles instead of labels.

After Bai et al., Constitutional AI, 2022 (arXiv 2212.08073), and Lee et al., RLAIF, ICML 2024: a language model judges by written
principles, and its judgements stand in for people's. It is believed as far as it agrees with them (csift.feedback.critic).
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from csift.hashing import content_id
from csift.judges.asking import DATA, MAX_TOKENS, Asker, chat, contexts_text
from csift.judges.factual import EMPTY
from csift.judges.parsing import parse_score
from csift.llm import LanguageModel
from csift.schemas import Failure, JudgeItem, Score

CRITIC = "critic"  # role of its calls in the ledger
PRINCIPLES = (
    "It answers the question that was asked, and all of it.",
    "Everything it says is in the excerpts; where they do not hold the answer, it says so.",
    "Numbers, names and units are those of the excerpts.",
    "It says no more than the question asks for, and is neither harmful nor rude.",
)


@lru_cache(maxsize=1)
def signature() -> Any:
    """The prompt."""
    import dspy

    class CriticiseAnswer(dspy.Signature):
        question: str = dspy.InputField()
        excerpts: str = dspy.InputField(desc="what was found in the documents")
        answer: str = dspy.InputField(desc="the answer to criticise")
        reason: str = dspy.OutputField(desc="one sentence: which principle the answer keeps or breaks")
        score: float = dspy.OutputField(desc="from 0.0 to 1.0")

    return CriticiseAnswer.with_instructions(
        "Would the person who asked call this a good answer? Judge by these principles. "
        + " ".join(f"{number}. {principle}" for number, principle in enumerate(PRINCIPLES, 1))
        + " 1.0: it keeps them all. 0.5: the main point is right and a lesser one missing. 0.0: it is wrong, made up, or refuses "
        "although the excerpts hold the answer. " + DATA
    )


def prompt_hash(item: JudgeItem) -> str:
    """By what the ledger knows the calls on an item."""
    return content_id("prompt", chat(signature(), _inputs(item)))


def _inputs(item: JudgeItem) -> dict[str, str]:
    return {"question": item.question, "excerpts": contexts_text(item.contexts), "answer": item.answer}


class CriticJudge:
    """A score from 0 to 1 without a gold answer, by the excerpts; correct from `correct_from` on."""

    def __init__(self, model: LanguageModel, correct_from: float = 0.6, max_tokens: int = MAX_TOKENS) -> None:
        self._asker = Asker(model, signature(), max_tokens)
        self._correct_from = correct_from
        self.id = content_id("judge", ["critic", correct_from, *self._asker.identity])

    def judge(self, items: Sequence[JudgeItem]) -> list[Score | Failure]:
        """One a item, same order; gold answers are not shown. Raises what `LanguageModel.map` raises."""
        return self._asker.model.map(self._score, items, stage="criticise")

    def _score(self, item: JudgeItem) -> Score:
        if not item.answer.strip():
            return EMPTY
        value, reason = self._asker.ask(lambda reply: parse_score(reply, "score"), **_inputs(item))
        return Score(value=value, correct=value >= self._correct_from, reason=reason)
