"""From a base model and data to an adapter, by a sequence of stages, each starting from the one before.

Killed at any moment and called again, training goes on from the last whole checkpoint with the same order of rows, optimiser and
random state; a stage whose adapter exists is not trained again, also when another sequence begins with it.
"""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from csift.config import TrainingConfig
from csift.exceptions import StorageError, TrainingError
from csift.models import BaseModel
from csift.schemas import Adapter, Method
from csift.training.adapters import adapter_id, config_hash, disk_full, versions
from csift.training.checkpoints import Checkpoints
from csift.training.launching import ShortOfMemory, launch
from csift.training.run import Run
from csift.training.stage import Stage


def train(run: Run) -> Adapter:
    """Runs `run.config.methods` one after another and returns the last one's adapter.

    A reward stage's model is published like an adapter and scores the answers of a later ppo, grpo or rloo stage; without one,
    grpo and rloo learn from the right answers (GoldReward).

    Raises:
        TrainingError: data for a stage is missing, an answer does not fit `max_length`, the loss is no number or explodes, or
            memory is short even for one row at a time.
        StorageError: no room for a checkpoint or the adapter.
    """
    stages = _stages(run.config)
    policy: Adapter | None = None
    reward: Adapter | None = None
    for number, method in enumerate(stages, start=1):
        done = _adapter(run, stages[:number], policy, reward)
        if method == "reward":
            reward = done
        else:
            policy = done
    if policy is None:  # the configuration refuses it
        raise TrainingError("a reward model alone answers nothing; name a stage that uses it")
    return policy


def final_id(base: BaseModel, dataset_id: str, config: TrainingConfig) -> str:
    """The id of the adapter that `train` returns: that of the last stage which is no reward model."""
    stages = _stages(config)
    last = max((number for number, method in enumerate(stages, start=1) if method != "reward"), default=len(stages))
    return adapter_id(base, dataset_id, config, stages[:last])


def _stages(config: TrainingConfig) -> tuple[Method, ...]:
    if config.methods == "auto":
        raise TrainingError('training.methods = "auto" is decided before training; see csift.advice')
    return config.methods


def _adapter(run: Run, stages: Sequence[Method], policy: Adapter | None, reward: Adapter | None) -> Adapter:
    """Trained from `policy`, or found."""
    ids = tuple(adapter_id(run.base, run.dataset_id, run.config, stages[:last]) for last in range(1, len(stages) + 1))
    id_ = ids[-1]
    if known := run.adapters.find(id_):
        return known
    checkpoints = Checkpoints(run.store, id_, run.holder)
    key = f"adapters/{id_}/{run.holder}"
    run.scratch.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=run.scratch) as place:
        scratch = Path(place)
        try:
            metrics = _fit(run, stages[-1], id_, scratch, checkpoints, policy, reward)
            adapter = Adapter(
                id=id_,
                base_model=run.base.name,
                base_revision=run.base.revision,
                stages=tuple(stages),
                stage_ids=ids,
                config_hash=config_hash(run.config),
                dataset_id=run.dataset_id,
                metrics=metrics,
                artifact=key,
            )
            facts = {**adapter.model_dump(mode="json"), "config": run.config.model_dump(mode="json"), "versions": versions()}
            run.store.publish(key, scratch / "adapter", facts)
        except Exception as error:
            if isinstance(error, StorageError) or not disk_full(error):
                raise
            raise StorageError(f"no room for the checkpoints in {run.scratch}; free some space and run again") from None
    run.adapters.add(adapter)
    checkpoints.clear()
    return adapter


def _fit(
    run: Run, method: Method, id_: str, scratch: Path, checkpoints: Checkpoints, policy: Adapter | None, reward: Adapter | None
) -> dict[str, float]:
    """Trains; when memory is short, again from the last checkpoint with half as many rows at once and as many a step."""
    rows = run.data.rows(method)
    micro = run.config.batch_size
    while True:
        stage = Stage(
            base=run.base,
            method=method,
            rows=tuple(rows),
            config=run.config,
            micro_batch=micro,
            threads=run.threads,
            scratch=scratch,
            checkpoints=checkpoints,
            policy=run.store.open_artifact(policy.artifact) if policy else None,
            reward=run.store.open_artifact(reward.artifact) if reward else None,
        )
        try:
            return launch(stage, lambda point: run.on_loss(id_, point), run.progress)
        except ShortOfMemory:
            if micro == 1:
                raise TrainingError(
                    f"memory is short even for one row of {method} at a time; lower training.max_length, or use a smaller "
                    "base model or a machine with more memory"
                ) from None
        micro = max(size for size in range(1, micro // 2 + 1) if run.config.batch_size % size == 0)
        run.progress("train", 0, run.config.max_steps, f"{method}: memory is short, now {micro} rows at once")
