"""From files to a CorpusSnapshot: sources are listed, their files parsed and scrubbed, the documents cut into chunks."""

from csift.corpus.chunking import chunk
from csift.corpus.dating import changed_on
from csift.corpus.document import NO_TEXT, Document
from csift.corpus.ingest import ingest, last_ingest, load_chunks

__all__ = ["NO_TEXT", "Document", "changed_on", "chunk", "ingest", "last_ingest", "load_chunks"]
