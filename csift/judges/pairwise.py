"""Which of two answers is better. Judges favour a position (Zheng et al., Judging LLM-as-a-Judge, NeurIPS 2023), so both orders
are asked, and a verdict that depends on the order is a tie; they favour length, so the lengths are in the verdict."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Literal

from csift.hashing import content_id
from csift.interfaces import Judge
from csift.judges.asking import DATA, MAX_TOKENS, Asker, contexts_text, gold_text
from csift.judges.parsing import parse_choice
from csift.llm import LanguageModel
from csift.schemas import Failure, JudgeItem, PairItem, PairVerdict, Record, Score, Winner

CHOICES: tuple[Winner, ...] = ("a", "b", "tie")
SWAPPED: dict[str, Winner] = {"a": "b", "b": "a", "tie": "tie"}


@lru_cache(maxsize=1)
def signature() -> Any:
    """The prompt."""
    import dspy

    class ComparePair(dspy.Signature):
        question: str = dspy.InputField()
        gold: str = dspy.InputField(desc="the right answer, by people who know the documents")
        excerpts: str = dspy.InputField(desc="what the documents say about it, numbered")
        answer_a: str = dspy.InputField()
        answer_b: str = dspy.InputField()
        reason: str = dspy.OutputField(desc="one sentence")
        better: Literal["a", "b", "tie"] = dspy.OutputField()

    return ComparePair.with_instructions(
        "Which answer serves the user better? Right by the right answer comes first, then complete, then clear. Neither order "
        "nor length counts; answers that are equally right, or equally wrong, are a tie. " + DATA
    )


class PairwiseJudge:
    """Asks a model in both orders. Answers that are the same but for outer spaces are a tie, and nobody is asked."""

    def __init__(self, model: LanguageModel, max_tokens: int = MAX_TOKENS) -> None:
        self._asker = Asker(model, signature(), max_tokens)
        self.id = content_id("judge", ["pairwise", *self._asker.identity])

    def compare(self, pairs: Sequence[PairItem]) -> list[PairVerdict | Failure]:
        """One a pair, same order; a pair of which one order failed is a Failure. Raises what `LanguageModel.map` raises."""
        return self._asker.model.map(self._verdict, pairs, stage="compare")

    def _verdict(self, pair: PairItem) -> PairVerdict:
        if pair.a.strip() == pair.b.strip():
            return _told(pair, "tie", "tie", "the same answer")
        forth, reason = self._ask(pair, pair.a, pair.b)
        back, other = self._ask(pair, pair.b, pair.a)
        told = reason if forth == SWAPPED[back] else f"depends on the order: {reason} / {other}"
        return _told(pair, forth, SWAPPED[back], told)

    def _ask(self, pair: PairItem, first: str, second: str) -> tuple[Winner, str]:
        said, reason = self._asker.ask(
            lambda reply: parse_choice(reply, "better", CHOICES),
            question=pair.question,
            gold=gold_text(pair.gold),
            excerpts=contexts_text(pair.contexts) or "none",
            answer_a=first,
            answer_b=second,
        )
        return next(choice for choice in CHOICES if choice == said), reason


class PairByScore:
    """Compares by the scores of a judge that sees one answer at a time; differences below `margin` are ties. It has no order."""

    def __init__(self, judge: Judge, margin: float = 0.1) -> None:
        self._judge = judge
        self._margin = margin
        self.id = content_id("judge", ["pair by score", margin, judge.id])

    def compare(self, pairs: Sequence[PairItem]) -> list[PairVerdict | Failure]:
        """One a pair, same order; a pair of which one score failed is a Failure. Raises what the judge raises."""
        scores = self._judge.judge([_item(pair, answer) for pair in pairs for answer in (pair.a, pair.b)])
        return [self._verdict(*three) for three in zip(pairs, scores[::2], scores[1::2], strict=True)]

    def _verdict(self, pair: PairItem, a: Score | Failure, b: Score | Failure) -> PairVerdict | Failure:
        if isinstance(a, Failure) or isinstance(b, Failure):
            return a if isinstance(a, Failure) else next(one for one in [b] if isinstance(one, Failure))
        winner: Winner = "tie" if abs(a.value - b.value) < self._margin else "a" if a.value > b.value else "b"
        return _told(pair, winner, winner, f"{a.value:.2f} and {b.value:.2f}")


def _item(pair: PairItem, answer: str) -> JudgeItem:
    return JudgeItem(question=pair.question, gold=pair.gold, answer=answer, contexts=pair.contexts)


def _told(pair: PairItem, forth: Winner, back: Winner, reason: str) -> PairVerdict:
    return PairVerdict(
        winner=forth if forth == back else "tie",
        forth=forth,
        back=back,
        words_a=len(pair.a.split()),
        words_b=len(pair.b.split()),
        reason=reason,
    )


class PairTally(Record):
    """Many comparisons: how often each side won, ties apart; `inconsistent` of the ties depended on the order. Of `unequal`
    decided comparisons with answers of different length the longer one won `longer`; half of them would be no liking."""

    a: int
    b: int
    ties: int
    inconsistent: int
    failures: int
    unequal: int
    longer: int


def tally(verdicts: Sequence[PairVerdict | Failure]) -> PairTally:
    """Counts verdicts."""
    told = [verdict for verdict in verdicts if isinstance(verdict, PairVerdict)]
    unequal = [verdict for verdict in told if verdict.winner != "tie" and verdict.words_a != verdict.words_b]
    return PairTally(
        a=sum(verdict.winner == "a" for verdict in told),
        b=sum(verdict.winner == "b" for verdict in told),
        ties=sum(verdict.winner == "tie" for verdict in told),
        inconsistent=sum(not verdict.consistent for verdict in told),
        failures=len(verdicts) - len(told),
        unequal=len(unequal),
        longer=sum((verdict.winner == "a") == (verdict.words_a > verdict.words_b) for verdict in unequal),
    )
