"""Nearness in meaning to the gold answer, by a local encoder."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from csift.interfaces import Embedder


class Encoder(Embedder, Protocol):
    """An embedder that tells the vectors of single tokens as well."""

    def token_vectors(self, texts: Sequence[str]) -> list[NDArray[np.float32]]:
        """Texts → float32 [tokens, dim] each, rows of unit length, the first and last being the special ones around the text."""
        ...


def similarity(encoder: Embedder, answers: Sequence[str], golds: Sequence[str]) -> list[float]:
    """Cosine of answer and gold answer in [-1, 1], for each pair; an empty answer is like nothing and has 0."""
    texts = sorted({*answers, *golds})
    vectors = dict(zip(texts, encoder.embed(texts), strict=True))
    return [
        float(np.clip(vectors[answer] @ vectors[gold], -1, 1)) if answer.strip() else 0.0
        for answer, gold in zip(answers, golds, strict=True)
    ]


def bertscore(encoder: Encoder, answers: Sequence[str], golds: Sequence[str]) -> list[float]:
    """F1 of greedily matched tokens for each pair (Zhang et al., BERTScore, ICLR 2020, section 3), in [-1, 1].

    Precision is the mean, over the answer's tokens, of the cosine to the nearest token of the gold answer; recall the other way
    round. Without idf weights and without rescaling. The special tokens may be matched but are not averaged over, as in the
    bert-score package, with which it agrees. All texts are encoded in one go.
    """
    texts = sorted({*answers, *golds})
    vectors = dict(zip(texts, encoder.token_vectors(texts), strict=True))
    return [_greedy_f1(vectors[answer], vectors[gold]) for answer, gold in zip(answers, golds, strict=True)]


def _greedy_f1(answer: NDArray[np.float32], gold: NDArray[np.float32]) -> float:
    cosines = answer @ gold.T
    if min(cosines.shape) < 3:  # nothing between the special tokens
        return 0.0
    precision = float(cosines[1:-1].max(axis=1).mean())
    recall = float(cosines[:, 1:-1].max(axis=0).mean())
    return 2 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0
