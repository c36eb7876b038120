"""Keeps eval and golden questions out of training data: copies, reordered words, shared runs of words, paraphrases.

A leak has the question and the answer: "Which law governs this contract?" with another contract's answer teaches nothing about
the one in the eval set, and such questions are asked of every contract alike. Whether two questions ask the same is decided by
`decide`, on questions alone; see csift.firewall.scorer for how, and csift.firewall.marks for what keeps two questions apart.
"""

from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from csift.firewall.marks import letter_key, plain
from csift.firewall.scorer import (
    FEATURES,
    Kind,
    LabelledPair,
    Scorer,
    Verdict,
    bag,
    bundled_scorer,
    check_fits,
    decide,
    fit,
    half,
    load_scorer,
    ngrams,
    save_scorer,
    source_questions,
    verdict,
)
from csift.interfaces import Embedder
from csift.textmatch import is_refusal, normalise

__all__ = [
    "FEATURES",
    "Firewall",
    "Kind",
    "LabelledPair",
    "Leak",
    "Protected",
    "Scorer",
    "Verdict",
    "answers_agree",
    "bundled_scorer",
    "decide",
    "fit",
    "half",
    "load_scorer",
    "save_scorer",
    "source_questions",
]

_BLOCK = 1024  # questions compared at a time: 4 MB a thousand protected ones
_ORDER: dict[Kind | None, int] = {"copy": 3, "reordered": 2, "ngram": 1, "paraphrase": 0}


@dataclass(frozen=True)
class Protected:
    """A question of the eval or golden set, with the answer a model is asked for."""

    question: str
    answer: str


@dataclass(frozen=True)
class Leak:
    """Which protected question an example gives away (its index), how, and how surely (score in [0, 1])."""

    kind: Kind
    index: int
    question: str
    score: float


def answers_agree(one: str, other: str) -> bool:
    """Equal once normalised, one within the other as whole words, or both refusals."""
    first, second = normalise(plain(one)), normalise(plain(other))
    if first == second or (is_refusal(one) and is_refusal(other)):
        return True
    return bool(first and second) and (f" {first} " in f" {second} " or f" {second} " in f" {first} ")


class Firewall:
    """Protected questions and answers, ready to be compared with."""

    def __init__(self, protected: Sequence[Protected], embedder: Embedder, scorer: Scorer | None = None) -> None:
        """Embeds the protected questions, each once.

        Raises:
            ConfigError: the scorer (by default the bundled one, for MiniLM) was fitted on another embedder.
        """
        self._scorer = scorer or bundled_scorer()
        check_fits(self._scorer, embedder)
        self._embedder, self._protected = embedder, protected
        self._holders: dict[str, list[int]] = defaultdict(list)  # a question → where in `protected` it stands
        for i, entry in enumerate(protected):
            self._holders[entry.question].append(i)
        self._questions = list(self._holders)
        self._vectors = embedder.embed([plain(question) for question in self._questions])
        self._index: dict[Hashable, list[int]] = defaultdict(list)
        for i, question in enumerate(self._questions):
            for key in _keys(question):
                self._index[key].append(i)
        self._agree: dict[tuple[str, str], bool] = {}

    def check(self, questions: Sequence[str], answers: Sequence[str]) -> list[Leak | None]:
        """Examples (question, answer) → the surest leak of each, or None. Copies go before reordered, n-gram and paraphrase."""
        unique = list(dict.fromkeys(questions))
        asked = defaultdict(list)
        for i, question in enumerate(questions):
            asked[question].append(i)
        found: list[Leak | None] = [None] * len(questions)
        vectors = self._embedder.embed([plain(question) for question in unique])
        for start in range(0, len(unique), _BLOCK):
            part = unique[start : start + _BLOCK]
            cosines = vectors[start : start + _BLOCK] @ self._vectors.T
            for row, question in enumerate(part):
                self._check_question(question, cosines[row], asked[question], answers, found)
        return found

    def _check_question(
        self, question: str, cosines: NDArray[np.float32], rows: list[int], answers: Sequence[str], found: list[Leak | None]
    ) -> None:
        near = set(np.flatnonzero(cosines >= self._scorer.least_cosine()).tolist())
        for key in _keys(question):
            near.update(self._index.get(key, ()))
        for candidate in sorted(near):
            other = self._questions[candidate]
            agreeing = [(row, i) for row in rows for i in self._holders[other] if self._answers_agree(answers[row], i)]
            if not agreeing:
                continue
            judged = verdict(question, other, float(cosines[candidate]), self._scorer)
            if judged.kind is None:
                continue
            for row, i in agreeing:
                leak, before = Leak(judged.kind, i, other, judged.score), found[row]
                if before is None or (_ORDER[before.kind], before.score) < (_ORDER[leak.kind], leak.score):
                    found[row] = leak

    def _answers_agree(self, answer: str, index: int) -> bool:
        key = answer, self._protected[index].answer
        if key not in self._agree:
            self._agree[key] = answers_agree(*key)
        return self._agree[key]


def _keys(question: str) -> list[Hashable]:
    """What a copy, a reordered question or a shared run of words has in common with its original, whatever the embedder says."""
    return [letter_key(question), normalise(plain(question)), bag(question), *ngrams(question)]
