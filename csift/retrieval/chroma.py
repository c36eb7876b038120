"""Chroma as the index of chunks: embedded in a folder, or on a Chroma server."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from csift.exceptions import ConfigError, StorageError
from csift.hashing import sha256
from csift.interfaces import Embedder, Progress, no_progress
from csift.retrieval.aws import one_line
from csift.schemas import Chunk, Hit

EMBED_BATCH = 256  # chunks embedded and stored at once: what a kill loses at most


class ChromaIndex:
    """One collection per project and embedder, holding exactly the chunks of the snapshot it was last brought to.

    Another embedder gets another collection: vectors of two models cannot be compared.
    """

    def __init__(self, where: Path | str, project: str, embedder: Embedder) -> None:
        """`where` is a folder, or the URL of a Chroma server.

        Raises:
            ConfigError: the URL is not one of http or https.
            StorageError: the folder cannot be used, or the server cannot be reached.
        """
        self.id = f"chroma:{embedder.id}"
        self.embedder = embedder
        self.where = where
        name = f"csift-{project}-{sha256(embedder.id)[:8]}"
        client = _served(where) if isinstance(where, str) else _embedded(where)
        try:
            self._collection = client.get_or_create_collection(
                name, embedding_function=None, configuration={"hnsw": {"space": "cosine"}}
            )
        except Exception as error:  # noqa: BLE001 - Chroma's own kinds, sqlite's, the disk's and the network's
            raise StorageError(_cannot_open(where, error)) from None

    def count(self) -> int:
        """The chunks in it. Raises StorageError when Chroma cannot be read."""
        return int(self._ask("count", "all chunks"))

    def sync(self, snapshot_id: str, chunks: Sequence[Chunk], progress: Progress = no_progress) -> None:
        """Adds the chunks that are missing, embedding only those, and removes all others. Killed half-way, the next call
        finishes.

        Raises:
            StorageError: Chroma cannot store them; what was stored stays.
        """
        wanted = {chunk.id: chunk for chunk in chunks}
        present = set(self._ask("get", snapshot_id, include=[])["ids"])  # 5,000 ids take 10 ms
        for stale in _parts(sorted(present - wanted.keys())):
            self._ask("delete", snapshot_id, ids=stale)
        # Texts of like length beside each other, so that batches of one token count are large.
        missing = sorted((wanted[id_] for id_ in wanted.keys() - present), key=lambda chunk: (len(chunk.text), chunk.id))
        if missing:
            progress("ingest", 0, len(missing), "chunks embedded")
        done = 0
        for part in _parts(missing):
            self._ask(
                "add",
                snapshot_id,
                ids=[chunk.id for chunk in part],
                embeddings=self.embedder.embed([chunk.text for chunk in part]),
                documents=[chunk.text for chunk in part],
                metadatas=[{"document_id": chunk.document_id} for chunk in part],
            )
            done += len(part)
            progress("ingest", done, len(missing), "chunks embedded")

    def search(self, questions: Sequence[str], k: int) -> list[list[Hit]]:
        """The k chunks nearest to each question by cosine similarity, best first; ties by chunk id.

        Raises:
            StorageError: the index is empty, or Chroma cannot be read.
        """
        if not questions:
            return []
        if not self.count():
            raise StorageError(f"the index in {self.where} is empty; ingest a corpus first")
        found = self._ask("query", "questions", query_embeddings=self.embedder.embed(questions), n_results=k)
        rows = zip(found["ids"], found["metadatas"], found["documents"], found["distances"], strict=True)
        return [
            sorted(
                (
                    Hit(chunk_id=id_, document_id=str(meta["document_id"]), text=text, score=1.0 - float(distance))
                    for id_, meta, text, distance in zip(*row, strict=True)
                ),
                key=lambda hit: (-hit.score, hit.chunk_id),
            )
            for row in rows
        ]

    def _ask(self, method: str, what: str, **arguments: Any) -> Any:
        try:
            return getattr(self._collection, method)(**arguments)
        except Exception as error:  # noqa: BLE001 - Chroma's own kinds, sqlite's, the disk's and the network's
            raise StorageError(
                f"the index in {self.where} failed at {method} for {what}: {one_line(error)}; "
                "free some space or start its server, and run again"
            ) from None


def _embedded(folder: Path) -> Any:
    import chromadb
    from chromadb.config import Settings as ChromaSettings

    try:
        folder.mkdir(parents=True, exist_ok=True)
        return chromadb.PersistentClient(str(folder), ChromaSettings(anonymized_telemetry=False))
    except Exception as error:  # noqa: BLE001 - as above
        raise StorageError(_cannot_open(folder, error)) from None


def _served(url: str) -> Any:
    import chromadb
    from chromadb.config import Settings as ChromaSettings

    try:
        parts = urlsplit(url)
        secure, port = parts.scheme == "https", parts.port
    except ValueError as error:
        raise ConfigError(f"{url!r} is not the URL of a Chroma server: {error}; correct CSIFT_CHROMA_URL") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"{url!r} is not the URL of a Chroma server; write http://host:8000 in CSIFT_CHROMA_URL")
    try:
        return chromadb.HttpClient(
            parts.hostname, port or (443 if secure else 8000), secure, settings=ChromaSettings(anonymized_telemetry=False)
        )
    except Exception as error:  # noqa: BLE001 - as above
        raise StorageError(_cannot_open(url, error)) from None


def _cannot_open(where: Path | str, error: Exception) -> str:
    if isinstance(where, str):
        fix = "start it with `chroma run`, or correct CSIFT_CHROMA_URL"
    else:
        fix = "free some space or remove the folder"
    return f"cannot open the index in {where}: {one_line(error)}; {fix}"


def _parts(rows: list[Any]) -> Iterator[list[Any]]:
    for start in range(0, len(rows), EMBED_BATCH):
        yield rows[start : start + EMBED_BATCH]
