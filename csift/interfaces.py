"""The Protocols that join stages. Each implementation has an id that goes into the records."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from csift.schemas import Failure, Generation, GenerationParams, Hit, JudgeItem, Score

Messages = Sequence[dict[str, str]]  # a chat: [{"role": ..., "content": ...}, ...]


class Progress(Protocol):
    """Called by a stage as it goes; csift itself draws nothing."""

    def __call__(self, stage: str, done: int, total: int, note: str = "") -> None: ...


def no_progress(stage: str, done: int, total: int, note: str = "") -> None:
    """A Progress that shows nothing."""


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


class Program(Protocol):
    """A DSPy program that answers a question: returns a prediction with `answer` and `contexts` (list of chunk texts)."""

    hash: str

    def __call__(self, *, question: str) -> Any: ...
