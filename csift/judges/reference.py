"""The reference judge: scores answers against gold answers by numbers, words and embeddings, with no network."""

import math
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from csift.hashing import content_id
from csift.interfaces import Embedder
from csift.judges.features import PROSE_FROM, Cosines, Weights, cosines, fit, prose_features, shipped_weights
from csift.schemas import Failure, JudgeItem, LabelledAnswer, Score
from csift.textmatch import (
    Quantity,
    Reading,
    content_words,
    is_refusal,
    normalise,
    polarity,
    read,
    recall,
    token_f1,
    tokens,
)

PARSER_VERSION = 2  # raise it whenever a score could change: it is part of the judge's id

BURIED_FROM = 40  # words from which an answer to a short question hands over its source instead of answering
# Words that say what sort of thing the answer is; "the Moon button" answers "Moon key".
_KIND_WORDS = frozenset(["button", "key", "colour", "line", "mode", "setting"])


NOT_EMBEDDED = Cosines()


class Mark(NamedTuple):
    """A value in [0, 1] and why."""

    value: float
    reason: str


class ReferenceJudge:
    """Scores an answer against its gold answer; needs no network.

    Short golds are matched on their quantities (numbers with units, dates, part numbers), then on their words; golds of
    `PROSE_FROM` words and more by the fitted mean of similarities in csift.judges.features. Yes and no are matched on the
    answer's polarity; a gold of None on refusal. An answer is correct from a value of `correct_from`, whatever gave the value.
    """

    def __init__(self, embedder: Embedder, correct_from: float = 0.6, weights: Weights | None = None) -> None:
        """`weights` are the shipped ones by default."""
        self.embedder = embedder
        self.correct_from = correct_from
        self.weights = weights or shipped_weights()
        self.id = content_id("judge", ["reference", PARSER_VERSION, correct_from, embedder.id, self.weights.values])

    def judge(self, items: Sequence[JudgeItem]) -> list[Score | Failure]:
        """One Score per item, in the same order; all texts are embedded in one batch.

        An embedding that is not a number makes its item a Failure. Whatever the embedder raises passes through.
        """
        return [self._score(item, found) for item, found in zip(items, cosines(items, self.embedder), strict=True)]

    def _score(self, item: JudgeItem, similar: Cosines) -> Score | Failure:
        if not all(map(math.isfinite, similar)):
            return Failure(kind="embedding", message=f"{self.embedder.id} gave no finite similarity for {item.answer[:80]!r}")
        mark = mark_answer(item, similar, self.weights)
        value = round(mark.value, 4)
        return Score(value=value, correct=value >= self.correct_from, reason=mark.reason)


class _Remembering:
    """An Embedder that embeds each text once."""

    def __init__(self, embedder: Embedder) -> None:
        self.id, self.dim = embedder.id, embedder.dim
        self._embedder = embedder
        self._known: dict[str, NDArray[np.float32]] = {}

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        new = sorted({text for text in texts if text not in self._known})
        self._known.update(zip(new, self._embedder.embed(new), strict=True))
        return np.array([self._known[text] for text in texts], dtype=np.float32)


def judge_out_of_fold(labels: Sequence[LabelledAnswer], embedder: Embedder, correct_from: float = 0.6) -> list[Score | Failure]:
    """What the reference judge says of labelled answers, in the same order, each group with weights fitted on all others: how it
    does on questions that it was not fitted on. Raises ConfigError as `fit`."""
    once = _Remembering(embedder)
    once.embed([text for label in labels for text in (label.item.question, label.item.answer, label.item.gold or "")])
    said: dict[int, Score | Failure] = {}
    for group in sorted({label.group for label in labels}):
        inside = [place for place, label in enumerate(labels) if label.group == group]
        taught = [(label.item, label.score) for label in labels if label.group != group and label.score is not None]
        weights = fit([item for item, _ in taught], [score for _, score in taught], once)
        judge = ReferenceJudge(once, correct_from, weights)
        said |= zip(inside, judge.judge([labels[place].item for place in inside]), strict=True)
    return [said[place] for place in range(len(labels))]


