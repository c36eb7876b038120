"""Documents, chunks, snapshots."""

from typing import Self

from csift.hashing import content_id
from csift.schemas.base import Record


class DocumentRef(Record):
    """One version of one document: its id is its path in the corpus, its hash that of its cleaned text."""

    document_id: str
    sha256: str


class Chunking(Record):
    """Sizes in characters."""

    size: int
    overlap: int


class CorpusSnapshot(Record):
    """What the corpus held at one moment: documents, their hashes and how they were cut into chunks."""

    id: str
    corpus: str
    documents: tuple[DocumentRef, ...]
    chunking: Chunking

    @classmethod
    def of(cls, corpus: str, documents: tuple[DocumentRef, ...], chunking: Chunking) -> Self:
        """The snapshot with its content id; documents are kept in order of their ids."""
        ordered = tuple(sorted(documents, key=lambda document: document.document_id))
        identity = [corpus, [(d.document_id, d.sha256) for d in ordered], chunking.model_dump()]
        return cls(id=content_id("corpus", identity), corpus=corpus, documents=ordered, chunking=chunking)

    def hashes(self) -> dict[str, str]:
        """Document id → hash of its text."""
        return {document.document_id: document.sha256 for document in self.documents}


class Chunk(Record):
    """A passage of a document. The id depends on document and text only, so it is stable under edits elsewhere."""

    id: str
    document_id: str
    ordinal: int
    text: str


class Hit(Record):
    """A retrieved chunk; score is the cosine similarity to the question."""

    chunk_id: str
    document_id: str
    text: str
    score: float
