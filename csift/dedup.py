"""Near-duplicate texts, found by the cosine of their embeddings, first come first kept.

Two texts are compared where they name the same things, numbers and roles: "How heavy is the Kestrel
40?" is no duplicate of the question about the Kestrel 60, though their vectors all but coincide. Up to EXHAUSTIVE such texts are
compared each with each; beyond it, by cells around k-means centres (Sivic & Zisserman, Video Google, ICCV 2003; FAISS's IVF),
where the PROBES nearest cells of a text are searched.

SemHash does the same on an HNSW graph. Its build depends on the timing of threads, so that the same input need not give the same
output, and it takes longer; `python bench/dataset.py` prints both.

Not covered: duplicates one of which names a thing or number that the other leaves out.
"""

import re
from collections import defaultdict
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from csift.firewall.marks import NO_NAMES, letter_key, opposed
from csift.interfaces import Embedder

EXHAUSTIVE = 4096
BLOCK = 4096
PROBES = 6
_LLOYD_STEPS = 4
_COUNTS = (
    "two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|fifteen|twenty|thirty|forty|fifty|sixty|ninety|hundred|"
    "first|second|third|fourth|fifth|sixth|half|twice|quarter"
)
_MARK = re.compile(rf"\b\w*\d(?:[\w.,]*\w)?|(?<=[\w,;)] )[\"'(]?[A-Z][\w-]*|[$£€%°]|\b(?:{_COUNTS})\b")

_PLAIN = re.compile(r"[^\W_]+")

Vectors = NDArray[np.float32]


def deduplicate(
    texts: Sequence[str], embedder: Embedder, threshold: float = 0.93, groups: Sequence[Hashable] | None = None
) -> list[int]:
    """Indices of the texts to keep, ascending: no two of them are duplicates, and every other has one among them before it.

    `groups` gives each text a key, its document for instance; texts of different groups are never duplicates.
    """
    first: dict[Hashable, int] = {}
    for i, text in enumerate(texts):
        first.setdefault((groups[i] if groups else None, letter_key(text)), i)
    unique = list(first.values())
    vectors = embedder.embed([texts[i] for i in unique])
    alike: dict[Hashable, list[int]] = defaultdict(list)
    for row, i in enumerate(unique):
        alike[(groups[i] if groups else None, _signature(texts[i]))].append(row)
    dropped = np.zeros(len(unique), dtype=bool)
    for rows in alike.values():
        if len(rows) > 1:
            _drop([texts[unique[row]] for row in rows], vectors[rows], threshold, dropped, np.array(rows))
    return [i for row, i in enumerate(unique) if not dropped[row]]


def _signature(text: str) -> frozenset[str]:
    """What a text names and counts, read in microseconds; first words are left out, for they are capitals anyway."""
    found = {match.casefold().strip("\"'(,").removesuffix("'s") for match in _MARK.findall(text)}
    return frozenset(found - NO_NAMES)


def _apart(one: str, other: str) -> bool:
    """Whether two texts of one signature differ in a role (buyer, seller) or in the name that they begin with."""
    firsts = [text.split(maxsplit=1)[0].removesuffix("'s") for text in (one, other)]
    mine, its = ({word.removesuffix("s") for word in _PLAIN.findall(text.casefold())} for text in (one, other))
    names = [word.casefold().removesuffix("s") for word in firsts if word[:1].isupper() and word.casefold() not in NO_NAMES]
    lone = [word for word in names if word not in mine or word not in its]
    return len(lone) == 2 or opposed(mine - its, its - mine)


def _drop(texts: list[str], vectors: Vectors, threshold: float, dropped: NDArray[np.bool_], rows: NDArray[np.intp]) -> None:
    """Marks each text that has a duplicate among the kept ones before it. `rows` are the texts' places in `dropped`."""
    cells, probes = _cells(vectors) if len(texts) > EXHAUSTIVE else (np.zeros(len(texts), dtype=int), None)
    for start in range(0, len(texts), BLOCK):
        block = np.arange(start, min(start + BLOCK, len(texts)))
        earlier = np.concatenate([np.flatnonzero(~dropped[rows[:start]]), block])
        pairs = _near(vectors, block, earlier, threshold, cells, probes)
        for i, j in pairs:
            if not dropped[rows[i]] and not dropped[rows[j]] and not _apart(texts[i], texts[j]):
                dropped[rows[i]] = True


def _near(
    vectors: Vectors,
    block: NDArray[np.intp],
    earlier: NDArray[np.intp],
    threshold: float,
    cells: NDArray[np.intp],
    probes: NDArray[np.intp] | None,
) -> list[tuple[int, int]]:
    """Pairs (i, j) with i of the block, j < i and a cosine of at least the threshold, ascending."""
    found = []
    if probes is None:
        searches = [(block, earlier)]
    else:
        members = _by_cell(cells[earlier], earlier)
        asking = _by_cell(probes[block].ravel(), np.repeat(block, probes.shape[1]))
        searches = [(rows, members[cell]) for cell, rows in asking.items() if cell in members]
    for queries, candidates in searches:
        near = vectors[queries] @ vectors[candidates].T >= threshold
        near &= candidates[None, :] < queries[:, None]
        i, j = np.nonzero(near)
        found.append(np.stack([queries[i], candidates[j]], axis=1))
    return sorted(map(tuple, np.concatenate(found).tolist())) if found else []


def _by_cell(cells: NDArray[np.intp], rows: NDArray[np.intp]) -> dict[int, NDArray[np.intp]]:
    order = np.argsort(cells, kind="stable")
    names, starts = np.unique(cells[order], return_index=True)
    return dict(zip(names.tolist(), np.split(rows[order], starts[1:]), strict=True))


def _cells(vectors: Vectors) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Each text's own cell, intp [n], and the cells to search for it, intp [n, PROBES]. The same vectors give the same cells."""
    count = int(np.sqrt(len(vectors)))
    sample = vectors[:: max(1, len(vectors) // (count * 32))]
    centres = sample[:: len(sample) // count][:count].copy()
    for _ in range(_LLOYD_STEPS):
        nearest = np.argmax(sample @ centres.T, axis=1)
        for cell, rows in _by_cell(nearest, np.arange(len(sample))).items():
            centre = sample[rows].mean(axis=0)
            centres[cell] = centre / max(float(np.linalg.norm(centre)), 1e-9)
    own, probes = [], []
    for start in range(0, len(vectors), BLOCK):
        similarity = vectors[start : start + BLOCK] @ centres.T
        own.append(np.argmax(similarity, axis=1))
        probes.append(np.argpartition(-similarity, PROBES, axis=1)[:, :PROBES])
    return np.concatenate(own), np.concatenate(probes)
