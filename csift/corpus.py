"""From a folder of documents to a CorpusSnapshot: read, chunk, index. Only new and changed documents are chunked and embedded.

Not covered yet: other formats than .txt, .md and .jsonl, scrubbing of personal data, object stores.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from csift.db.connection import Database
from csift.db.corpus import ChunkRow, SnapshotRow
from csift.exceptions import CorpusError
from csift.hashing import content_id, sha256
from csift.interfaces import Progress, no_progress
from csift.schemas import Chunk, Chunking, CorpusSnapshot, DocumentRef

SUFFIXES = (".txt", ".md", ".jsonl")
HEADING = re.compile(r"^(#{1,6})\s+(.+?)(?:\s+#+)?$")
NO_TEXT = re.compile("[\x00\ud800-\udfff]")  # what JSON can spell and Postgres cannot hold
SENTENCE_END = re.compile(r"(?<=[.!?:;])\s+(?=[^\s])")


@dataclass(frozen=True)
class Document:
    """A document as read: the id is its path in the corpus (and `#id` for a line of a .jsonl)."""

    id: str
    text: str

    @property
    def sha256(self) -> str:
        """Hash of the text."""
        return sha256(self.text)


class Index(Protocol):
    """What a snapshot's chunks go into."""

    def sync(self, snapshot_id: str, chunks: Sequence[Chunk], progress: Progress = no_progress) -> None: ...


def read_folder(folder: Path) -> list[Document]:
    """All documents of a folder and its subfolders, in order of their ids.

    Raises:
        CorpusError: the folder is missing or holds no documents; a file is not UTF-8 text, is empty, or repeats an id.
    """
    if not folder.is_dir():
        raise CorpusError(f"there is no corpus folder {folder}; create it or correct corpus.path")
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    documents = [document for path in paths for document in _read_file(path, folder)]
    if not documents:
        raise CorpusError(f"no documents in {folder}; csift reads {', '.join(SUFFIXES)}")
    seen: set[str] = set()
    for document in documents:
        if document.id in seen:
            raise CorpusError(f"two documents have the id {document.id} in {folder}; give each its own")
        seen.add(document.id)
    return sorted(documents, key=lambda document: document.id)


def _read_file(path: Path, folder: Path) -> Iterator[Document]:
    name = path.relative_to(folder).as_posix()
    text = read_text(path)
    if path.suffix.lower() != ".jsonl":
        yield Document(name, _clean(text, path))
        return
    if not text.strip():
        raise CorpusError(f"{path} is empty; fill it or remove it from the corpus")
    for number, line in enumerate(text.split("\n"), 1):  # splitlines would also part at U+2028, which JSON allows in a string
        if line.strip():
            identity, body = _parse(line, f"{path}:{number}")
            yield Document(f"{name}#{identity}", _clean(body, f"{path}:{number}"))


def _parse(line: str, where: str) -> tuple[str | int, str]:
    try:
        row = json.loads(line)
        identity, body = row["id"], row["text"]
    except (ValueError, KeyError, TypeError):
        identity, body = None, None
    if not isinstance(identity, str | int) or not isinstance(body, str):
        raise CorpusError(f'{where} is not a document; write {{"id": ..., "text": ...}} on each line')
    if NO_TEXT.search(f"{identity}{body}"):
        raise CorpusError(f"{where} holds NUL or half a surrogate pair, which are not text; remove these escapes")
    return identity, body


