"""The Provider: what DSPy calls for training, and the `dspy.LM` that it trains.

    lm = trainable(TrainingConfig(methods=("sft",)))
    program.set_lm(lm)
    with dspy.context(adapter=lm.format):
        dspy.BootstrapFinetune(metric=metric).compile(program, trainset=questions, teacher=teacher)

Afterwards the program's model carries the adapter. Rows and configuration are the adapter's key: the same are not trained twice,
and training that was killed goes on from its last checkpoint.
"""

import json
import secrets
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from threading import Event, Lock
from typing import Any

import dspy  # noqa: TID253 - this package is DSPy's side of csift
from dspy.clients.provider import Provider  # noqa: TID253
from dspy.clients.provider import TrainingJob as DspyJob  # noqa: TID253
from dspy.clients.utils_finetune import TrainingStatus  # noqa: TID253
from pydantic import ValidationError

from csift.config import TrainingConfig, explain
from csift.db import database
from csift.exceptions import ConfigError, ModelError, StorageError, TrainingError
from csift.finetuning.rows import CHAT, FROM_WORSE, Answers, dataset_id, read, training_data
from csift.hashing import content_id
from csift.inference import LocalEngine
from csift.interfaces import Messages, ObjectStore, Progress, no_progress
from csift.ledger import Call, Ledger
from csift.llm import LanguageModel
from csift.llm.engine import Caller, DspyEngine, booked_class
from csift.llm.local import GatheringEngine
from csift.models import BaseModel, resolve
from csift.prompts import plain_adapter
from csift.schemas import Adapter, Failure, Generation, GenerationParams, LossPoint
from csift.settings import settings
from csift.storage import open_store
from csift.training import Adapters, Run, train

STATE = "csift"  # where in a model's state its weights are named
_Booked: Any = booked_class()


