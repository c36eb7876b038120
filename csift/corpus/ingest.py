"""From sources to a CorpusSnapshot: list, read, scrub, chunk, index. Only what is new or changed is read, scrubbed, cut and
embedded."""

from base64 import b64decode
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from csift.config import CorpusConfig, SourceConfig
from csift.corpus import cuad
from csift.corpus.chunking import CHUNKER, chunk
from csift.corpus.document import Document
from csift.corpus.near_duplicates import near_duplicates
from csift.corpus.reading import FORMATS, FileRecord, ReadDocument, Reader, Texts, load_texts
from csift.corpus.scrub import Scrubber
from csift.corpus.sources import SourceFile, list_files
from csift.corpus.tokens import count_tokens
from csift.db.base import now
from csift.db.connection import Database
from csift.db.corpus import ChunkRow, IngestRow, SnapshotRow
from csift.exceptions import CorpusError
from csift.hashing import content_id
from csift.interfaces import Progress, no_progress
from csift.schemas import (
    Chunk,
    Chunking,
    CorpusSnapshot,
    DocumentRef,
    IngestReport,
    SkippedDocument,
    Source,
    SourceLabel,
)


class Index(Protocol):
    """What a snapshot's chunks go into."""

    def sync(self, snapshot_id: str, chunks: Sequence[Chunk], progress: Progress = no_progress) -> None: ...


@dataclass
class _Found:
    """What the sources hold, by the ids that the corpus knows it under."""

    documents: dict[str, tuple[ReadDocument, str]] = field(default_factory=dict)  # id → document, source
    labels: list[SourceLabel] = field(default_factory=list)
    skipped: list[SkippedDocument] = field(default_factory=list)

    def skip(self, document_id: str, reason: str) -> None:
        self.skipped.append(SkippedDocument(document_id=document_id, reason=reason))


def ingest(
    db: Database,
    index: Index | None,
    project: str,
    corpus: CorpusConfig,
    progress: Progress = no_progress,
    s3: Any = None,
) -> IngestReport:
    """Brings the project's texts, chunks and index to what its sources hold now, and records the snapshot and the report.

    A file or row that cannot be used is listed in the report, and the rest goes on. `s3` is a boto3 client, by default one made
    from boto3's own settings; `index` is None where the retriever is filled by somebody else.

    Raises:
        CorpusError: a folder is missing, a bucket is missing or may not be listed, or there is no usable document at all.
    """
    scrubber = Scrubber(corpus.scrub, corpus.allow)
    found = _Found()
    for source in corpus.sources:
        _read(found, source, Reader(db, source.format, scrubber, corpus.read_seconds), progress, s3)
    if not found.documents:
        raise CorpusError(_nothing(corpus, found.skipped))
    chunking = Chunking(unit=corpus.chunk_by, size=corpus.chunk_size, overlap=corpus.chunk_overlap)
    snapshot = CorpusSnapshot.of(
        project,
        tuple(DocumentRef(document_id=id_, sha256=d.sha256, source=source) for id_, (d, source) in found.documents.items()),
        chunking,
        tuple(Source(**source.model_dump(include={"name", "location", "licence", "may_train"})) for source in corpus.sources),
    )
    _store_chunks(db, snapshot)
    with db.session() as session:
        row = {"id": snapshot.id, "project": project, "record": snapshot.model_dump(mode="json")}
        session.execute(insert(SnapshotRow).values(row).on_conflict_do_nothing())
    chunks = load_chunks(db, snapshot)
    if index is not None:
        index.sync(snapshot.id, chunks, progress)
    return _report(db, project, found, snapshot, len(chunks), scrubber)


def _read(found: _Found, source: SourceConfig, reader: Reader, progress: Progress, s3: Any) -> None:
    listing = list_files(source.location, s3)
    files = [file for file in listing.files if source.format == "files" or cuad.reads(file.name)]
    records = reader.read(files, progress)
    prefix = f"{source.name}/" if source.name else ""
    for skipped in (*listing.skipped, *(entry for record in records for entry in record.skipped)):
        found.skip(prefix + skipped.document_id, skipped.reason)
    documents, labels = _join_cuad(files, records) if source.format == "cuad" else _plain(records)
    taken: set[str] = set()
    for document in documents:
        id_ = prefix + document.id
        if id_ in found.documents:
            found.skip(id_, "has the id of a document of a source before it; give this source a name")
        else:
            found.documents[id_] = document, source.name
            taken.add(id_)
    orphans: Counter[str] = Counter()
    for label in labels:
        if (about := prefix + label.document_id) in taken:
            found.labels.append(label.model_copy(update={"id": prefix + label.id, "document_id": about}))
        else:
            orphans[about] += 1
    for about, number in orphans.items():
        found.skip(about, f"has {number} labels and no text that can be used; add its document")


def _plain(records: list[FileRecord]) -> tuple[list[ReadDocument], list[SourceLabel]]:
    return [d for record in records for d in record.documents], [label for record in records for label in record.labels]


