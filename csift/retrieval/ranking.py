"""Does a question, by itself, lead back to the chunk that it was written from?"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from csift.exceptions import CorpusError
from csift.interfaces import Embedder
from csift.schemas import Chunk


def own_ranks(embedder: Embedder, questions: Sequence[str], gold_chunk_ids: Sequence[str], chunks: Sequence[Chunk]) -> list[int]:
    """For each question the rank of its gold chunk, 1 being the best, among the chunks of the same document.

    Chunks of documents that no question is about are not embedded.

    Raises:
        CorpusError: a gold chunk is not among the chunks.
    """
    documents = {chunk.id: chunk.document_id for chunk in chunks}
    if unknown := set(gold_chunk_ids) - documents.keys():
        raise CorpusError(f"chunk {min(unknown)} of a question is not in the corpus; ingest the corpus and synthesise again")
    asked = {documents[id_] for id_ in gold_chunk_ids}
    pool = sorted((chunk for chunk in chunks if chunk.document_id in asked), key=lambda chunk: chunk.id)
    rows = {chunk.id: row for row, chunk in enumerate(pool)}
    return rank_within(
        embedder.embed(questions),
        [rows[id_] for id_ in gold_chunk_ids],
        embedder.embed([chunk.text for chunk in pool]),
        [chunk.document_id for chunk in pool],
    )


def rank_within(
    question_vectors: NDArray[np.float32], gold: Sequence[int], chunk_vectors: NDArray[np.float32], groups: Sequence[str]
) -> list[int]:
    """Rank of row gold[i] of `chunk_vectors` for question i, by cosine, among the rows of the same group; 1 is the best.

    Vectors are of unit length. Of equal similarities the row that comes first is the better.
    """
    names = np.asarray(groups)
    members = {name: np.flatnonzero(names == name) for name in {groups[row] for row in gold}}
    ranks = []
    for question, row in zip(question_vectors, gold, strict=True):
        rivals = members[groups[row]]
        scores = chunk_vectors[rivals] @ question
        own = scores[np.searchsorted(rivals, row)]
        ranks.append(1 + int(np.sum(scores > own)) + int(np.sum((scores == own) & (rivals < row))))
    return ranks
