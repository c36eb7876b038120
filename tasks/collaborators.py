"""What tasks call csift with, built from Settings once per process."""

from collections.abc import Callable
from functools import lru_cache, wraps
from pathlib import Path
from threading import Lock
from typing import ParamSpec, TypeVar

from csift import registry
from csift.config import BudgetConfig, JudgeConfig, JudgeMember, LoopConfig, RetrievalConfig, TeacherConfig
from csift.corpus import load_chunks
from csift.db import database
from csift.exceptions import ConfigError, ModelError
from csift.inference import LocalEngine
from csift.interfaces import Judge, ObjectStore, Retriever
from csift.judges import (
    CriticJudge,
    FactualityJudge,
    FaithfulnessJudge,
    GradedJudge,
    HarmJudge,
    PanelJudge,
    ReferenceJudge,
    RubricJudge,
)
from csift.judges.critic import CRITIC
from csift.labels import trainable
from csift.ledger import Budget, Ledger
from csift.llm import LanguageModel, is_served, local_model, remote_model
from csift.metrics import Instruments
from csift.models import BaseModel, resolve
from csift.prices import FREE, Price, price_of
from csift.registry import load
from csift.retrieval import BedrockKnowledgeBase, ChromaIndex, MiniLM, minilm
from csift.retrieval import embedder as make_embedder
from csift.schemas import Adapter, Chunk, CorpusSnapshot, System, Teacher
from csift.settings import settings
from csift.storage import open_store
from csift.synthesis import PairWriter, SpanWriter, Writer

P = ParamSpec("P")
T = TypeVar("T")


def _shared(maxsize: int) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """lru_cache for what tasks share: several threads that ask for it first at the same moment get one thing all the same."""

    def wrap(make: Callable[P, T]) -> Callable[P, T]:
        made, lock = lru_cache(maxsize)(make), Lock()

        @wraps(make)
        def once(*args: P.args, **kwargs: P.kwargs) -> T:
            with lock:
                return made(*args, **kwargs)  # type: ignore[arg-type]

        return once

    return wrap


def store() -> ObjectStore:
    """Artifacts, reports and data cards. Raises StorageError when CSIFT_STORE_URL is none."""
    return _store(settings().store_url or settings().root / "artifacts", settings().root / "cache")


def link(uri: str) -> str:
    """The address of something in the store, as a browser takes it."""
    return uri if "://" in uri else Path(uri).as_uri()


@_shared(maxsize=2)
def _store(where: str | Path, cache: Path) -> ObjectStore:
    return open_store(where, cache)


@_shared(maxsize=1)
def embedder() -> MiniLM:
    """The bundled MiniLM, which compares questions and answers; its weights load with the first text."""
    return minilm(settings().threads)


def index(project: str, told: RetrievalConfig) -> ChromaIndex | None:
    """What the project's chunks go into; None where AWS fills a knowledge base itself."""
    return None if told.retriever == "bedrock-knowledge-base" else _chroma(project, told.embedder, told.retriever)


def retriever(config: LoopConfig) -> Retriever:
    """What finds the chunks for a question. Raises ConfigError when a knowledge base is meant and none is named."""
    told = settings()
    if held := index(config.project, config.retrieval):
        return held
    if not told.knowledge_base_id:
        raise ConfigError("retrieval.retriever is bedrock-knowledge-base; name it with CSIFT_KNOWLEDGE_BASE_ID")
    return BedrockKnowledgeBase(told.knowledge_base_id, told.aws_region, told.aws_endpoint_url)


@_shared(maxsize=4)
def _chroma(project: str, embedder_spec: str, kind: str) -> ChromaIndex:
    told = settings()
    if kind == "chroma-server" and not told.chroma_url:
        raise ConfigError("retrieval.retriever is chroma-server; say where it is with CSIFT_CHROMA_URL")
    chosen = make_embedder(
        embedder_spec,
        threads=told.threads,
        openai_base_url=told.openai_base_url,
        openai_api_key=told.openai_api_key,
        aws_region=told.aws_region,
        aws_endpoint_url=told.aws_endpoint_url,
    )
    where = str(told.chroma_url) if kind == "chroma-server" else told.root / "chroma"
    return ChromaIndex(where, project, chosen)


def base_model(name: str) -> BaseModel:
    """A base model on this machine."""
    return resolve(name, settings().root)


def exact_base(name: str, revision: str, whose: str) -> BaseModel:
    """The base model that something was made with. Raises ModelError when this machine has another revision of it."""
    base = base_model(name)
    if base.revision != revision:
        raise ModelError(f"{whose} was made with {name} {revision} and here is {base.revision}; install that one")
    return base


@_shared(maxsize=1)
def _engine(base: BaseModel) -> LocalEngine:
    return LocalEngine(base, settings().threads)


def find_adapter(id_: str) -> Adapter | None:
    """An adapter that was trained and whose artifact is there."""
    found = registry.find_adapter(database(), id_)
    return found if found and store().has_artifact(found.artifact) else None


def answering(base: BaseModel, cycle_id: str, role: str, adapter_id: str | None = None) -> LanguageModel:
    """A model on this machine for one role; its calls are booked on the cycle. Raises StorageError when the adapter is not
    whole."""
    path = str(registry.adapter_folder(database(), store(), adapter_id)) if adapter_id else None
    return local_model(_engine(base), Ledger(database(), cycle_id), role, path, adapter_id)


