"""Embedders and retrievers: the bundled MiniLM, and Chroma on disk."""

from collections.abc import Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from csift.exceptions import StorageError
from csift.interfaces import Embedder, Progress, no_progress
from csift.models import minilm_folder, quiet_libraries, use_threads
from csift.schemas import Chunk, Hit

EMBED_BATCH = 64


class MiniLM:
    """all-MiniLM-L6-v2 (Wang et al., MiniLM, NeurIPS 2020; sentence-transformers), float32, 384 dimensions."""

    id = "all-minilm-l6-v2"
    dim = 384

    def __init__(self, threads: int) -> None:
        self.threads = threads

    @cached_property
    def _model(self) -> Any:  # loaded by the first text: a run that embeds nothing does not pay for it
        from sentence_transformers import SentenceTransformer

        quiet_libraries()
        use_threads(self.threads)
        return SentenceTransformer(str(minilm_folder()), device="cpu", local_files_only=True)

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Texts → float32 [n, 384], unit length."""
        if not texts:
            return np.zeros((0, self.dim), dtype=np.float32)
        vectors = self._model.encode(
            list(texts),
            batch_size=EMBED_BATCH,
            normalize_embeddings=True,
            show_progress_bar=False,
            convert_to_numpy=True,
        )
        return np.asarray(vectors, dtype=np.float32)


@lru_cache(maxsize=1)
def minilm(threads: int) -> MiniLM:
    """The one MiniLM of this process."""
    return MiniLM(threads)


class ChromaIndex:
    """One Chroma collection per project under `root`, holding exactly the chunks of the snapshot it was last brought to."""

    def __init__(self, root: Path, project: str, embedder: Embedder) -> None:
        import chromadb
        from chromadb.config import Settings as ChromaSettings

        self.id = f"chroma:{embedder.id}"
        self.embedder = embedder
        try:
            root.mkdir(parents=True, exist_ok=True)
            client = chromadb.PersistentClient(str(root), ChromaSettings(anonymized_telemetry=False))
            self._collection = client.get_or_create_collection(
                f"csift-{project}", embedding_function=None, configuration={"hnsw": {"space": "cosine"}}
            )
        except Exception as error:  # noqa: BLE001 - Chroma's own kinds, sqlite's and the disk's
            raise StorageError(f"cannot open the index in {root}: {error}; free some space or remove the folder") from None

    def sync(self, snapshot_id: str, chunks: Sequence[Chunk], progress: Progress = no_progress) -> None:
        """Adds the chunks that are missing, embedding only those, and removes all others. Killed half-way, the next call
        finishes."""
        wanted = {chunk.id: chunk for chunk in chunks}
        present = set(self._collection.get(include=[])["ids"])
        if stale := sorted(present - wanted.keys()):
            self._collection.delete(ids=stale)
        missing = [chunk for id_, chunk in wanted.items() if id_ not in present]
        if missing:
            progress("ingest", 0, len(missing), "chunks embedded")
        for start in range(0, len(missing), EMBED_BATCH):
            part = missing[start : start + EMBED_BATCH]
            self._collection.add(
                ids=[chunk.id for chunk in part],
                embeddings=self.embedder.embed([chunk.text for chunk in part]),
                documents=[chunk.text for chunk in part],
                metadatas=[{"document_id": chunk.document_id} for chunk in part],
            )
            progress("ingest", min(start + EMBED_BATCH, len(missing)), len(missing), "chunks embedded")

    def search(self, questions: Sequence[str], k: int) -> list[list[Hit]]:
        """The k chunks nearest to each question by cosine similarity, best first; ties by chunk id.

        Raises:
            StorageError: the index is empty.
        """
        if not self._collection.count():
            raise StorageError("the index is empty; ingest a corpus first")
        found: Any = self._collection.query(query_embeddings=self.embedder.embed(questions), n_results=k)
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