def _join_cuad(files: list[SourceFile], records: list[FileRecord]) -> tuple[list[ReadDocument], list[SourceLabel]]:
    """The contracts and labels of a source in CUAD's layout, where several files may tell of one contract."""
    pairs = [(file.name, document) for file, record in zip(files, records, strict=True) for document in record.documents]
    documents = cuad.join_documents(pairs)
    by_kind: dict[bool, list[SourceLabel]] = {True: [], False: []}
    for file, record in zip(files, records, strict=True):
        by_kind[file.name.endswith(".csv")] += record.labels
    return documents, cuad.join_labels(by_kind[False], by_kind[True], [document.id for document in documents])


def _nothing(corpus: CorpusConfig, skipped: list[SkippedDocument]) -> str:
    places = ", ".join(source.location for source in corpus.sources)
    if not skipped:
        return f"no documents in {places}; csift reads {', '.join(FORMATS)}"
    first = f"{skipped[0].document_id} {skipped[0].reason}"
    return f"no usable documents in {places}: {len(skipped)} skipped, the first: {first}"


def _report(db: Database, project: str, found: _Found, snapshot: CorpusSnapshot, chunks: int, scrubber: Scrubber) -> IngestReport:
    scrubbed: Counter[str] = Counter()
    for document, _ in found.documents.values():
        scrubbed.update(document.scrubbed)
    signatures = {id_: b64decode(document.signature) for id_, (document, _) in found.documents.items()}
    report = IngestReport(
        id="",
        snapshot=snapshot,
        chunks=chunks,
        skipped=tuple(found.skipped),
        scrubber=scrubber.description,
        scrubbed=dict(sorted(scrubbed.items())),
        near_duplicates=near_duplicates(Texts(db, snapshot.hashes()), signatures=signatures),
        labels=tuple(found.labels),
    )
    record = report.model_dump(mode="json", exclude={"id"})
    report = report.model_copy(update={"id": content_id("ingest", record)})
    row = {"id": report.id, "project": project, "snapshot_id": snapshot.id, "record": {"id": report.id, **record}}
    put = insert(IngestRow).values(row)
    with db.session() as session:  # what was ingested before and comes again is the latest again
        session.execute(put.on_conflict_do_update(index_elements=[IngestRow.id], set_={"created_at": now()}))
    return report


def last_ingest(db: Database, project: str) -> IngestReport | None:
    """The report of the project's last ingest, or None before the first."""
    with db.session() as session:
        latest = sa.select(IngestRow.record).where(IngestRow.project == project).order_by(IngestRow.created_at.desc()).limit(1)
        record = session.scalar(latest)
        return IngestReport.model_validate(record) if record else None


def _store_chunks(db: Database, snapshot: CorpusSnapshot) -> None:
    key = _key(snapshot.chunking)
    with db.session() as session:
        have = set(
            session.execute(
                sa.select(ChunkRow.document_id, ChunkRow.document_sha256).where(ChunkRow.chunking == key).distinct()
            ).tuples()
        )
        missing = [ref for ref in snapshot.documents if (ref.document_id, ref.sha256) not in have]
        rows = list(_chunk_rows(db, key, missing, snapshot.chunking))
        if rows:
            session.execute(insert(ChunkRow).on_conflict_do_nothing(), rows)


def _key(chunking: Chunking) -> str:
    return content_id("chunking", [CHUNKER, chunking.model_dump()])


def _chunk_rows(db: Database, key: str, refs: list[DocumentRef], chunking: Chunking) -> Iterator[dict[str, Any]]:
    texts = load_texts(db, (ref.sha256 for ref in refs))
    for ref in refs:
        for piece in chunk(Document(ref.document_id, texts[ref.sha256]), chunking, count_tokens):
            yield {
                "chunking": key,
                "document_id": ref.document_id,
                "document_sha256": ref.sha256,
                "ordinal": piece.ordinal,
                "chunk_id": piece.id,
                "text": piece.text,
            }


def load_chunks(db: Database, snapshot: CorpusSnapshot) -> list[Chunk]:
    """The chunks of a snapshot, in order of document and position.

    Raises:
        CorpusError: they were cut by another version of csift.
    """
    key = _key(snapshot.chunking)
    hashes = snapshot.hashes()
    row = ChunkRow
    with db.session() as session:
        rows = session.execute(
            sa.select(row.chunk_id, row.document_id, row.document_sha256, row.ordinal, row.text)
            .where(row.chunking == key, row.document_sha256.in_(set(hashes.values())))
            .order_by(row.document_id, row.ordinal)
        ).tuples()
        chunks = [
            Chunk(id=id_, document_id=document, ordinal=ordinal, text=text)
            for id_, document, hash_, ordinal, text in rows
            if hashes.get(document) == hash_
        ]
    if missing := hashes.keys() - {piece.document_id for piece in chunks}:
        raise CorpusError(f"{len(missing)} documents of {snapshot.id} were cut by another version of csift; ingest them again")
    return chunks
