"""Labels as examples; duplicates dropped, and what would leak a protected question."""

from collections.abc import Collection, Sequence
from typing import TypeVar

from csift.config import DatasetConfig
from csift.dedup import deduplicate
from csift.firewall import Firewall
from csift.hashing import content_id
from csift.interfaces import Embedder
from csift.schemas import Example, Label, PreferencePair, RatedAnswer, Rejection, ScoredAnswer
from csift.textmatch import REFUSAL, normalise, token_f1

Row = TypeVar("Row", Example, PreferencePair, RatedAnswer, ScoredAnswer)
Opinion = TypeVar("Opinion", RatedAnswer, ScoredAnswer)


def from_labels(labels: Sequence[Label]) -> list[Example]:
    """Human labels as examples; an unanswerable question is taught its refusal."""
    return [
        Example(
            id=content_id("example", [label.id, label.question, label.answer, label.document_id]),
            question=label.question,
            answer=REFUSAL if label.answer is None else label.answer,
            document_id=label.document_id,
            style=label.style,
            gold_chunk_ids=(),
            context_chunk_ids=(),
            source="human",
            generator=None,
            prompt_hash=None,
        )
        for label in labels
    ]


def clean(
    examples: Sequence[Example], firewall: Firewall, embedder: Embedder, config: DatasetConfig
) -> tuple[list[Example], list[Rejection]]:
    """Keeps the first of equal or nearly equal examples and none that leaks a protected question; the others with why.

    "Which law governs this contract?" is asked of every contract alike: a duplicate is about the same document.

    Put human examples first: they win over their synthetic copies. Two human questions may resemble each other, they are only
    checked for equality and leaks. A rejection's detail names the question that it repeats, never a protected one.
    """
    safe, leaked = without_leaks(examples, firewall)
    fresh: list[Example] = []
    copies: list[Rejection] = []
    first: dict[tuple[str, str], Example] = {}
    for example in safe:
        if earlier := first.get(identity(example)):
            copies.append(_rejected("duplicate", example, earlier.question))
        else:
            first[identity(example)] = example
            fresh.append(example)
    kept, repeated = _without_near_duplicates(fresh, embedder, config.near_duplicate)
    return kept, [*leaked, *copies, *repeated]


def without_leaks(examples: Sequence[Example], firewall: Firewall) -> tuple[list[Example], list[Rejection]]:
    """The examples that give no protected question away; the others with how they do."""
    return _without_leaks(examples, [example.answer for example in examples], firewall)


def _without_leaks(rows: Sequence[Row], answers: Sequence[str], firewall: Firewall) -> tuple[list[Row], list[Rejection]]:
    leaks = firewall.check([row.question for row in rows], answers)
    told = list(zip(rows, leaks, strict=True))
    kept = [row for row, leak in told if not leak]
    return kept, [_leaked(leak.kind, row.question, row.document_id) for row, leak in told if leak]


def _without_near_duplicates(
    examples: Sequence[Example], embedder: Embedder, threshold: float
) -> tuple[list[Example], list[Rejection]]:
    indices = _no_duplicates(examples, embedder, threshold)
    rejected = []
    for i, example in enumerate(examples):
        if i not in indices:
            earlier = [examples[j].question for j in range(i) if j in indices and examples[j].document_id == example.document_id]
            nearest = max(earlier, key=lambda question: token_f1(question, example.question))
            rejected.append(_rejected("near duplicate", example, nearest))
    return [examples[i] for i in sorted(indices)], rejected


def _no_duplicates(examples: Sequence[Example], embedder: Embedder, threshold: float) -> set[int]:
    """All human ones, and of the others those that no example kept before them resembles."""
    kept: set[int] = set()
    left = list(range(len(examples)))
    while left:
        some = [examples[i] for i in left]
        found = deduplicate(
            [example.question for example in some], embedder, threshold, [example.document_id for example in some]
        )
        unlike = {left[at] for at in found}
        human = {i for i in left if examples[i].source == "human"}
        if human <= unlike:
            return kept | unlike
        # A human one that resembles another stays nevertheless, and what resembles it must go as well.
        kept |= human & unlike
        left = [i for i in left if i in human - unlike or i in unlike - human]
    return kept


def clean_pairs(pairs: Sequence[PreferencePair], firewall: Firewall) -> tuple[list[PreferencePair], list[Rejection]]:
    """The preference pairs whose question and chosen answer leak nothing; the others with why."""
    return _without_leaks(pairs, [pair.chosen for pair in pairs], firewall)


def clean_ratings(ratings: Sequence[Opinion], firewall: Firewall) -> tuple[list[Opinion], list[Rejection]]:
    """The rated or scored answers that leak nothing, be it by calling a protected answer bad; the others with why."""
    return _without_leaks(ratings, [rating.answer for rating in ratings], firewall)


def allowed_only(rows: Sequence[Row], documents: Collection[str]) -> tuple[list[Row], list[Rejection]]:
    """The rows about one of the documents; the others with why, and without the answer, as for a leak."""
    kept = [row for row in rows if row.document_id in documents]
    return kept, [
        Rejection(
            reason="may not be trained on",
            question=row.question,
            answer="",
            document_id=row.document_id,
            detail="its source is only retrieved from, or its document is not of the train split",
        )
        for row in rows
        if row.document_id not in documents
    ]


def _leaked(kind: str, question: str, document_id: str) -> Rejection:
    """Without the answer, which is that of a protected question: rejections are shown to people who write training data."""
    return Rejection(reason=f"leak: {kind}", question=question, answer="", document_id=document_id, detail="")


def _rejected(reason: str, example: Example, repeated: str) -> Rejection:
    return Rejection(
        reason=reason, question=example.question, answer=example.answer, document_id=example.document_id, detail=repeated
    )


def identity(example: Example) -> tuple[str, str]:
    """Equal for two examples that ask the same of the same document."""
    return normalise(example.question), example.document_id
