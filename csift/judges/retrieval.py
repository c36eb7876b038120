"""Retrieval: whether the gold answer can be derived from what was retrieved. The answer that was given is not looked at."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from csift.hashing import content_id
from csift.judges.asking import DATA, MAX_TOKENS, NOT_APPLICABLE, Asker, contexts_text
from csift.judges.parsing import parse_bool
from csift.llm import LanguageModel
from csift.schemas import Failure, JudgeItem, Score


@lru_cache(maxsize=1)
def signature() -> Any:
    """The prompt."""
    import dspy

    class JudgeRetrieval(dspy.Signature):
        question: str = dspy.InputField()
        gold: str = dspy.InputField(desc="the right answer")
        excerpts: str = dspy.InputField(desc="what was retrieved for the question, numbered")
        reason: str = dspy.OutputField(desc="one sentence: which excerpt gives it, or what is missing")
        derivable: bool = dspy.OutputField()

    return JudgeRetrieval.with_instructions(
        "Can somebody who knows nothing but the excerpts derive the right answer to the question from them? All that it "
        "asks for must be there; that they are on the topic is not enough. " + DATA
    )


class RetrievalJudge:
    """1.0 where the gold answer can be derived from the contexts, else 0.0.

    Without contexts it is 0.0 and nobody is asked; where the documents do not say (gold None) there is nothing to retrieve, and
    the Failure's kind is NOT_APPLICABLE.
    """

    def __init__(self, model: LanguageModel, max_tokens: int = MAX_TOKENS) -> None:
        self._asker = Asker(model, signature(), max_tokens)
        self.id = content_id("judge", ["retrieval", *self._asker.identity])

    def judge(self, items: Sequence[JudgeItem]) -> list[Score | Failure]:
        """One a item, same order. Raises what `LanguageModel.map` raises."""
        return self._asker.model.map(self._score, items, stage="judge retrieval")

    def _score(self, item: JudgeItem) -> Score | Failure:
        if item.gold is None:
            return Failure(kind=NOT_APPLICABLE, message="the documents do not say, so nothing can be retrieved")
        if not any(context.strip() for context in item.contexts):
            return Score(value=0.0, correct=False, reason="nothing was retrieved")
        derivable, reason = self._asker.ask(
            lambda reply: parse_bool(reply, "derivable"),
            question=item.question,
            gold=item.gold,
            excerpts=contexts_text(item.contexts),
        )
        return Score(value=float(derivable), correct=derivable, reason=reason)