def writer(config: LoopConfig, cycle_id: str, teacher: Teacher, partition_id: str | None = None) -> Writer:
    """The teacher with its way of writing; its calls are booked on the cycle, and on the partition of a backfill that it writes
    for. Raises ConfigError as remote_model does."""
    if is_served(teacher.model):
        model, told = served_teacher(config, cycle_id), config.synthesis
        mine = model.booked_on(partition_id) if partition_id else model
        return PairWriter(mine, told.styles, told.min_rating, config.teacher.concurrency)
    model = answering(base_model(teacher.model), cycle_id, "teacher", teacher.adapter_id)
    return SpanWriter(model.booked_on(partition_id) if partition_id else model, embedder())


def served_teacher(config: LoopConfig, cycle_id: str) -> LanguageModel:
    """The configured served teacher. Raises ConfigError as remote_model does."""
    return _served(config.teacher, config.budget, cycle_id)


@_shared(maxsize=4)
def _served(config: TeacherConfig, budget: BudgetConfig, cycle_id: str) -> LanguageModel:
    """One object for all tasks of a cycle, so that they share its slots."""
    return remote_model(
        config.model,
        Ledger(database(), cycle_id),
        "teacher",
        settings=settings(),
        concurrency=config.concurrency,
        max_tokens=config.max_tokens,
        temperature=config.temperature,
        budget=Budget(budget.usd, budget.tokens),
        usd_per_million_in=config.usd_per_million_in,
        usd_per_million_out=config.usd_per_million_out,
    )


def judge(config: LoopConfig, cycle_id: str | None = None) -> Judge:
    """The configured judge; its calls are booked on the cycle, whose budget holds for them, or on none. Raises ConfigError as
    remote_model does."""
    told = config.judge
    judges = [_single(config, member, cycle_id) for member in told.asked]
    return PanelJudge(judges, told.correct_from) if told.name == "panel" else judges[0]


def _single(config: LoopConfig, told: JudgeMember, cycle_id: str | None) -> Judge:
    correct_from, max_tokens = config.judge.correct_from, config.judge.max_tokens
    if told.model is None:
        return ReferenceJudge(embedder(), correct_from)
    model = _judge_model(config, told, cycle_id)
    if told.name == "factuality":
        return FactualityJudge(model, max_tokens)
    if told.name == "graded":
        return GradedJudge(model, correct_from, max_tokens)
    return RubricJudge(model, told.rubric, correct_from, max_tokens)


def judge_models(config: LoopConfig, cycle_id: str | None = None) -> list[LanguageModel]:
    """The models that the configured judge asks, each once, for judges that compare pairs or measure something else. There is
    none with the reference judge alone. Raises ConfigError as remote_model does."""
    by_name: dict[str, JudgeMember] = {}
    for member in config.judge.asked:
        if member.model:
            by_name.setdefault(member.model, member)
    return [_judge_model(config, member, cycle_id) for member in by_name.values()]


def critic(config: LoopConfig, cycle_id: str) -> Judge:
    """What grades answers that nobody rated, as [feedback] says; its calls are booked on the cycle, whose budget holds for them.
    Raises ConfigError as remote_model does.
    """
    told = config.feedback
    member = JudgeMember(
        name="graded", model=told.critic, usd_per_million_in=told.usd_per_million_in, usd_per_million_out=told.usd_per_million_out
    )
    return CriticJudge(_judge_model(config, member, cycle_id, CRITIC), config.judge.correct_from, config.judge.max_tokens)


def _judge_model(config: LoopConfig, told: JudgeMember, cycle_id: str | None, role: str = "judge") -> LanguageModel:
    spec = str(told.model)
    if not is_served(spec):
        return local_model(_engine(base_model(spec)), Ledger(database(), cycle_id), role)
    return _served_judge(spec, told.usd_per_million_in, told.usd_per_million_out, config.judge, config.budget, cycle_id, role)


@_shared(maxsize=8)
def _served_judge(
    spec: str,
    usd_in: float | None,
    usd_out: float | None,
    told: JudgeConfig,
    budget: BudgetConfig,
    cycle_id: str | None,
    role: str,
) -> LanguageModel:
    """One object for all judges of a cycle that ask the same model, so that they share its slots. A budget is a cycle's."""
    return remote_model(
        spec,
        Ledger(database(), cycle_id),
        role,
        settings=settings(),
        concurrency=told.concurrency,
        max_tokens=told.max_tokens,
        budget=Budget(budget.usd, budget.tokens) if cycle_id else Budget(),
        usd_per_million_in=usd_in,
        usd_per_million_out=usd_out,
    )


def instruments(config: LoopConfig, system: System, cycle_id: str | None = None) -> Instruments:
    """What a System's answers are measured with. The first model that the configured judge asks tells what is made up and what is
    harmful; without one, words and refusals do. Raises ConfigError as remote_model does."""
    found, price = chunks(system.snapshot_id), _price(system)
    if models := judge_models(config, cycle_id):
        return Instruments(embedder(), found, price, FaithfulnessJudge(models[0]), HarmJudge(models[0]))
    return Instruments(embedder(), found, price)


def _price(system: System) -> Price | None:
    """Of the model that answers. A custom model is paid for by the hour, so its tokens have none."""
    if system.custom_model:
        return None
    return price_of(system.base_model) if is_served(system.base_model) else FREE


@_shared(maxsize=2)
def chunks(snapshot_id: str) -> tuple[Chunk, ...]:
    """The chunks of a snapshot."""
    return tuple(load_chunks(database(), load(database(), CorpusSnapshot, snapshot_id)))


def trainable_chunks(project: str, snapshot_id: str) -> list[Chunk]:
    """Those of the snapshot's chunks that training data may be made of: of training documents, from sources that allow it."""
    allowed = trainable(database(), project, load(database(), CorpusSnapshot, snapshot_id))
    return [chunk for chunk in chunks(snapshot_id) if chunk.document_id in allowed]
