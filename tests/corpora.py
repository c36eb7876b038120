"""Corpora in folders, and what became of them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from csift.config import CorpusConfig
from csift.corpus import load_chunks
from csift.db import Database
from csift.schemas import IngestReport


def write(folder: Path, files: dict[str, str | bytes]) -> Path:
    """A corpus folder with these files."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def corpus(*folders: Path | str | dict[str, Any], **other: Any) -> CorpusConfig:
    """A configuration of these sources with small chunks."""
    sources = [folder if isinstance(folder, dict) else {"location": str(folder)} for folder in folders]
    return CorpusConfig.model_validate({"sources": sources, "chunk_size": 200, "chunk_overlap": 40, **other})


class NoIndex:
    """Keeps what it is brought to."""

    def sync(self, snapshot_id: str, chunks: Sequence[Any], progress: Any = None) -> None:
        self.chunks = list(chunks)


def read(db: Database, report: IngestReport) -> dict[str, str]:
    """Document → its chunks' text."""
    texts: dict[str, str] = {}
    for piece in load_chunks(db, report.snapshot):
        texts[piece.document_id] = f"{texts.get(piece.document_id, '')} {piece.text}".strip()
    return texts


def reasons(report: IngestReport) -> dict[str, str]:
    return {entry.document_id: entry.reason for entry in report.skipped}