def read_text(path: Path) -> str:
    """A file as text.

    Raises:
        CorpusError: unreadable, binary, or not UTF-8; names the byte.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CorpusError(f"cannot read {path}: {error.strerror}; correct its permissions or remove it") from None
    if b"\x00" in content:
        raise CorpusError(f"{path} is a binary file, not text; remove it from the corpus or convert it")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise CorpusError(f"{path} is not UTF-8 (byte {error.start}); convert it, for instance with iconv") from None


def _clean(text: str, where: Path | str) -> str:
    lines = [line.rstrip() for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n")]
    cleaned = re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()
    if not cleaned:
        raise CorpusError(f"{where} is empty; fill it or remove it from the corpus")
    return cleaned


def chunk(document: Document, chunking: Chunking) -> list[Chunk]:
    """Cuts a document at headings, paragraphs and sentences into passages of at most `chunking.size` characters.

    Each passage opens with the titles that it stands under, because it is read and retrieved without the rest. Neighbours
    under one
    title share whole sentences of up to `chunking.overlap` characters. Only a sentence longer than a passage is cut inside.
    """
    chunks: list[Chunk] = []
    seen: dict[str, int] = {}
    for titles, body in _sections(document.text):
        header = " > ".join(titles)
        room = max(chunking.size - len(header) - 2, chunking.size // 2)
        for passage in _pack(_sentences(body, room), room, chunking.overlap):
            text = f"{header}: {passage}" if header else passage
            repeat = seen.get(text, 0)
            seen[text] = repeat + 1
            identity = content_id("chunk", [document.id, text, repeat])
            chunks.append(Chunk(id=identity, document_id=document.id, ordinal=len(chunks), text=text))
    return chunks


def _sections(text: str) -> Iterator[tuple[list[str], str]]:
    """(titles above, body) in reading order; a text without headings is one section without titles."""
    titles: list[tuple[int, str]] = []
    body = ""
    for line in text.split("\n"):
        if heading := HEADING.match(line):
            level = len(heading[1])
            if body.strip() or (titles and level <= titles[-1][0]):
                yield _section([title for _, title in titles], body)
            body = ""
            titles = [(depth, title) for depth, title in titles if depth < level] + [(level, heading[2])]
        else:
            body += line + "\n"
    yield _section([title for _, title in titles], body)


def _section(titles: list[str], body: str) -> tuple[list[str], str]:
    """A heading with nothing under it is text itself, so that no word of the document is lost."""
    return (titles, body) if body.strip() else (titles[:-1], titles[-1])


def _sentences(body: str, longest: int) -> list[str]:
    """Sentences with their spaces collapsed, the last of a paragraph marked by a newline at its end."""
    sentences = []
    for paragraph in re.split(r"\n\s*\n", body):
        parts = SENTENCE_END.split(" ".join(paragraph.split()))
        pieces = [piece for part in parts if part for piece in _cut(part, longest)]
        sentences += [*pieces[:-1], pieces[-1] + "\n"] if pieces else []
    return sentences


def _cut(sentence: str, longest: int) -> list[str]:
    """Cuts an over-long sentence at spaces, or where it has none, anywhere."""
    pieces = []
    while len(sentence) > longest:
        at = sentence.rfind(" ", longest // 2, longest)
        at = at if at > 0 else longest
        pieces.append(sentence[:at].strip())
        sentence = sentence[at:].strip()
    return [*pieces, sentence] if sentence else pieces


def _pack(sentences: list[str], size: int, overlap: int) -> Iterator[str]:
    """Fills passages; one ends early at the end of a paragraph when it is at least half full."""
    current: list[str] = []
    fresh = 0  # sentences of the current passage that no earlier passage holds
    for sentence in sentences:
        if fresh and _length(current) + 1 + len(sentence) > size:
            yield _join(current)
            fresh = 0
        if not fresh:
            current = _tail(current, min(overlap, size - len(sentence) - 1))
        current.append(sentence)
        fresh += 1
        if sentence.endswith("\n") and _length(current) * 2 >= size:
            yield _join(current)
            fresh = 0
    if fresh:
        yield _join(current)


def _tail(sentences: list[str], overlap: int) -> list[str]:
    kept: list[str] = []
    for sentence in reversed(sentences):
        if _length([sentence, *kept]) > overlap:
            break
        kept.insert(0, sentence)
    return kept


def _length(sentences: list[str]) -> int:
    return len(_join(sentences))


def _join(sentences: list[str]) -> str:
    return " ".join(sentence.strip() for sentence in sentences)


def ingest(
    db: Database, index: Index, project: str, folder: Path, chunking: Chunking, progress: Progress = no_progress
) -> CorpusSnapshot:
    """Brings the project's chunks and index to what the folder holds now, and records the snapshot.

    Raises:
        CorpusError: as `read_folder`; nothing is changed then.
    """
    documents = read_folder(folder)
    refs = tuple(DocumentRef(document_id=document.id, sha256=document.sha256) for document in documents)
    snapshot = CorpusSnapshot.of(project, refs, chunking)
    _store_chunks(db, documents, chunking)
    with db.session() as session:
        row = {"id": snapshot.id, "project": project, "record": snapshot.model_dump(mode="json")}
        session.execute(insert(SnapshotRow).values(row).on_conflict_do_nothing())
    index.sync(snapshot.id, load_chunks(db, snapshot), progress)
    return snapshot


def _store_chunks(db: Database, documents: list[Document], chunking: Chunking) -> None:
    key = content_id("chunking", chunking.model_dump())
    with db.session() as session:
        have = set(
            session.execute(
                sa.select(ChunkRow.document_id, ChunkRow.document_sha256).where(ChunkRow.chunking == key).distinct()
            ).tuples()
        )
        rows = [
            {
                "chunking": key,
                "document_id": document.id,
                "document_sha256": document.sha256,
                "ordinal": piece.ordinal,
                "chunk_id": piece.id,
                "text": piece.text,
            }
            for document in documents
            if (document.id, document.sha256) not in have
            for piece in chunk(document, chunking)
        ]
        if rows:
            session.execute(insert(ChunkRow).on_conflict_do_nothing(), rows)


def load_chunks(db: Database, snapshot: CorpusSnapshot) -> list[Chunk]:
    """The chunks of a snapshot, in order of document and position."""
    key = content_id("chunking", snapshot.chunking.model_dump())
    hashes = snapshot.hashes()
    with db.session() as session:
        rows = session.scalars(
            sa.select(ChunkRow)
            .where(ChunkRow.chunking == key, ChunkRow.document_sha256.in_(set(hashes.values())))
            .order_by(ChunkRow.document_id, ChunkRow.ordinal)
        )
        return [
            Chunk(id=row.chunk_id, document_id=row.document_id, ordinal=row.ordinal, text=row.text)
            for row in rows
            if hashes.get(row.document_id) == row.document_sha256
        ]
