"""Whether an answer says what its retrieved chunks say, told without a model: by its words and quantities."""

from collections.abc import Sequence
from functools import lru_cache

from csift.hashing import content_id
from csift.judges import NO_CLAIM
from csift.schemas import Failure, JudgeItem, Score
from csift.textmatch import Quantity, content_words, read

VERSION = 1  # raise it whenever a score could change: it is part of the id
GROUNDED_FROM = 0.5
POLARITY = frozenset(["yes", "no", "not"])  # agree or deny, and say nothing that could be looked up


class WordGrounding:
    """Judges faithfulness to the contexts, gold answers aside; needs no network.

    A claim is a quantity, or a content word outside of quantities, that the question does not already hold. The value is the
    share of the claims found in the contexts; `correct` when all quantities are found and at least half of the claims. It
    cannot see claims that are put together wrongly from words of the contexts: see docs/evaluation.md.
    """

    def __init__(self) -> None:
        self.id = content_id("judge", ["word grounding", VERSION])

    def judge(self, items: Sequence[JudgeItem]) -> list[Score | Failure]:
        """One Score per item, in the same order. An answer without a claim of its own ("Yes") is a Failure: words cannot tell."""
        return [_grounding(item) for item in items]


def _grounding(item: JudgeItem) -> Score | Failure:
    asked, answer, shown = read(item.question), read(item.answer), _shown(item.contexts)
    numbers = [quantity for quantity in answer.quantities if not _among(quantity, asked.quantities)]
    known = POLARITY.union(content_words(item.question))
    words = [word for word in content_words(answer.rest) if word not in known]
    if not numbers and not words:
        return Failure(kind=NO_CLAIM, message="the answer has no words or quantities of its own")
    unfounded = [quantity.text.strip() for quantity in numbers if not _among(quantity, shown[0])]
    strange = [word for word in words if word not in shown[1]]
    value = 1 - (len(unfounded) + len(strange)) / (len(numbers) + len(words))
    missing = [*unfounded, *dict.fromkeys(strange)]
    return Score(
        value=round(value, 4),
        correct=not unfounded and value >= GROUNDED_FROM,
        reason=f"not in the contexts: {', '.join(missing)[:200]}" if missing else "all of it is in the contexts",
    )


def _among(quantity: Quantity, others: Sequence[Quantity]) -> bool:
    return any(quantity.agreement(other) or other.agreement(quantity) for other in others)


@lru_cache(maxsize=1024)
def _shown(contexts: tuple[str, ...]) -> tuple[tuple[Quantity, ...], frozenset[str]]:
    """All quantities and all words of the contexts."""
    quantities = tuple(quantity for text in contexts for quantity in read(text).quantities)
    return quantities, frozenset(word for text in contexts for word in content_words(text))
