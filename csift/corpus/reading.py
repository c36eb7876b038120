"""What is in the files of a source: each is read, parsed and scrubbed once, and known again by its bytes.

Texts are scrubbed before they are stored; of what was scrubbed only the counts are kept.
"""

from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from csift.corpus import cuad
from csift.corpus.document import Document, Unusable
from csift.corpus.near_duplicates import HASHES, WORDS, signature
from csift.corpus.parsers import LIBRARIES, PARSERS, parse, parser_version, suffix
from csift.corpus.sandbox import Sandbox
from csift.corpus.scrub import Scrubber
from csift.corpus.sources import MAX_BYTES, SourceFile
from csift.corpus.tables import Parsed, parse_csv, parse_jsonl
from csift.db.connection import Database
from csift.db.corpus import FileRow, TextRow
from csift.hashing import content_id, sha256
from csift.interfaces import Progress
from csift.schemas import Record, SkippedDocument, SourceLabel

FORMATS = (*PARSERS, ".jsonl", ".csv")
BATCH = 200  # files whose outcome is stored at once, unless their sizes come to MAX_BYTES before
CONNECTIONS = 8
SIGNATURES = (WORDS, HASHES)  # what they depend on beside the text


class ReadDocument(Record):
    """A document of a file: the hash of its scrubbed text, how much of what was scrubbed, and its MinHash in base 64."""

    id: str
    sha256: str
    scrubbed: dict[str, int]
    signature: str


class FileRecord(Record):
    """What a file holds."""

    documents: tuple[ReadDocument, ...] = ()
    labels: tuple[SourceLabel, ...] = ()
    skipped: tuple[SkippedDocument, ...] = ()


@dataclass(frozen=True)
class _Known:
    """A file with its key, and its bytes if they had to be read for that."""

    file: SourceFile
    key: str
    content: bytes | None


class Reader:
    """Reads files in a source's format with one scrubber; `seconds` of CPU time that one may take of a library that parses it."""

    def __init__(self, db: Database, layout: Literal["files", "cuad"], scrubber: Scrubber, seconds: int) -> None:
        self.db, self.layout, self.scrubber = db, layout, scrubber
        self._sandbox = Sandbox(seconds)
        self._scrubber_id = scrubber.id

    def read(self, files: list[SourceFile], progress: Progress) -> list[FileRecord]:
        """A record of each file, in order. Killed half-way, the next call goes on where this one stopped.

        Raises:
            CorpusError: a bucket stopped to answer.
        """
        records: list[FileRecord] = []
        with ThreadPoolExecutor(CONNECTIONS) as pool, self._sandbox:
            for batch in _batches(files):
                records += self._batch(batch, pool)
                progress("ingest", len(records), len(files), "files read")
        return records

    def _batch(self, files: list[SourceFile], pool: ThreadPoolExecutor) -> list[FileRecord]:
        found: dict[str, FileRecord] = {}
        known = [self._identify(file) for file in files]
        keys = [one.key for one in known if isinstance(one, _Known)]
        with self.db.session() as session:
            rows = session.execute(sa.select(FileRow.key, FileRow.record).where(FileRow.key.in_(keys))).tuples()
            found = {key: FileRecord.model_validate(record) for key, record in rows}
        missing = {one.key: one for one in known if isinstance(one, _Known) and one.key not in found}
        contents = pool.map(_content, missing.values())
        store = _Store()
        for one, content in zip(missing.values(), contents, strict=True):
            if isinstance(content, Unusable):  # not stored: permissions are no property of the bytes
                found[one.key] = _unusable(one.file.name, content)
            else:
                record = self._parse(one.file.name, content, store)
                found[one.key] = record
                store.files[one.key] = record.model_dump(mode="json")
        store.write(self.db)
        return [one if isinstance(one, FileRecord) else found[one.key] for one in known]

    def _identify(self, file: SourceFile) -> "_Known | FileRecord":
        content = None
        version = file.version
        if version is None:
            try:
                content = file.read()
            except Unusable as problem:
                return _unusable(file.name, problem)
            version = sha256(content)
        ending = suffix(file.name)
        limit = [self._sandbox.seconds] if ending in LIBRARIES else []  # what took too long is read again under another one
        how = [self.layout, parser_version(ending), *limit, self._scrubber_id, SIGNATURES]
        return _Known(file, content_id("file", [file.name, version, *how]), content)

    def _parse(self, name: str, content: bytes, store: "_Store") -> FileRecord:
        try:
            parsed = self._parsed(name, content)
        except Unusable as problem:
            return _unusable(name, problem)
        return FileRecord(
            documents=tuple(self._scrub(parsed.documents, store)),
            labels=tuple(self._scrub_label(label) for label in parsed.labels),
            skipped=tuple(parsed.skipped),
        )

    def _parsed(self, name: str, content: bytes) -> Parsed:
        if self.layout == "cuad":
            return cuad.parse_cuad(name, content)
        ending = suffix(name)
        if ending == ".csv":
            return parse_csv(name, content)
        if ending == ".jsonl":
            return parse_jsonl(name, content)
        if ending in LIBRARIES:
            return Parsed(documents=[Document(name, self._sandbox.parse(name, content))])
        if ending in PARSERS:
            return Parsed(documents=[Document(name, parse(name, content))])
        raise Unusable(f"is none of {', '.join(FORMATS)}; convert it or remove it")

    def _scrub(self, documents: list[Document], store: "_Store") -> Iterator[ReadDocument]:
        """A document of a changed file is not scrubbed again when it did not change itself."""
        keys = [content_id("scrubbed", [document.sha256, self._scrubber_id, SIGNATURES]) for document in documents]
        with self.db.session() as session:
            rows = session.execute(sa.select(FileRow.key, FileRow.record).where(FileRow.key.in_(keys))).tuples()
            known = dict(rows.all())
        for document, key in zip(documents, keys, strict=True):
            outcome = known.get(key)
            if outcome is None:
                text, counts = self.scrubber.scrub(document.text)
                mark = b64encode(signature(text)).decode()
                outcome = {"sha256": sha256(text), "scrubbed": counts, "signature": mark}
                store.texts[outcome["sha256"]] = text
                store.files[key] = outcome
            yield ReadDocument(id=document.id, **outcome)

    def _scrub_label(self, label: SourceLabel) -> SourceLabel:
        question, _ = self.scrubber.scrub(label.question)
        answer = None if label.answer is None else self.scrubber.scrub(label.answer)[0]
        return label.model_copy(update={"question": question, "answer": answer})


