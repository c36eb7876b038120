"""Sources, documents, chunks, snapshots."""

from typing import Literal, Self

from csift.hashing import content_id
from csift.schemas.base import Record, Style


class Source(Record):
    """A place that documents came from, and what may be done with them."""

    name: str
    location: str
    licence: str
    may_train: bool


class DocumentRef(Record):
    """One version of one document: its id is its path in its source, its hash that of its cleaned and scrubbed text."""

    document_id: str
    sha256: str
    source: str = ""


class Chunking(Record):
    """How documents are cut: sizes in characters or tokens; `file` leaves a document whole."""

    unit: Literal["characters", "tokens", "file"] = "characters"
    size: int
    overlap: int


class CorpusSnapshot(Record):
    """What the corpus held at one moment: documents, their hashes, how they were cut into chunks, whose they are."""

    id: str
    corpus: str
    documents: tuple[DocumentRef, ...]
    chunking: Chunking
    sources: tuple[Source, ...] = ()

    @classmethod
    def of(cls, corpus: str, documents: tuple[DocumentRef, ...], chunking: Chunking, sources: tuple[Source, ...] = ()) -> Self:
        """The snapshot with its content id; documents are kept in order of their ids. Where a source lies is not in the id."""
        ordered = tuple(sorted(documents, key=lambda document: document.document_id))
        terms = [(source.name, source.licence, source.may_train) for source in sources]
        identity = [corpus, [(d.document_id, d.sha256, d.source) for d in ordered], chunking.model_dump(), terms]
        return cls(id=content_id("corpus", identity), corpus=corpus, documents=ordered, chunking=chunking, sources=sources)

    def hashes(self) -> dict[str, str]:
        """Document id → hash of its text."""
        return {document.document_id: document.sha256 for document in self.documents}

    def trainable(self) -> set[str]:
        """Ids of the documents whose source may be trained on."""
        barred = {source.name for source in self.sources if not source.may_train}
        return {document.document_id for document in self.documents if document.source not in barred}


class SkippedDocument(Record):
    """A file or row that could not be used, and why, in one line."""

    document_id: str
    reason: str


class NearDuplicate(Record):
    """A document that says almost the same as an earlier one; similarity is the share of shingles they have in common."""

    document_id: str
    of: str
    similarity: float


class SourceLabel(Record):
    """A question that came with the corpus itself (CUAD, or rows with question and answer)."""

    id: str
    document_id: str
    question: str
    answer: str | None
    style: Style | None = None


class IngestReport(Record):
    """What an ingest made of its sources. `scrubbed` counts what was replaced, by kind; nothing of it is kept."""

    id: str
    snapshot: CorpusSnapshot
    chunks: int
    skipped: tuple[SkippedDocument, ...]
    scrubber: str
    scrubbed: dict[str, int]
    near_duplicates: tuple[NearDuplicate, ...]
    labels: tuple[SourceLabel, ...]


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
