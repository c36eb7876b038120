"""Two answers to one question, and which of them a judge prefers."""

from typing import Literal

from csift.schemas.base import Record

Winner = Literal["a", "b", "tie"]


class PairItem(Record):
    """What a pairwise judge sees; gold is None when the right answer is that the documents do not say."""

    question: str
    gold: str | None
    a: str
    b: str
    contexts: tuple[str, ...] = ()


class PairVerdict(Record):
    """Which answer is better. `forth` is what was said with `a` shown first and `back` with `b` first, both in terms of a and b;
    where they differ the winner is a tie. Lengths are in words, so that a liking for long answers shows."""

    winner: Winner
    forth: Winner
    back: Winner
    words_a: int
    words_b: int
    reason: str

    @property
    def consistent(self) -> bool:
        """Whether both orders gave the same verdict."""
        return self.forth == self.back
