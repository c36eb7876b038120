"""From a base model and data to an adapter, by a sequence of stages, each starting from the one before.

Killed at any moment and called again, training goes on from the last whole checkpoint with the same order of rows, optimiser and
random state; a stage that is published is not trained again, also when another sequence begins with it.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from csift.config import TrainingConfig
from csift.exceptions import StorageError, TrainingError
from csift.inference import load_tokenizer
from csift.interfaces import Progress, no_progress
from csift.models import BaseModel, quiet_libraries, use_threads
from csift.schemas import Adapter, LossPoint, Method
from csift.storage import LocalStore
from csift.training.adapters import adapter_id, config_hash, disk_full, tidy, versions
from csift.training.rows import TrainingData


def train(
    base: BaseModel,
    data: TrainingData,
    dataset_id: str,
    config: TrainingConfig,
    store: LocalStore,
    work: Path,
    threads: int,
    on_loss: Callable[[str, LossPoint], None],
    progress: Progress = no_progress,
) -> Adapter:
    """Runs `config.methods` one after another and returns the last one's adapter, published under `adapters/<id>`.

    `work` keeps checkpoints. `on_loss` gets the adapter's id and each step's mean loss (nats a token, or the method's own).
    A reward stage's model is published like an adapter and scores the answers of a later ppo, grpo or rloo stage; without one,
    grpo and rloo learn from the right answers (GoldReward).

    Raises:
        TrainingError: data for a stage is missing, an answer does not fit `max_length`, the loss is no number or explodes, or
            memory is short even for one row at a time.
        StorageError: no room for a checkpoint or the adapter.
    """
    if config.methods == "auto":
        raise TrainingError('training.methods = "auto" is decided before training; see csift.advice')
    stages = tuple(config.methods)
    policy: Adapter | None = None
    reward: Adapter | None = None
    for number, method in enumerate(stages, start=1):
        run = _Stage(base, data, dataset_id, config, store, work, threads, on_loss, progress)
        done = run.adapter(stages[:number], policy, reward)
        if method == "reward":
            reward = done
        else:
            policy = done
    if policy is None:  # the configuration refuses it
        raise TrainingError("a reward model alone answers nothing; name a stage that uses it")
    return policy


class _Stage:
    """One stage of the sequence."""

    def __init__(
        self,
        base: BaseModel,
        data: TrainingData,
        dataset_id: str,
        config: TrainingConfig,
        store: LocalStore,
        work: Path,
        threads: int,
        on_loss: Callable[[str, LossPoint], None],
        progress: Progress,
    ) -> None:
        self.base, self.data, self.dataset_id, self.config = base, data, dataset_id, config
        self.store, self.work, self.threads = store, work, threads
        self.on_loss, self.progress = on_loss, progress

    def adapter(self, stages: Sequence[Method], policy: Adapter | None, reward: Adapter | None) -> Adapter:
        """Trained from `policy`, or published already."""
        id_ = adapter_id(self.base, self.dataset_id, self.config, stages)
        key = f"adapters/{id_}"
        record = {
            "base_model": self.base.name,
            "base_revision": self.base.revision,
            "stages": tuple(stages),
            "dataset_id": self.dataset_id,
        }
        hashed = config_hash(self.config)
        if self.store.has_artifact(key):
            manifest = self.store.manifest(key)
            uri = str(self.store.root / key)
            return Adapter(id=id_, config_hash=hashed, metrics=manifest["metrics"], uri=uri, **record)
        folder = self.work / id_
        try:
            metrics, model = self._fit(stages[-1], id_, policy, reward)
            with TemporaryDirectory() as place:
                model.save_pretrained(place, selected_adapters=["default"])
                facts = {**record, "config": self.config.model_dump(), "versions": versions(), "metrics": metrics}
                uri = self.store.publish(key, tidy(Path(place)), facts)
        except Exception as error:
            if isinstance(error, StorageError) or not disk_full(error):
                raise
            raise StorageError(f"no room for the checkpoints in {folder}; free some space and run again") from None
        return Adapter(id=id_, config_hash=hashed, metrics=metrics, uri=uri, **record)

    def _fit(self, method: Method, id_: str, policy: Adapter | None, reward: Adapter | None) -> tuple[dict[str, float], Any]:
        """Trains; when memory is short, again from the last checkpoint with half as many rows at once and as many a step."""
        import torch

        from csift.training.stage import fit_stage, out_of_memory

        quiet_libraries()
        use_threads(self.threads)
        rows = self.data.rows(method)
        tokenizer = load_tokenizer(self.base)
        micro = self.config.batch_size
        while True:
            try:
                return fit_stage(
                    self.base,
                    method,
                    rows,
                    tokenizer,
                    self.config,
                    micro,
                    self.work / id_,
                    policy.uri if policy else None,
                    reward.uri if reward else None,
                    lambda point: self.on_loss(id_, point),
                    self.progress,
                )
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
                if micro == 1:
                    raise TrainingError(
                        f"memory is short even for one row of {method} at a time; lower training.max_length, or use a smaller "
                        "base model or a machine with more memory"
                    ) from None
            micro = max(size for size in range(1, micro // 2 + 1) if self.config.batch_size % size == 0)
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            self.progress("train", 0, self.config.max_steps, f"{method}: memory is short, now {micro} rows at once")
