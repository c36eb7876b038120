"""The filters that need all candidates together: self-containment, near-duplicates, over-represented topics."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from csift.interfaces import Embedder
from csift.retrieval.ranking import rank_within
from csift.schemas import Chunk, Rejection
from csift.synthesis.drafts import CARRIED, Candidate
from csift.textmatch import normalise

FOUND_WITHIN = 3  # a question that leaves its own chunk further down is too vague
SAME_TOPIC = 0.6  # cosine of two questions from which they are on one topic
SMALLEST_TOPIC = 3  # questions that any topic may have


def screen(
    candidates: Sequence[Candidate],
    present: Sequence[tuple[str, str]],
    chunks: Sequence[Chunk],
    embedder: Embedder,
    *,
    near_duplicate: float,
    max_topic_share: float,
) -> tuple[list[Candidate], list[Rejection]]:
    """Candidates that stand on their own and say something new, in order, and the others with why.

    `present` are the (question, document id) that are there already: people's, and those accepted in earlier rounds; none of them
    is looked at again. A duplicate is about the same document. A topic is a question with all later ones that resemble it; beyond
    its share, further ones are refused. People's questions asked of other documents are as they want them: they are looked at for
    duplicates only.
    """
    if not candidates:
        return [], []
    vectors = embedder.embed([candidate.question for candidate in candidates])
    ranks = _ranks(candidates, vectors, chunks, embedder)
    kept = _Kept(present, embedder, max(SMALLEST_TOPIC, int(max_topic_share * (len(present) + len(candidates)))))
    accepted, rejections = [], []
    for candidate, rank, vector in zip(candidates, ranks, vectors, strict=True):
        carried = candidate.step == CARRIED
        if rank > FOUND_WITHIN and not carried:
            rejections.append(candidate.rejected("vague", f"alone it finds its chunk at rank {rank} of its document"))
        elif other := kept.twin(candidate, vector, near_duplicate):
            rejections.append(candidate.rejected("near duplicate", other))
        elif kept.crowded(vector) and not carried:
            rejections.append(candidate.rejected("over-represented topic", kept.nearest(vector)))
        else:
            kept.add(candidate, vector)
            accepted.append(candidate)
    return accepted, rejections


def _ranks(
    candidates: Sequence[Candidate], vectors: NDArray[np.float32], chunks: Sequence[Chunk], embedder: Embedder
) -> list[int]:
    """Rank of each question's best gold chunk in its document; an unanswerable question has none and stands first."""
    asked = {candidate.document_id for candidate in candidates}
    pool = [chunk for chunk in chunks if chunk.document_id in asked]
    rows = {chunk.id: row for row, chunk in enumerate(pool)}
    gold = [(i, rows[id_]) for i, candidate in enumerate(candidates) for id_ in candidate.chunk_ids]
    found = rank_within(
        vectors[[i for i, _ in gold]],
        [row for _, row in gold],
        embedder.embed([chunk.text for chunk in pool]),
        [chunk.document_id for chunk in pool],
    )
    best: dict[int, int] = {}
    for (i, _), rank in zip(gold, found, strict=True):
        best[i] = min(rank, best.get(i, rank))
    return [1 if candidate.style == "unanswerable" else best[i] for i, candidate in enumerate(candidates)]


class _Kept:
    """The questions that are in, with their topics."""

    def __init__(self, present: Sequence[tuple[str, str]], embedder: Embedder, room: int) -> None:
        self._questions = [question for question, _ in present]
        self._vectors = [*embedder.embed(self._questions)] if present else []
        self._about: dict[str, list[int]] = defaultdict(list)
        for number, (_, document) in enumerate(present):
            self._about[document].append(number)
        self._room = room

    def add(self, candidate: Candidate, vector: np.ndarray) -> None:
        self._about[candidate.document_id].append(len(self._questions))
        self._questions.append(candidate.question)
        self._vectors.append(vector)

    def twin(self, candidate: Candidate, vector: np.ndarray, threshold: float) -> str:
        """The question about the same document that says the same, or nothing."""
        for number in self._about[candidate.document_id]:
            question = self._questions[number]
            if normalise(question) == normalise(candidate.question) or self._vectors[number] @ vector >= threshold:
                return question
        return ""

    def nearest(self, vector: np.ndarray) -> str:
        return self._questions[int(np.argmax(np.stack(self._vectors) @ vector))]

    def crowded(self, vector: np.ndarray) -> bool:
        return bool(self._vectors) and int(np.sum(np.stack(self._vectors) @ vector >= SAME_TOPIC)) >= self._room
