"""The Protocols that join stages. Each implementation has an id that goes into the records."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from csift.schemas import Failure, Generation, GenerationParams, Hit, JudgeItem, PairItem, PairVerdict, Score, StoredObject

Messages = Sequence[dict[str, str]]  # a chat: [{"role": ..., "content": ...}, ...]


class Progress(Protocol):
    """Called by a stage as it goes; csift itself draws nothing."""

    def __call__(self, stage: str, done: int, total: int, note: str = "") -> None: ...


def no_progress(stage: str, done: int, total: int, note: str = "") -> None:
    """A Progress that shows nothing."""


class ObjectStore(Protocol):
    """Bytes under keys, such as `reports/cycle-1.html`; an artifact is a folder of files under a key, whose manifest is written
    last, so a half is never taken for a whole. Keys have forward slashes and no dot parts; all methods raise StorageError."""

    @property
    def url(self) -> str:
        """What csift.storage.open_store makes this store from in another process."""
        ...

    def uri(self, key: str) -> str:
        """Where people find what is under `key`: a path, or an s3:// URI."""
        ...

    def put(self, key: str, content: bytes) -> str:
        """Writes an object, whole or not at all; returns its URI."""
        ...

    def get(self, key: str) -> bytes:
        """The object; that there is none is an error."""
        ...

    def has(self, key: str) -> bool:
        """Whether there is such an object."""
        ...

    def objects(self, prefix: str = "") -> list[StoredObject]:
        """All objects below `prefix`, the files of artifacts and what is half-written among them, sorted by key."""
        ...

    def remove(self, key: str) -> None:
        """Removes one object; that there is none is fine."""
        ...

    def publish(self, key: str, folder: Path, facts: dict[str, Any]) -> str:
        """Stores the files of a folder and of its sub-folders under `key`, then the manifest: their SHA-256 (hex) by name, and
        `facts`. Returns the URI. Written anew, an artifact is not whole meanwhile. One writer at a time."""
        ...

    def manifest(self, key: str) -> dict[str, Any]:
        """The manifest of an artifact: `files`, and the facts given."""
        ...

    def open_artifact(self, key: str) -> Path:
        """A local folder, to be read only, with the artifact's files, checked against the manifest."""
        ...

    def has_artifact(self, key: str) -> bool:
        """Whether a whole artifact is there."""
        ...

    def artifacts(self, prefix: str = "") -> list[str]:
        """The keys of the whole artifacts below `prefix`, at any depth, sorted."""
        ...

    def discard(self, key: str) -> None:
        """Removes the artifact `key`, whole or half, with all that is below it."""
        ...


class Embedder(Protocol):
    """Texts → float32 [n, dim], rows of unit length."""

    @property
    def id(self) -> str: ...

    @property
    def dim(self) -> int: ...

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]: ...


class Retriever(Protocol):
    """Questions → the k most similar chunks of each, best first."""

    id: str

    def search(self, questions: Sequence[str], k: int) -> list[list[Hit]]: ...


class Engine(Protocol):
    """Chats → generations, in the same order. `adapter_path` is a folder of adapter weights, or None for the base model."""

    id: str

    def generate(
        self, prompts: Sequence[Messages], params: GenerationParams, adapter_path: str | None = None
    ) -> list[Generation]: ...


class Judge(Protocol):
    """Scores answers, in the same order. A failed judgement is a Failure, never a score."""

    id: str

    def judge(self, items: Sequence[JudgeItem]) -> list[Score | Failure]: ...


class PairJudge(Protocol):
    """Says which of two answers is better, in the same order; both orders of showing them are asked, and a verdict that depends
    on the order is a tie."""

    id: str

    def compare(self, pairs: Sequence[PairItem]) -> list[PairVerdict | Failure]: ...


class Program(Protocol):
    """A DSPy program that answers a question: returns a prediction with `answer`, `contexts` (list of chunk texts) and
    `hits` (the same as Hit)."""

    hash: str

    def __call__(self, *, question: str) -> Any: ...
