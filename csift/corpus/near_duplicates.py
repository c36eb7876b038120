"""Documents that say almost the same as an earlier one.

Resemblance is the Jaccard similarity of the sets of five words in a row (Broder 1997, "On the resemblance and containment of
documents"). MinHash signatures, cut into bands (Leskovec, Rajaraman and Ullman, "Mining of Massive Datasets", 3.4), find the
pairs worth comparing, and each such pair is then compared exactly.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from csift.schemas import NearDuplicate

WORDS = 5
HASHES = 128
WORD = re.compile(r"\w+")
MISSED = 1e-4  # chance that a pair just at the threshold is not compared
SPREAD = 4.5 * 0.5 / HASHES**0.5  # how far, at most, a similarity estimated from signatures lies from the true one


def near_duplicates(
    texts: Mapping[str, str], threshold: float = 0.8, signatures: Mapping[str, bytes] | None = None
) -> tuple[NearDuplicate, ...]:
    """For each document that resembles one before it in order of ids, the one it resembles most.

    Args:
        texts: document id → text.
        threshold: smallest similarity, from 0 (exclusive) to 1.
        signatures: document id → `signature` of its text, for all of `texts`. With it only the texts of pairs that may be alike
            are looked up, so that `texts` may load them on demand.
    """
    ids = sorted(texts)
    if not ids:
        return ()
    marks = {id_: signatures[id_] if signatures is not None else signature(texts[id_]) for id_ in ids}
    table = np.stack([np.frombuffer(marks[id_], dtype="<u4") for id_ in ids])

    @lru_cache(maxsize=256)
    def grams(id_: str) -> NDArray[np.uint64]:
        return _shingles(texts[id_])

    best: dict[int, tuple[float, int]] = {}
    for later, earlier in _candidates(table, threshold):
        if (table[later] == table[earlier]).mean() >= threshold - SPREAD:
            similarity = _jaccard(grams(ids[later]), grams(ids[earlier]))
            if similarity >= threshold and similarity > best.get(later, (0.0, 0))[0]:
                best[later] = similarity, earlier
    return tuple(NearDuplicate(document_id=ids[i], of=ids[best[i][1]], similarity=best[i][0]) for i in sorted(best))


def signature(text: str) -> bytes:
    """MinHash of a text's words in their order: 128 little-endian 32-bit numbers, the same on every machine."""
    shingles = _shingles(text)
    lowest = [(shingles * a + b).min() >> np.uint64(32) for a, b in zip(_FACTORS, _OFFSETS, strict=True)]
    return np.array(lowest, dtype="<u4").tobytes()


def _candidates(table: NDArray[np.uint32], threshold: float) -> Iterator[tuple[int, int]]:
    """(later, earlier) rows that agree in some band, in order, each pair once; of like rows, the first stands for all."""
    rows = _rows_in_a_band(threshold)
    first: dict[bytes, int] = {}
    buckets: dict[tuple[int, bytes], list[int]] = {}
    for later, mark in enumerate(table):
        twin = first.setdefault(mark.tobytes(), later)
        if twin < later:
            yield later, twin
            continue
        keys = [(start, mark[start : start + rows].tobytes()) for start in range(0, HASHES, rows)]
        for earlier in sorted({earlier for key in keys for earlier in buckets.get(key, ())}):
            yield later, earlier
        for key in keys:
            buckets.setdefault(key, []).append(later)


def _rows_in_a_band(threshold: float) -> int:
    """As many as leave a pair at the threshold a chance of at most `MISSED` of agreeing in no band."""
    fitting = [rows for rows in (1, 2, 4, 8, 16, 32) if (1 - threshold**rows) ** (HASHES // rows) <= MISSED]
    return max(fitting, default=1)


def _jaccard(left: NDArray[np.uint64], right: NDArray[np.uint64]) -> float:
    shared = len(np.intersect1d(left, right, assume_unique=True))
    return shared / (len(left) + len(right) - shared)


def _shingles(text: str) -> NDArray[np.uint64]:
    """Hashes of all runs of five words, case apart, sorted; of the whole where it is shorter."""
    words = WORD.findall(text.casefold()) or [text]
    hashed = np.array([_hash(word) for word in words], dtype=np.uint64)
    width = min(WORDS, len(words))
    combined = np.zeros(len(words) - width + 1, dtype=np.uint64)
    for offset in range(width):
        combined = combined * np.uint64(0x9E3779B97F4A7C15) + hashed[offset : offset + len(combined)]
        combined ^= combined >> np.uint64(29)
    return np.unique(combined)


@lru_cache(maxsize=1 << 16)
def _hash(word: str) -> int:
    return int.from_bytes(hashlib.blake2b(word.encode(errors="surrogatepass"), digest_size=8).digest(), "little")


# Of hashes, not of a random generator, whose stream may change with numpy's version.
_FACTORS = np.array([_hash(f"factor {i}") | 1 for i in range(HASHES)], dtype=np.uint64)
_OFFSETS = np.array([_hash(f"offset {i}") for i in range(HASHES)], dtype=np.uint64)
