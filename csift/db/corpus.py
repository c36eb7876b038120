"""Tables of the corpus and of what people wrote about it."""

from datetime import datetime
from typing import Any

from sqlalchemy.orm import Mapped, mapped_column

from csift.db.base import Base, RecordTable, now


class SnapshotRow(RecordTable, Base):
    """CorpusSnapshot."""

    __tablename__ = "snapshots"
    project: Mapped[str] = mapped_column(index=True)


class DocumentRow(Base):
    """A document's split, sticky by its id across editions."""

    __tablename__ = "documents"
    project: Mapped[str] = mapped_column(primary_key=True)
    document_id: Mapped[str] = mapped_column(primary_key=True)
    split: Mapped[str]
    first_seen: Mapped[datetime] = mapped_column(default=now)


class IngestRow(RecordTable, Base):
    """IngestReport."""

    __tablename__ = "ingests"
    project: Mapped[str] = mapped_column(index=True)
    snapshot_id: Mapped[str] = mapped_column(index=True)


class FileRow(Base):
    """What was read from one file, by a key of its bytes and of how it was read and scrubbed, so that it is read once."""

    __tablename__ = "files"
    key: Mapped[str] = mapped_column(primary_key=True)
    record: Mapped[dict[str, Any]]
    read_at: Mapped[datetime] = mapped_column(default=now)


class TextRow(Base):
    """The text of one version of a document, cleaned and scrubbed."""

    __tablename__ = "texts"
    sha256: Mapped[str] = mapped_column(primary_key=True)
    text: Mapped[str]


class ChunkRow(Base):
    """A chunk of one version of a document under one chunking."""

    __tablename__ = "chunks"
    chunking: Mapped[str] = mapped_column(primary_key=True)
    document_id: Mapped[str] = mapped_column(primary_key=True)
    document_sha256: Mapped[str] = mapped_column(primary_key=True)
    ordinal: Mapped[int] = mapped_column(primary_key=True)
    chunk_id: Mapped[str] = mapped_column(index=True)
    text: Mapped[str]


class LabelRow(Base):
    """A labelled question as first seen: pinned for good to the hash of its document at that moment."""

    __tablename__ = "labels"
    project: Mapped[str] = mapped_column(primary_key=True)
    label_id: Mapped[str] = mapped_column(primary_key=True)
    content_hash: Mapped[str]
    document_id: Mapped[str]
    document_sha256: Mapped[str]
    first_seen: Mapped[datetime] = mapped_column(default=now)
