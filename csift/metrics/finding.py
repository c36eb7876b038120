"""Whether retrieval found what answers the question."""

from collections.abc import Sequence
from functools import lru_cache

from csift.schemas import Chunk, EvalItem
from csift.textmatch import normalise

CITED_NOWHERE = ("yes", "no")  # answers that stand in no particular chunk


class GoldSpans:
    """Which chunks of a corpus hold the gold answers.

    People label a question with its document and its answer. Its gold span is the answer wherever that document has it to the
    letter (normalised, whole words), and its gold chunks are those that hold it, as in training. An answer that stands nowhere to
    the letter, such as Yes or a paraphrase, has no gold span: then only whether the document was found can be told.
    """

    def __init__(self, chunks: Sequence[Chunk]) -> None:
        self._documents: dict[str, set[str]] = {}  # text of a chunk → its documents
        self._texts: dict[str, list[str]] = {}
        for chunk in chunks:
            self._documents.setdefault(chunk.text, set()).add(chunk.document_id)
            self._texts.setdefault(chunk.document_id, []).append(chunk.text)

    def gold(self, item: EvalItem) -> list[str]:
        """The texts of the item's gold chunks."""
        wanted = normalise(item.answer or "")
        if not wanted or wanted in CITED_NOWHERE:
            return []
        return [text for text in self._texts.get(item.document_id, ()) if f" {wanted} " in _padded(text)]

    def recall(self, item: EvalItem, contexts: Sequence[str]) -> float | None:
        """1.0 when one of the k contexts is a gold chunk, else 0.0; None without a gold span, or when it cannot be told."""
        gold = self.gold(item)
        return float(any(text in gold for text in contexts)) if gold and self._known(contexts) else None

    def document_recall(self, item: EvalItem, contexts: Sequence[str]) -> float | None:
        """1.0 when one of the k contexts is of the item's document, else 0.0; None when it cannot be told."""
        if item.answer is None or not self._known(contexts):
            return None
        return float(any(item.document_id in self._documents.get(text, ()) for text in contexts))

    def _known(self, contexts: Sequence[str]) -> bool:
        """Whether something was retrieved and it is cut as these chunks are; a knowledge base of AWS cuts its own."""
        return any(text in self._documents for text in contexts)


@lru_cache(maxsize=8192)
def _padded(text: str) -> str:
    return f" {normalise(text)} "