class _Store:
    """What a batch leaves in the database, in one transaction."""

    def __init__(self) -> None:
        self.files: dict[str, dict[str, Any]] = {}
        self.texts: dict[str, str] = {}

    def write(self, db: Database) -> None:
        with db.session() as session:
            if self.texts:
                texts = [{"sha256": key, "text": text} for key, text in self.texts.items()]
                session.execute(insert(TextRow).on_conflict_do_nothing(), texts)
            if self.files:
                files = [{"key": key, "record": record} for key, record in self.files.items()]
                session.execute(insert(FileRow).on_conflict_do_nothing(), files)


def _batches(files: list[SourceFile]) -> Iterator[list[SourceFile]]:
    batch: list[SourceFile] = []
    size = 0
    for file in files:
        if batch and (len(batch) == BATCH or size + file.size > MAX_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(file)
        size += file.size
    if batch:
        yield batch


def _content(known: _Known) -> bytes | Unusable:
    if known.content is not None:
        return known.content
    try:
        return known.file.read()
    except Unusable as problem:
        return problem


def _unusable(name: str, problem: Unusable) -> FileRecord:
    return FileRecord(skipped=(SkippedDocument(document_id=name, reason=str(problem)),))


class Texts(Mapping[str, str]):
    """Document id → text, loaded from the database when it is looked up."""

    def __init__(self, db: Database, hashes: Mapping[str, str]) -> None:
        self._db, self._hashes = db, hashes

    def __getitem__(self, document_id: str) -> str:
        hash_ = self._hashes[document_id]
        return load_texts(self._db, [hash_])[hash_]

    def __iter__(self) -> Iterator[str]:
        return iter(self._hashes)

    def __len__(self) -> int:
        return len(self._hashes)


def load_texts(db: Database, hashes: Iterable[str]) -> dict[str, str]:
    """Hash → text of stored documents."""
    with db.session() as session:
        rows = session.execute(sa.select(TextRow.sha256, TextRow.text).where(TextRow.sha256.in_(set(hashes))))
        return dict(rows.tuples().all())
