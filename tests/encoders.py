"""Embedders for tests: one direction a word, nothing is loaded."""

from collections.abc import Sequence

import numpy as np

from csift.hashing import sha256


class WordEmbedder:
    """A bag of hashed words: similar texts are similar, nothing is loaded. Counts the texts it embeds."""

    id = "words"
    dim = 256

    def __init__(self) -> None:
        self.embedded: list[str] = []

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        self.embedded += texts
        vectors = np.zeros((len(texts), self.dim), dtype=np.float32)
        for row, text in zip(vectors, texts, strict=True):
            for word in text.lower().split():
                row[int(sha256(word.strip(".,:;?!"))[:8], 16) % self.dim] += 1
            row /= np.linalg.norm(row) or 1
        return vectors


class WordEncoder(WordEmbedder):
    """A bag of hashed words that tells the words' own vectors as well; the special ones are like nothing."""

    def token_vectors(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Words of each text between two special rows, float32 [words + 2, dim]."""
        return [np.stack([_special(0), *map(_vector, text.lower().split()), _special(1)]) for text in texts]


def _vector(word: str) -> np.ndarray:
    row = np.zeros(WordEmbedder.dim, dtype=np.float32)
    row[2 + int(sha256(word.strip(".,:;?!"))[:8], 16) % (WordEmbedder.dim - 2)] = 1
    return row


def _special(place: int) -> np.ndarray:
    row = np.zeros(WordEmbedder.dim, dtype=np.float32)
    row[place] = 1
    return row
