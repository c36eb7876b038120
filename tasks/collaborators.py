"""What tasks call csift with, built from Settings once per process."""

from functools import lru_cache

from csift.config import LoopConfig
from csift.corpus import load_chunks
from csift.db import database
from csift.inference import LocalEngine
from csift.judges import ReferenceJudge
from csift.ledger import Ledger
from csift.llm import GatheringEngine
from csift.models import BaseModel, resolve
from csift.registry import load
from csift.retrieval import ChromaIndex, MiniLM
from csift.schemas import Chunk, CorpusSnapshot
from csift.settings import settings
from csift.storage import LocalStore


def store() -> LocalStore:
    """Artifacts, reports and data cards."""
    return LocalStore(settings().root / "artifacts")


@lru_cache(maxsize=1)
def embedder() -> MiniLM:
    """The bundled MiniLM; its weights load with the first text."""
    return MiniLM(settings().threads)


@lru_cache(maxsize=4)
def index(project: str) -> ChromaIndex:
    """The project's index."""
    return ChromaIndex(settings().root / "chroma", project, embedder())


def base_model(name: str) -> BaseModel:
    """A base model on this machine."""
    return resolve(name, settings().root)


@lru_cache(maxsize=1)
def _engine(base: BaseModel) -> LocalEngine:
    return LocalEngine(base, settings().threads)


def gathering(base: BaseModel, cycle_id: str, role: str, adapter_id: str | None = None) -> GatheringEngine:
    """The engine for one role; its calls are booked on the cycle. Raises StorageError when the adapter is not whole."""
    path = str(store().open_artifact(f"adapters/{adapter_id}")) if adapter_id else None
    return GatheringEngine(_engine(base), Ledger(database(), cycle_id), role, path, adapter_id)


def judge(config: LoopConfig) -> ReferenceJudge:
    """The configured judge."""
    return ReferenceJudge(embedder(), config.judge.correct_from)


def chunks(snapshot_id: str) -> list[Chunk]:
    """The chunks of a snapshot."""
    return load_chunks(database(), load(database(), CorpusSnapshot, snapshot_id))
