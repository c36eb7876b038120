"""The chunks beside a question in training: the gold one among the distractors that the retriever returns, sometimes absent.

After Zhang et al., RAFT: Adapting Language Model to Domain Specific RAG, 2024 (arXiv 2403.10131): rows with distractors teach the
model to look for the answer, rows without the gold chunk not to make one up. There such rows keep their answer; here they are
refused, because csift's models are to say when the chunks do not hold the answer.
"""

from collections.abc import Sequence

from csift.config import DatasetConfig
from csift.dataset.mixing import draw
from csift.exceptions import CorpusError
from csift.hashing import content_id
from csift.interfaces import Retriever
from csift.schemas import Chunk, Example
from csift.textmatch import REFUSAL, normalise

NO_SPANS = ("Yes", "No", REFUSAL)  # answers that stand in no particular chunk
SPARE = 4  # the retriever is asked for so many times k, since chunks that may not be trained on are left out


def with_contexts(
    examples: Sequence[Example], retriever: Retriever, chunks: Sequence[Chunk], k: int, config: DatasetConfig
) -> list[Example]:
    """Gives each example the k chunks of `chunks` that the retriever ranks first, as the model will see them when it is asked.

    Gold chunks are those the example was written from; for a person's example, those of its document that hold the answer to the
    letter. They stay where they were retrieved; a missing one takes the place of the last distractor, so that no row teaches an
    answer from thin air. All gold chunks of a row are there or none. For a share `config.refusals` of the rows, and where k is
    too small for them all, they are left out together with their neighbours and whatever else holds the answer, and the row
    teaches the refusal. Where nothing is left to show then, an answer that k is too small for gives no row.

    Args:
        chunks: all chunks that may stand in a training row. What else the retriever returns is left out.

    Raises:
        CorpusError: an example rests on a chunk that is not among `chunks`.
    """
    passages = _Passages(chunks)
    ranked = retriever.search([example.question for example in examples], k * SPARE)
    rows = []
    for example, hits in zip(examples, ranked, strict=True):
        order = passages.order(example, [hit.chunk_id for hit in hits])
        gold = passages.gold(example, order, k)
        absent = passages.without(example, gold, order)[:k] if gold else []
        crowded = len(gold) > k
        if absent and (crowded or draw(config.seed, "refuse", example.id) < config.refusals):
            rows.append(_row(example.model_copy(update={"answer": REFUSAL, "style": "unanswerable"}), absent, []))
        elif not crowded:
            rows.append(_row(example, _with_gold(order, gold, k), gold))
    return rows


def _row(example: Example, contexts: Sequence[str], gold: Sequence[str]) -> Example:
    """The id of a training row depends on the chunks beside it and on what it teaches as well."""
    id_ = content_id("example", [example.id, contexts, example.answer])
    return example.model_copy(update={"id": id_, "context_chunk_ids": tuple(contexts), "gold_chunk_ids": tuple(gold)})


def _with_gold(order: Sequence[str], gold: Sequence[str], k: int) -> list[str]:
    shown = list(order[:k])
    missing = [id_ for id_ in gold if id_ not in shown]
    for id_ in reversed([id_ for id_ in shown if id_ not in gold]):
        if len(shown) + len(missing) > k:
            shown.remove(id_)
    return [*shown, *missing]


class _Passages:
    """The chunks that may stand in a row, with their normalised texts."""

    def __init__(self, chunks: Sequence[Chunk]) -> None:
        self.texts = {chunk.id: f" {normalise(chunk.text)} " for chunk in chunks}
        self.by_document: dict[str, list[str]] = {}
        for chunk in sorted(chunks, key=lambda chunk: (chunk.document_id, chunk.ordinal)):
            self.by_document.setdefault(chunk.document_id, []).append(chunk.id)

    def order(self, example: Example, retrieved: Sequence[str]) -> list[str]:
        """The retrieved ones, then the rest of the document, for an index that is full of others."""
        known = [id_ for id_ in retrieved if id_ in self.texts]
        return list(dict.fromkeys([*known, *self.by_document.get(example.document_id, ())]))

    def holders(self, answer: str, ids: Sequence[str]) -> list[str]:
        """Those of the chunks that hold the answer to the letter."""
        wanted = f" {normalise(answer)} "
        return [id_ for id_ in ids if wanted in self.texts[id_]]

    def gold(self, example: Example, order: Sequence[str], k: int) -> list[str]:
        """What was written from; else the retrieved holders of the answer, or where none was retrieved, the best."""
        if unknown := [id_ for id_ in example.gold_chunk_ids if id_ not in self.texts]:
            raise CorpusError(
                f"{example.id} rests on {unknown[0]} of {example.document_id}, which is no chunk to train on; synthesise again"
            )
        if example.answer == REFUSAL:
            return []
        if example.gold_chunk_ids or example.answer in NO_SPANS:
            return list(example.gold_chunk_ids)
        own = set(self.by_document.get(example.document_id, ()))
        holders = self.holders(example.answer, [id_ for id_ in order if id_ in own])
        return [id_ for id_ in holders if id_ in order[:k]] or holders[:1]

    def without(self, example: Example, gold: Sequence[str], order: Sequence[str]) -> list[str]:
        """The distractors from which the answer cannot be read: overlapping neighbours of the gold chunks are none."""
        own = self.by_document.get(example.document_id, [])
        near = {own[i] for id_ in gold for at in [own.index(id_)] for i in range(max(0, at - 1), min(len(own), at + 2))}
        near |= set() if example.answer in NO_SPANS else set(self.holders(example.answer, order))
        return [id_ for id_ in order if id_ not in near]