class StoredAdapters:
    """The adapters whose artifacts are in a store, by the facts of their manifests."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def find(self, id_: str) -> Adapter | None:
        """The adapter of this id, whoever trained it, or None."""
        for key in self._store.artifacts(f"adapters/{id_}"):
            facts = self._store.manifest(key)
            return Adapter.model_validate({name: facts[name] for name in Adapter.model_fields})
        return None

    def add(self, adapter: Adapter) -> None:
        """Nothing: its artifact is there."""


class TrainingJob(DspyJob):
    """A training run in a thread of its own. `result()` gives the trained model, or raises what the training raised.

    Ctrl-C while one waits for the result ends the training after its step; the next run goes on from the last checkpoint.
    """

    def __init__(self, **told: Any) -> None:
        super().__init__(**told)
        self._stop = Event()
        self._stage = ""

    def set_result(self, result: Any) -> None:
        """DSPy hands over exceptions as results."""
        if isinstance(result, BaseException):
            self.set_exception(result)
        else:
            super().set_result(result)

    def result(self, timeout: float | None = None) -> Any:
        """The trained TrainableLM; waits for `timeout` seconds."""
        try:
            return super().result(timeout)
        except KeyboardInterrupt:
            self.cancel()
            raise

    def cancel(self) -> bool:
        """The training ends after its step, with a TrainingError. False when it has ended already."""
        self._stop.set()
        return not self.done()

    def status(self) -> TrainingStatus:
        """How it stands."""
        if not self.done():
            return TrainingStatus.running if self._stage else TrainingStatus.pending
        if self.exception() is None:
            return TrainingStatus.succeeded
        return TrainingStatus.cancelled if self._stop.is_set() else TrainingStatus.failed

    def watched(self, progress: Progress) -> Progress:
        """`progress`, which also ends the run when it is cancelled."""

        def told(stage: str, done: int, total: int, note: str = "") -> None:
            self._stage = stage
            progress(stage, done, total, note)
            if self._stop.is_set():
                raise TrainingError(f"the training was cancelled at step {done} of {total}; start it again to go on from there")

        return told


class TrainingProvider(Provider):
    """Trains LoRA adapters on `base` by csift.training, in this process, one at a time.

    `config` says how, and DSPy's `train_kwargs` may override its fields. `on_loss` gets the adapter's id and each step's loss,
    `progress` the steps. Adapters go into `store`, answers into `ledger`.
    """

    def __init__(
        self,
        base: BaseModel,
        config: TrainingConfig,
        store: ObjectStore,
        ledger: Ledger,
        scratch: Path,
        *,
        threads: int = 2,
        role: str = "rag",
        adapters: Adapters | None = None,
        on_loss: Callable[[str, LossPoint], None] = lambda adapter_id, point: None,
        progress: Progress = no_progress,
    ) -> None:
        super().__init__()
        self.finetunable = True
        self.TrainingJob = TrainingJob
        self.base, self.config, self.role = base, config, role
        self._store, self._ledger, self._scratch, self._threads = store, ledger, scratch, threads
        self._adapters = adapters or StoredAdapters(store)
        self._on_loss, self._progress = on_loss, progress
        self._engine = _Shared(base, threads)
        self._callers: dict[str | None, Caller] = {}
        self._training = Lock()  # trainers draw from torch's global random state

    def lm(self, adapter_id: str | None = None) -> "TrainableLM":
        """The base model as a `dspy.LM`, with an adapter or none. Raises StorageError when the adapter is not in the store."""
        return TrainableLM(self, adapter_id)

    def name(self, adapter_id: str | None) -> str:
        """What DSPy calls a model; it names the weights."""
        return f"csift/{self._engine.id}+{adapter_id}" if adapter_id else f"csift/{self._engine.id}"

    def adapter_of(self, name: str) -> str | None:
        """The adapter's id in a name. Raises ModelError when it names other weights."""
        start = self.name(None)
        if name == start:
            return None
        if not name.startswith(f"{start}+"):
            raise ModelError(f"{name} is no model of this provider, whose base is {start}; make one with trainable()")
        return name.removeprefix(f"{start}+")

    def caller(self, adapter_id: str | None) -> Caller:
        """What answers with an adapter or none; all models of the same weights share it, so their calls go into one batch."""
        if adapter_id not in self._callers:
            path = None
            if adapter_id:
                adapter = self._adapters.find(adapter_id)
                if adapter is None:
                    raise StorageError(
                        f"there is no {adapter_id} in {self._store.url}; set CSIFT_STORE_URL to where it is, or train"
                    )
                path = str(self._store.open_artifact(adapter.artifact))
            self._callers[adapter_id] = GatheringEngine(self._engine, self._ledger, self.role, path, adapter_id)
        return self._callers[adapter_id]

    def finetune(
        self,
        job: TrainingJob,
        model: str,
        train_data: list[dict[str, Any]],
        train_data_format: str | None,
        train_kwargs: dict[str, Any] | None = None,
    ) -> str:
        """Trains on DSPy's rows and returns the name of the model that came of it.

        Where a stage learns from worse answers and the rows hold good ones alone (dspy.BootstrapFinetune's), the worse ones are
        what the model itself says.

        Raises:
            ConfigError: train_kwargs has unknown or impossible fields.
            TrainingError: the rows do not serve a stage, the model has an adapter already, or as csift.training.train.
            StorageError: as csift.training.train.
        """
        if known := self.adapter_of(model):
            raise TrainingError(
                f"the model has {known} already, and all stages are trained in a row; name them in methods, on the base"
            )
        config = self._told(train_kwargs or {})
        progress = job.watched(self._progress)
        format_ = str(getattr(train_data_format, "value", train_data_format))
        answers = read(train_data, format_)
        if format_ == CHAT and FROM_WORSE & set(config.methods):
            answers = self._against_own(answers, progress)
        run = Run(
            base=self.base,
            data=training_data(answers, config.methods if config.methods != "auto" else ()),
            dataset_id=dataset_id(answers),
            config=config,
            store=self._store,
            scratch=self._scratch,
            threads=self._threads,
            adapters=self._adapters,
            holder=f"dspy-{secrets.token_hex(4)}",
            on_loss=self._on_loss,
            progress=progress,
        )
        try:
            with self._training:
                return self.name(train(run).id)
        except Exception:
            raise
        except BaseException as error:  # DSPy would leave whoever waits for the job waiting
            job.set_exception(error)
            raise

    @staticmethod
    def kill(lm: "TrainableLM", launch_kwargs: dict[str, Any] | None = None) -> None:
        """Frees the memory that the weights take; the next answer loads them again."""
        lm.provider._engine.release()

    def _told(self, overrides: dict[str, Any]) -> TrainingConfig:
        try:
            config = TrainingConfig.model_validate({**self.config.model_dump(), **overrides})
        except ValidationError as error:
            raise ConfigError(f"train_kwargs are fields of csift's TrainingConfig: {explain(error)}") from None
        if config.run_on == "gpu":
            raise ConfigError('DSPy trains in this process; set run_on = "here", and start the process where the GPU is')
        if config.launcher == "bedrock":
            raise ConfigError("DSPy's rows are trained on this machine; Bedrock trains in the nightly loop (docs/bedrock.md)")
        if "base_model" in overrides:
            raise ConfigError("the base model is the one that the program's LM has; make an LM of another by trainable()")
        return config

    def _against_own(self, answers: Sequence[Answers], progress: Progress) -> list[Answers]:
        caller = self.caller(None)

        def own(one: Answers) -> Answers:
            reply = caller.answer(Call(caller.model, self.role, one.prompt, caller.default))
            return one if isinstance(reply, Failure) else one.against(reply.text)

        return caller.run(own, answers, lambda done: progress("answers", done, len(answers)))


class _Shared:
    """A local engine for many threads. It keeps the two models that answered last, such as a base and its adapter."""

    def __init__(self, base: BaseModel, threads: int) -> None:
        self._base, self._threads = base, threads
        self._lock = Lock()
        self._engines: dict[str | None, LocalEngine] = {}  # by the adapter's folder, the last one used last
        self.id = LocalEngine(base, threads).id

    def generate(
        self, prompts: Sequence[Messages], params: GenerationParams, adapter_path: str | None = None
    ) -> list[Generation]:
        """As LocalEngine.generate."""
        with self._lock:
            engine = self._engines.pop(adapter_path, None) or LocalEngine(self._base, self._threads)
            self._engines = {**dict(list(self._engines.items())[-1:]), adapter_path: engine}
            return engine.generate(prompts, params, adapter_path)

    def release(self) -> None:
        """Forgets the loaded models."""
        with self._lock:
            self._engines = {}


