"""Faithfulness: the share of an answer's claims that the retrieved contexts support (RAGAS: Es et al., EACL 2024).

RAGAS asks twice, for the claims and then for their support; here one reply lists both, at half the calls.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from csift.hashing import content_id
from csift.judges.asking import DATA, MAX_TOKENS, NOT_APPLICABLE, Asker, contexts_text
from csift.judges.parsing import parse_claims
from csift.llm import LanguageModel
from csift.schemas import Failure, JudgeItem, Score, ScorePart
from csift.textmatch import is_refusal

NO_CLAIM = "no claim"  # kind of a Failure


@lru_cache(maxsize=1)
def signature() -> Any:
    """The prompt."""
    import dspy

    class JudgeFaithfulness(dspy.Signature):
        question: str = dspy.InputField()
        excerpts: str = dspy.InputField(desc="what was retrieved for the question, numbered")
        answer: str = dspy.InputField(desc="the answer to judge")
        claims: str = dspy.OutputField(
            desc='a JSON list with one object for each claim: {"claim": "...", "supported": true or false}; [] for none'
        )

    return JudgeFaithfulness.with_instructions(
        "Take the answer apart into claims, each a full sentence that is clear without the question and says one thing. A claim "
        "is supported when the excerpts alone state it or it follows from them; that it is true is not enough. " + DATA
    )


class FaithfulnessJudge:
    """The share of claims supported, correct when all are; `parts` are the claims, with 1.0 or 0.0.

    An answer that claims nothing is a Failure of kind NO_CLAIM; of an empty answer and a refusal that is known without asking.
    Without contexts there is nothing to be faithful to: the kind is NOT_APPLICABLE, and nobody is asked.
    """

    def __init__(self, model: LanguageModel, max_tokens: int = 2 * MAX_TOKENS) -> None:
        self._asker = Asker(model, signature(), max_tokens)
        self.id = content_id("judge", ["faithfulness", *self._asker.identity])

    def judge(self, items: Sequence[JudgeItem]) -> list[Score | Failure]:
        """One a item, same order. Raises what `LanguageModel.map` raises."""
        return self._asker.model.map(self._score, items, stage="judge faithfulness")

    def _score(self, item: JudgeItem) -> Score | Failure:
        if not item.answer.strip() or is_refusal(item.answer):
            return Failure(kind=NO_CLAIM, message="a refusal claims nothing")
        if not any(context.strip() for context in item.contexts):
            return Failure(kind=NOT_APPLICABLE, message="nothing was retrieved that the answer could be faithful to")
        claims, _ = self._asker.ask(
            lambda reply: parse_claims(reply, "claims"),
            question=item.question,
            excerpts=contexts_text(item.contexts),
            answer=item.answer,
        )
        if not claims:
            return Failure(kind=NO_CLAIM, message="the judge found no claim in the answer")
        supported = sum(held for _, held in claims)
        return Score(
            value=supported / len(claims),
            correct=supported == len(claims),
            reason=f"{supported} of {len(claims)} claims supported",
            parts=tuple(ScorePart(name=claim, value=float(held)) for claim, held in claims),
        )