def mark_answer(item: JudgeItem, similar: Cosines = NOT_EMBEDDED, weights: Weights | None = None) -> Mark:
    """Marks one answer; `weights` are the shipped ones by default."""
    if not item.answer.strip():
        return Mark(0.0, "empty answer")
    refused = is_refusal(item.answer)
    if item.gold is None:
        return Mark(1.0, "refused, rightly") if refused else Mark(0.0, "answered, but the documents do not say")
    polar = normalise(item.gold) in ("yes", "no")
    if refused and not (polar and re.match(r"(?:yes|no)\s*[,.;:]", item.answer.strip(), re.IGNORECASE)):
        return Mark(0.0, "refused, but the documents say")
    if polar:
        return _mark_polarity(item.gold, item)
    if not tokens(item.gold):  # a bare symbol such as "+"
        return Mark(1.0, "same symbol") if item.gold.strip() in item.answer.split() else Mark(0.0, "another symbol")
    if len(tokens(item.gold)) >= PROSE_FROM:
        return _mark_prose(item.gold, item.answer, similar, weights or shipped_weights())
    if len(tokens(item.answer)) > max(BURIED_FROM, 4 * len(tokens(item.gold))):
        return Mark(0.3, f"buried in {len(tokens(item.answer))} words")
    if read(item.gold).quantities:
        return _mark_quantities(item.gold, item)
    return _mark_words(item.gold, item, min(max(similar.answer_gold, 0.0), 1.0))


def _mark_polarity(gold: str, item: JudgeItem) -> Mark:
    said = polarity(item.answer, item.question)
    if said is None:
        return Mark(0.0, f"neither yes nor no, expected {gold}")
    name = "yes" if said else "no"
    return Mark(1.0, f"says {name}") if name == normalise(gold) else Mark(0.0, f"says {name}, expected {gold}")


def _mark_prose(gold: str, answer: str, similar: Cosines, weights: Weights) -> Mark:
    wording = float(weights.value(prose_features(answer, gold, similar)))
    return Mark(wording, f"same wording {wording:.2f}")


# --- quantities -----------------------------------------------------------------------------------------------------


def _mark_quantities(gold: str, item: JudgeItem) -> Mark:
    wanted = read(gold).quantities
    answer = read(_spelt_as(wanted, item.answer))
    given = tuple(quantity for quantity in answer.quantities if not quantity.denied)
    places = _match(wanted, given, in_order=re.search(r"\bto\b", read(gold).rest) is not None)
    rivals = _rivals([*wanted, *places.values()], given, read(item.question).quantities)
    if missing := [quantity for quantity in wanted if quantity not in places]:
        return _mark_missing(missing, len(wanted), rivals)
    if _contradicts(rivals, list(places.values()), answer):
        return Mark(0.3, f"also says {', '.join(rival.text.strip() for rival in rivals)}, expected only {gold}")
    parts = _parts(read(gold).rest)
    share, lost = _words_found(parts, item.answer)
    count = sum(len(part.words) for part in parts)
    weight = count / (count + 2 * len(wanted))  # "60 cups" lives by its number, a list with one number by its words
    value = 1 - weight + weight * share
    if lost:
        return Mark(min(value, 0.5) if len(parts) > 1 else value, f"numbers match, but not: {', '.join(lost)}")
    if bare := [quantity for quantity, match in places.items() if quantity.agreement(match) < 1]:
        return Mark(min(value, 0.7), f"number matches, but without its unit: {bare[0].text.strip()}")
    return Mark(min(value, 0.8), "numbers match, beside another") if rivals else Mark(value, "numbers match")


def _spelt_as(wanted: Sequence[Quantity], answer: str) -> str:
    """The answer with the wanted part numbers in their own spelling: KT 4417 and kt4417 are KT-4417."""
    for quantity in wanted:
        if quantity.dimension == "code":
            loose = r"[\s-]?".join(re.findall(r"[A-Za-z]+|\d+", quantity.text))
            answer = re.sub(rf"(?<!\w){loose}(?!\w)", quantity.text, answer, flags=re.IGNORECASE)
    return answer


def _match(wanted: Sequence[Quantity], given: Sequence[Quantity], in_order: bool) -> dict[Quantity, Quantity]:
    """Wanted quantity → the given one that agrees best, each used once; in_order for "from 22:00 to 07:00"."""
    free = list(given)
    matches: dict[Quantity, Quantity] = {}
    for quantity in wanted:
        best = max(free, key=quantity.agreement, default=None)
        if best is None or not quantity.agreement(best):
            continue
        matches[quantity] = best
        free = [other for other in free if other.start > best.start or (not in_order and other != best)]
    return matches