class TrainableLM(_Booked):
    """The local model as a `dspy.LM` that DSPy's optimisers can train. Its state is JSON and names base model and adapter."""

    provider: TrainingProvider

    def __init__(self, provider: TrainingProvider, adapter_id: str | None = None, **defaults: Any) -> None:
        """`defaults` are max_tokens, temperature and seed of its calls."""
        engine = DspyEngine(provider.caller(adapter_id))
        super().__init__(provider.name(adapter_id), engine=engine, provider=provider, cache=False, num_retries=0, **defaults)

    @property
    def adapter_id(self) -> str | None:
        """The csift adapter that it answers with."""
        return self.provider.adapter_of(self.model)

    @property
    def format(self) -> Any:
        """The DSPy adapter whose prompts suit a small model; as a ChatAdapter it also writes training rows."""
        return plain_chat()

    @property
    def batched(self) -> LanguageModel:
        """The same weights for running a program over many questions, whose calls are answered in batches."""
        return LanguageModel(self.provider.caller(self.adapter_id))

    def copy(self, **kwargs: Any) -> Any:
        """As dspy.LM.copy; by another `model` it becomes that one."""
        if kwargs.get("model", self.model) != self.model:
            kwargs["engine"] = DspyEngine(self.provider.caller(self.provider.adapter_of(kwargs["model"])))
        return super().copy(**kwargs)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return self.copy()

    def reinforce(self, train_kwargs: Any) -> Any:
        """Raises TrainingError: dspy.GRPO makes its trainer step from outside, and csift's run to their end by themselves."""
        raise TrainingError(
            'dspy.GRPO cannot step csift\'s trainers; use csift.finetuning.Distil with train_kwargs={"methods": ("grpo",)}'
        )

    def dump_state(self) -> dict[str, Any]:
        """JSON, without secrets and without where the adapter is stored."""
        base = self.provider.base
        config = self.provider.config.model_dump(mode="json", exclude_defaults=True)
        weights = {"base": base.name, "revision": base.revision, "adapter_id": self.adapter_id, "config": config}
        return {**dspy.BaseLM.dump_state(self), STATE: weights}

    @classmethod
    def load_state(cls, state: dict[str, Any], *, allow_custom_lm_class: bool = False) -> "TrainableLM":
        """The model that a state names, by this machine's settings.

        Raises:
            ModelError: the base model is not to be had, or has other weights than it had.
            StorageError: the adapter is not in the store.
        """
        weights = state[STATE]
        config = TrainingConfig.model_validate({**weights["config"], "base_model": weights["base"]})
        provider = _shared(config)
        if provider.base.revision != weights["revision"]:
            raise ModelError(
                f"{weights['base']} has revision {provider.base.revision} here, and the program was saved with "
                f"{weights['revision']}; install those weights, or compile the program anew"
            )
        defaults = {name: state[name] for name in ("max_tokens", "temperature", "seed") if state.get(name) is not None}
        return cls(provider, weights["adapter_id"], **defaults)


@lru_cache(maxsize=1)
def plain_chat() -> Any:
    """csift.prompts.plain_adapter as a ChatAdapter, the one kind from which BootstrapFinetune takes training rows."""

    class PlainChat(type(plain_adapter()), dspy.ChatAdapter):  # type: ignore[misc]
        """Prompts and parsing of the first, training rows of the second."""

    return PlainChat(use_json_adapter_fallback=False)


def trainable(config: TrainingConfig, role: str = "rag", progress: Progress = no_progress) -> TrainableLM:
    """The base model of `config` on this machine, with the database, the store and the threads of its settings.

    Raises:
        ModelError: the base model is not to be had.
        DatabaseError: as csift.db.database.
    """
    told = settings()
    root = told.root
    base = resolve(config.base_model, root)
    store = open_store(told.store_url or root / "artifacts", root / "cache")
    ledger = Ledger(database())
    work = root / "training"
    return TrainingProvider(base, config, store, ledger, work, threads=told.threads, role=role, progress=progress).lm()


@lru_cache(maxsize=4)
def _shared(config: TrainingConfig) -> TrainingProvider:
    """One for all predictors of a loaded program, so that the weights are in memory once."""
    provider: TrainingProvider = trainable(config).provider
    return provider


def program_hash(program: dspy.Module) -> str:
    """Hash of a compiled program: the prompts, demonstrations and models (weights and adapter) of its predictors.

    It does not depend on the machine, so a csift.schemas.System can be pinned to it.
    """
    parts = {
        name: [one.signature.dump_state(), [dict(demo) for demo in one.demos], one.lm.model if one.lm else None]
        for name, one in program.named_predictors()
    }
    return content_id("program", json.loads(json.dumps(parts, default=str)))
