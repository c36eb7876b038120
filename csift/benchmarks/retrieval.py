"""Which chunks, how many of them, and found how: chosen by retrieval accuracy on training questions alone."""

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from csift.benchmarks.records import RetrievalChoice, RetrievalTrial
from csift.exceptions import LabelError
from csift.interfaces import Embedder, Retriever
from csift.intervals import wilson
from csift.schemas import Chunk, Hit, Label
from csift.textmatch import normalise

NO_SPANS = ("yes", "no")


class ExactIndex:
    """Chunks in memory, ranked by the cosine of their embeddings; unlike Chroma's graph, every one of them is compared."""

    def __init__(self, chunks: Sequence[Chunk], embedder: Embedder) -> None:
        self.id = f"exact:{embedder.id}"
        self._chunks = sorted(chunks, key=lambda chunk: chunk.id)
        self._embedder = embedder
        self._asked: dict[str, NDArray[np.float32]] = {}

    @cached_property
    def _vectors(self) -> NDArray[np.float32]:
        return self._embedder.embed([chunk.text for chunk in self._chunks])

    def search(self, questions: Sequence[str], k: int) -> list[list[Hit]]:
        """The k chunks nearest to each question, best first; ties by chunk id."""
        if not questions:
            return []
        return [_best(self._chunks, row, k) for row in self._embedder.embed(questions) @ self._vectors.T]


class LexicalIndex:
    """Chunks in memory, ranked by the cosine of their TF-IDF vectors (scikit-learn, sublinear term frequency): needs no model."""

    id = "tfidf"

    def __init__(self, chunks: Sequence[Chunk]) -> None:
        self._chunks = sorted(chunks, key=lambda chunk: chunk.id)

    @cached_property
    def _fitted(self) -> tuple[Any, Any]:
        from sklearn.feature_extraction.text import TfidfVectorizer

        vectoriser = TfidfVectorizer(sublinear_tf=True, token_pattern=r"(?u)\b\w+\b")
        return vectoriser, vectoriser.fit_transform([chunk.text for chunk in self._chunks])

    def search(self, questions: Sequence[str], k: int) -> list[list[Hit]]:
        """The k chunks nearest to each question, best first; ties by chunk id."""
        if not questions:
            return []
        vectoriser, vectors = self._fitted
        return [_best(self._chunks, row, k) for row in (vectoriser.transform(questions) @ vectors.T).toarray()]


RETRIEVERS = ("dense", "tfidf")


def index_over(kind: str, chunks: Sequence[Chunk], embedder: Embedder) -> Retriever:
    """A retriever of RETRIEVERS over these chunks."""
    return LexicalIndex(chunks) if kind == "tfidf" else ExactIndex(chunks, embedder)


def _best(chunks: Sequence[Chunk], scores: NDArray[Any], k: int) -> list[Hit]:
    order = np.argsort(-scores, kind="stable")[:k]
    return [
        Hit(chunk_id=chunks[i].id, document_id=chunks[i].document_id, text=chunks[i].text, score=float(scores[i])) for i in order
    ]


def try_retrieval(
    labels: Sequence[Label],
    cut: Mapping[int, Sequence[Chunk]],
    ks: Sequence[int],
    kinds: Sequence[str],
    embedder: Embedder,
    characters: int,
) -> RetrievalChoice:
    """Tries each chunk size (`cut`: size → the corpus in chunks of it), number of chunks and retriever on the same questions:
    those whose answer stands in its document to the letter, whatever the size. What shows more than `characters` is too slow.

    Raises:
        LabelError: there is no such training question.
    """
    told = [label for label in labels if label.answer and normalise(label.answer) not in NO_SPANS]
    for chunks in cut.values():
        told = [label for label in told if any(_holds(chunk.document_id, chunk.text, label) for chunk in chunks)]
    if not told:
        raise LabelError("no training question has its answer in a chunk to the letter, so that no retrieval can be chosen by it")
    trials = tuple(
        trial for size, chunks in cut.items() for kind in kinds for trial in _trials(told, size, chunks, ks, kind, embedder)
    )
    return RetrievalChoice(
        questions=len(told), characters=characters, trials=trials, chosen=choose(trials, len(told), characters)
    )


def choose(trials: Sequence[RetrievalTrial], questions: int, characters: float = math.inf) -> RetrievalTrial:
    """Of the settings that show no more than `characters`, the shortest prompt whose accuracy is within one standard error of the
    best (Breiman et al., CART, 1984, section 3.4.3): a longer one that is no better is only slower. Where all show more, the
    shortest."""
    quick = [trial for trial in trials if trial.characters <= characters]
    if not quick:
        return min(trials, key=lambda trial: trial.characters)
    best = max(trial.accuracy.value for trial in quick)
    enough = best - math.sqrt(best * (1 - best) / questions)
    return min((t for t in quick if t.accuracy.value >= enough), key=lambda t: (t.characters, -t.accuracy.value))


def _trials(
    told: Sequence[Label], size: int, chunks: Sequence[Chunk], ks: Sequence[int], kind: str, embedder: Embedder
) -> Iterator[RetrievalTrial]:
    found = index_over(kind, chunks, embedder).search([label.question for label in told], max(ks))
    for k in sorted(ks):
        right = sum(
            any(_holds(hit.document_id, hit.text, label) for hit in hits[:k]) for label, hits in zip(told, found, strict=True)
        )
        shown = sum(len(hit.text) for hits in found for hit in hits[:k]) / len(told)
        yield RetrievalTrial(chunk_size=size, retriever=kind, k=k, accuracy=wilson(right, len(told)), characters=shown)


def _holds(document_id: str, text: str, label: Label) -> bool:
    return document_id == label.document_id and f" {normalise(label.answer or '')} " in f" {normalise(text)} "
