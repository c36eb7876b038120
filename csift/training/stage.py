"""One stage: a model to train, the method's trainer on it, and what came of it."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import PrinterCallback

from csift.config import TrainingConfig
from csift.interfaces import Progress
from csift.models import BaseModel
from csift.schemas import LossPoint, Method
from csift.training import checkpoints, online, preference, supervised
from csift.training.adapters import lora, start
from csift.training.ppo import ProximalPolicy
from csift.training.rewards import GoldReward, Reward, RewardModel, classifier
from csift.training.rows import Row
from csift.training.setup import Setup
from csift.training.watch import Report

TRAINERS: Mapping[Method, Callable[[Setup, Any], Any]] = {
    "cpt": supervised.cpt,
    "sft": supervised.sft,
    "dpo": preference.dpo,
    "orpo": preference.orpo,
    "kto": preference.kto,
    "reward": preference.reward,
    "grpo": online.grpo,
    "rloo": online.rloo,
}


def fit_stage(
    base: BaseModel,
    method: Method,
    rows: Sequence[Row],
    tokenizer: Any,
    config: TrainingConfig,
    micro_batch: int,
    work: Path,
    previous: str | None,
    reward_model: str | None,
    on_loss: Callable[[LossPoint], None],
    progress: Progress,
) -> tuple[dict[str, float], Any]:
    """(metrics, the trained peft model). `previous` and `reward_model` are folders of adapters."""
    model = _classifier(base, config, tokenizer) if method == "reward" else start(base, config, previous)
    reward: Reward = RewardModel(base, reward_model, tokenizer) if reward_model else GoldReward()
    setup = Setup(base, model, tokenizer, config, work, micro_batch, reward, torch.cuda.is_available())
    if method == "ppo":
        policy = ProximalPolicy(setup, rows, on_loss, progress)  # type: ignore[arg-type]
        policy.train()
        return {**_metrics(policy.losses, setup), "last_reward": policy.scores[-1]}, policy.model
    trainer = TRAINERS[method](setup, rows)
    trainer.remove_callback(PrinterCallback)  # it prints every step; csift shows its own progress
    trainer.add_callback(Report(method, config.max_steps, on_loss, progress))
    resume = checkpoints.latest(work)
    trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    # The log of all steps travels in the checkpoints; trl's own mean would start anew after a kill.
    logged = [entry for entry in trainer.state.log_history if "loss" in entry]
    metrics = _metrics([float(entry["loss"]) for entry in logged], setup)
    if "reward" in logged[-1]:
        metrics["last_reward"] = float(logged[-1]["reward"])
    return metrics, trainer.model


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory is short: CUDA's has a class of its own, the CPU allocator's only a text."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "not enough memory" in str(error)


def _classifier(base: BaseModel, config: TrainingConfig, tokenizer: Any) -> Any:
    from peft import get_peft_model

    torch.manual_seed(config.seed)
    model = classifier(base, tokenizer)
    return get_peft_model(model, lora(config, base, "SEQ_CLS"))


def _metrics(losses: list[float], setup: Setup) -> dict[str, float]:
    return {
        "mean_loss": sum(losses) / len(losses),
        "last_loss": losses[-1],
        "steps": float(len(losses)),
        "truncated": float(setup.truncated),
        "micro_batch": float(setup.micro_batch),
    }
