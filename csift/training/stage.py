"""One stage: a model to train, the method's trainer on it, and what came of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from csift.config import TrainingConfig
from csift.interfaces import Progress
from csift.models import BaseModel, best_dtype
from csift.schemas import LossPoint, Method
from csift.training.checkpoints import Checkpoints
from csift.training.rows import Row


@dataclass(frozen=True)
class Stage:
    """What one stage is trained with. `policy` is the folder of the adapter that it starts from, `reward` that of the reward
    model that scores its answers; `micro_batch` rows are computed at once, by all processes together."""

    base: BaseModel
    method: Method
    rows: tuple[Row, ...]
    config: TrainingConfig
    micro_batch: int
    threads: int
    scratch: Path
    checkpoints: Checkpoints
    policy: Path | None
    reward: Path | None

    @property
    def output(self) -> Path:
        """The folder that gets the adapter's weights and configuration."""
        return self.scratch / "adapter"


def fit_stage(stage: Stage, on_loss: Callable[[LossPoint], None], progress: Progress) -> dict[str, float]:
    """Trains into `stage.output` and returns the metrics."""
    import torch
    from transformers import PrinterCallback

    from csift.inference import load_tokenizer
    from csift.models import quiet_libraries, use_threads
    from csift.training.adapters import start, tidy
    from csift.training.ppo import ProximalPolicy
    from csift.training.rewards import GoldReward, RewardModel
    from csift.training.setup import Setup
    from csift.training.watch import Report

    quiet_libraries()
    use_threads(stage.threads)
    base, config, tokenizer = stage.base, stage.config, load_tokenizer(stage.base)
    setup = Setup(
        base=base,
        model=_classifier(stage, tokenizer) if stage.method == "reward" else start(base, config, stage.policy),
        tokenizer=tokenizer,
        config=config,
        work=stage.scratch / "trainer",
        checkpoints=stage.checkpoints,
        micro_batch=stage.micro_batch,
        reward=RewardModel(base, stage.reward, tokenizer) if stage.reward else GoldReward(),
        gpu=torch.cuda.is_available(),
    )
    if stage.method == "ppo":
        policy = ProximalPolicy(setup, stage.rows, on_loss, progress)  # type: ignore[arg-type]
        policy.train()
        policy.model.save_pretrained(stage.output, selected_adapters=["default"])
        tidy(stage.output)
        return {**_metrics(policy.losses, setup), "last_reward": policy.scores[-1]}
    trainer = trainers()[stage.method](setup, stage.rows)
    trainer.remove_callback(PrinterCallback)  # it prints every step; csift shows its own progress
    trainer.add_callback(Report(stage.method, config.max_steps, stage.checkpoints, on_loss, progress))
    resume = stage.checkpoints.latest()
    trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    trainer.save_model(str(stage.output))
    if trainer.args.should_save:  # of several processes, the first
        tidy(stage.output)
    # The log of all steps travels in the checkpoints; trl's own mean would start anew after a kill.
    logged = [entry for entry in trainer.state.log_history if "loss" in entry]
    metrics = _metrics([float(entry["loss"]) for entry in logged], setup)
    if "reward" in logged[-1]:
        metrics["last_reward"] = float(logged[-1]["reward"])
    return metrics


def trainers() -> Mapping[Method, Callable[..., Any]]:
    """What makes each method's trl trainer from a Setup and its rows."""
    from csift.training import online, preference, supervised

    return {
        "cpt": supervised.cpt,
        "sft": supervised.sft,
        "dpo": preference.dpo,
        "orpo": preference.orpo,
        "kto": preference.kto,
        "reward": preference.reward,
        "grpo": online.grpo,
        "rloo": online.rloo,
    }


def _classifier(stage: Stage, tokenizer: Any) -> Any:
    """The model that becomes a reward model: what the stages before have learnt, and a new head (Ouyang et al., 2022)."""
    import torch
    from peft import get_peft_model, get_peft_model_state_dict, load_peft_weights, set_peft_model_state_dict

    from csift.training.adapters import lora
    from csift.training.lean import lean
    from csift.training.rewards import classifier

    torch.manual_seed(stage.config.seed)
    model = get_peft_model(classifier(stage.base, tokenizer, best_dtype()), lora(stage.config, stage.base, "SEQ_CLS"))
    if stage.policy:
        learnt = load_peft_weights(str(stage.policy), device="cpu")
        set_peft_model_state_dict(model, {**get_peft_model_state_dict(model), **learnt})
    lean(model)
    return model


def _metrics(losses: list[float], setup: Any) -> dict[str, float]:
    return {
        "mean_loss": sum(losses) / len(losses),
        "last_loss": losses[-1],
        "steps": float(len(losses)),
        "truncated": float(setup.truncated),
        "micro_batch": float(setup.micro_batch),
    }
