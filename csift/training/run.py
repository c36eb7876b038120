"""What a sequence of stages is trained with, and where what comes of it is found again."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from csift.config import TrainingConfig
from csift.interfaces import ObjectStore, Progress, no_progress
from csift.models import BaseModel
from csift.schemas import Adapter, LossPoint
from csift.training.rows import TrainingData


class Adapters(Protocol):
    """The adapters that exist."""

    def find(self, id_: str) -> Adapter | None:
        """The adapter of this id, or None."""
        ...

    def add(self, adapter: Adapter) -> None:
        """From now on it exists; its artifact is in the store already."""
        ...


@dataclass
class InMemory:
    """Adapters of this process, for a notebook or a bench."""

    known: dict[str, Adapter] = field(default_factory=dict)

    def find(self, id_: str) -> Adapter | None:
        """The adapter of this id, or None."""
        return self.known.get(id_)

    def add(self, adapter: Adapter) -> None:
        """Keeps it as long as this object lives."""
        self.known[adapter.id] = adapter


def no_losses(adapter_id: str, point: LossPoint) -> None:
    """An `on_loss` that keeps nothing."""


@dataclass(frozen=True)
class Run:
    """One training run.

    `store` takes checkpoints and adapters, `holder` is the part of their keys that no other run has, `scratch` is a folder of
    this machine. `on_loss` gets the adapter's id and each step's mean loss (nats a token, or the method's own).
    """

    base: BaseModel
    data: TrainingData
    dataset_id: str
    config: TrainingConfig
    store: ObjectStore
    scratch: Path
    threads: int
    adapters: Adapters = field(default_factory=InMemory)
    holder: str = "alone"
    on_loss: Callable[[str, LossPoint], None] = no_losses
    progress: Progress = no_progress