def _rivals(taken: Sequence[Quantity], given: Sequence[Quantity], asked: Sequence[Quantity]) -> list[Quantity]:
    """Given quantities that compete with the ones taken, one a value; those of question and product names do not."""
    kinds = {quantity.kind for quantity in taken}
    known = (*taken, *asked)
    rivals = {
        (quantity.kind, quantity.value): quantity
        for quantity in given
        if quantity.kind in kinds and not quantity.named and not any(other.agreement(quantity) for other in known)
    }
    return list(rivals.values())


def _mark_missing(missing: Sequence[Quantity], wanted: int, rivals: Sequence[Quantity]) -> Mark:
    value = 0.4 * (1 - len(missing) / wanted)
    expected = missing[0].text.strip()
    rival = next((quantity for quantity in rivals if quantity.kind == missing[0].kind), None)
    if rival:
        return Mark(value, f"wrong number: {rival.text.strip()}, expected {expected}")
    return Mark(value, f"{expected} is missing")


def _contradicts(rivals: Sequence[Quantity], matches: Sequence[Quantity], answer: Reading) -> bool:
    """Whether other numbers of the same kind take the answer back.

    Several do, and one in a short answer, before the right one or joined to it. One further on in a whole sentence is a
    detail: "It stops at 11 bar, and its safety valve opens when 12 bar are reached."
    """
    if len(rivals) != 1:
        return len(rivals) > 1
    rival = rivals[0]
    short = len(tokens(answer.text)) <= 8
    return short or any(rival.start < match.start or answer.joined(rival, match) for match in matches)


# --- words ----------------------------------------------------------------------------------------------------------


class _Part(NamedTuple):
    text: str
    words: list[str]


def _mark_words(gold: str, item: JudgeItem, cosine: float) -> Mark:
    parts = _parts(gold) or [_Part(gold, tokens(gold))]
    if normalise(gold) == normalise(item.answer):
        return Mark(1.0, "same words")
    share, lost = _words_found(parts, item.answer)
    if share < 1:
        value = 0.7 * share + 0.25 * cosine
        return Mark(value, f"not in it: {', '.join(lost)}" if lost else f"same wording {value:.2f}")
    if fault := _taken_back({word for part in parts for word in part.words}, tokens(gold), tokens(item.answer)):
        return Mark(0.3, fault)
    if len(parts) > 1 and _parts_beyond(gold, item) > 1:
        return Mark(0.5, "lists more than the documents say")
    return Mark(0.8 + 0.2 * token_f1(item.answer, gold), "says the same")


def _parts(text: str) -> list[_Part]:
    """What "a, b and c" enumerates; any other text is one part. Parts without content words are left out."""
    parts = (_Part(part.strip(), content_words(part)) for part in re.split(r",|\band\b|&", text))
    return [
        part._replace(words=[word for word in part.words if word not in _KIND_WORDS] or part.words)
        for part in parts
        if part.words
    ]


def _words_found(parts: Sequence[_Part], answer: str) -> tuple[float, list[str]]:
    """Mean share of each part's words that the answer has, under 0.5 if any part is mostly lost, and the lost parts."""
    if not parts:
        return 1.0, []
    said = tokens(answer)
    shares = [recall(part.words, said) for part in parts]
    lost = [part.text[:60] for part, share in zip(parts, shares, strict=True) if share < 0.5]
    mean = sum(shares) / len(shares)
    return (min(mean, 0.45) if lost else mean), lost


def _taken_back(wanted: set[str], gold: list[str], said: list[str]) -> str | None:
    """Why an answer that has the gold's words does not give it: "not violet", "violet or red"."""
    places = [place for place, word in enumerate(said) if word in wanted]
    before, after = said[max(0, places[0] - 1) : places[0]], said[places[-1] + 1 : places[-1] + 2]
    if {"not", "never", "no"} & set(before) - set(gold):
        return "denies it"
    return "leaves it open" if "or" in {*before, *after} - set(gold) else None


def _parts_beyond(gold: str, item: JudgeItem) -> int:
    """How many parts of the enumerating clauses of an answer share no word with gold or question."""
    known = {*tokens(gold), *tokens(item.question)}
    clauses = [clause for clause in re.split(r"[.;:](?:\s|$)", item.answer) if set(content_words(gold)) & set(tokens(clause))]
    return sum(not known & set(part.words) for clause in clauses for part in _parts(clause))
