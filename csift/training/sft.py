"""LoRA supervised fine-tuning (Hu et al., LoRA, ICLR 2022) with trl's SFTTrainer; the loss is on the answer's tokens only.

Not covered yet: other methods, GPU workers, several processes.
"""

import errno
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from csift.config import TrainingConfig
from csift.exceptions import StorageError, TrainingError
from csift.hashing import content_id
from csift.inference import load_tokenizer
from csift.interfaces import Messages, Progress, no_progress
from csift.models import BaseModel, best_dtype, quiet_libraries, use_threads
from csift.schemas import Adapter, LossPoint
from csift.storage import LocalStore
from csift.training import checkpoints


@dataclass(frozen=True)
class TrainingRow:
    """A chat up to the answer, and the answer."""

    prompt: Messages
    completion: str


def adapter_id(base: BaseModel, dataset_id: str, config: TrainingConfig) -> str:
    """The id of the adapter that this base, dataset and configuration give."""
    told = config.model_dump(exclude={"base_model", "checkpoint_every"})
    return content_id("adapter", ["sft", base.revision, dataset_id, told])


def train_sft(
    base: BaseModel,
    rows: Sequence[TrainingRow],
    dataset_id: str,
    config: TrainingConfig,
    store: LocalStore,
    work: Path,
    threads: int,
    on_loss: Callable[[str, LossPoint], None],
    progress: Progress = no_progress,
) -> Adapter:
    """Trains an adapter and publishes it under `adapters/<id>`, manifest last. One that is published already is returned as
    it is.

    `work` keeps checkpoints; killed at any moment and called again, training goes on from the last whole one with the same order
    of rows, optimiser and random state. `on_loss` gets every step's mean loss (nats a token).

    Raises:
        TrainingError: a row does not fit `max_length`, or the loss is not finite.
        StorageError: no room for a checkpoint or the adapter.
    """
    id_ = adapter_id(base, dataset_id, config)
    key = f"adapters/{id_}"
    record = {"base_model": base.name, "base_revision": base.revision, "stages": ("sft",), "dataset_id": dataset_id}
    if store.has_artifact(key):
        manifest = store.manifest(key)
        return Adapter(id=id_, config_hash=_hash(config), metrics=manifest["metrics"], uri=str(store.root / key), **record)
    checkpoint_folder = work / id_
    try:
        metrics, model = _fit(base, rows, config, checkpoint_folder, threads, lambda point: on_loss(id_, point), progress)
        with TemporaryDirectory() as folder:
            model.save_pretrained(folder)
            facts = {**record, "config": config.model_dump(), "versions": _versions(), "metrics": metrics}
            uri = store.publish(key, _tidy(Path(folder)), facts)
    except Exception as error:
        if isinstance(error, StorageError) or not _disk_full(error):
            raise
        raise StorageError(f"no room for the checkpoints in {checkpoint_folder}; free some space and run again") from None
    return Adapter(id=id_, config_hash=_hash(config), metrics=metrics, uri=uri, **record)


def _disk_full(error: BaseException | None) -> bool:
    """torch and safetensors report a full disk as errors of their own kinds."""
    while error is not None:
        told = str(error)
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if (
            "No space left" in told
            or "os error 28" in told
            or "PytorchStreamWriter failed" in told
            or "file write failed" in told
        ):
            return True
        error = error.__cause__ or error.__context__
    return False


def _hash(config: TrainingConfig) -> str:
    return content_id("config", config.model_dump())


def _tidy(folder: Path) -> Path:
    """Only weights and configuration are published; the generated model card says nothing."""
    (folder / "README.md").unlink(missing_ok=True)
    return folder


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("torch", "transformers", "peft", "trl")}


def _fit(
    base: BaseModel,
    rows: Sequence[TrainingRow],
    config: TrainingConfig,
    work: Path,
    threads: int,
    on_loss: Callable[[LossPoint], None],
    progress: Progress,
) -> tuple[dict[str, float], Any]:
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, PrinterCallback

    from csift.training.answer_loss import AnswerLossTrainer

    quiet_libraries()
    use_threads(threads)
    tokenizer = load_tokenizer(base)
    _check_lengths(tokenizer, rows, config.max_length)
    model = AutoModelForCausalLM.from_pretrained(base.path, dtype=getattr(torch, best_dtype()))
    data = [{"prompt": list(row.prompt), "completion": [{"role": "assistant", "content": row.completion}]} for row in rows]
    torch.manual_seed(config.seed)  # the LoRA matrices are drawn when the trainer is made
    trainer = AnswerLossTrainer(
        model=model,
        args=_arguments(config, work),
        train_dataset=Dataset.from_list(data),
        processing_class=tokenizer,
        peft_config=LoraConfig(
            r=config.lora_rank,
            lora_alpha=config.lora_alpha,
            target_modules="all-linear",
            task_type="CAUSAL_LM",
            base_model_name_or_path=base.name,
        ),
        callbacks=[_callback(config.max_steps, on_loss, progress)],
    )
    trainer.remove_callback(PrinterCallback)  # it prints every step; csift shows its own progress
    trainer.model.peft_config["default"].base_model_name_or_path = base.name  # no path of this machine in the artifact
    resume = checkpoints.latest(work)
    trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    # The log of all steps travels in the checkpoints; trl's own mean would start anew after a kill.
    losses = [float(entry["loss"]) for entry in trainer.state.log_history if "loss" in entry]
    return {"mean_loss": sum(losses) / len(losses), "last_loss": losses[-1], "steps": float(len(losses))}, trainer.model


def _check_lengths(tokenizer: Any, rows: Sequence[TrainingRow], limit: int) -> None:
    chats = [[*row.prompt, {"role": "assistant", "content": row.completion}] for row in rows]
    longest = max(len(tokenizer.apply_chat_template(chat, tokenize=False)) for chat in chats)
    if longest > limit:  # a token is at least a character, so most corpora need no counting
        texts = [tokenizer.apply_chat_template(chat, tokenize=False) for chat in chats]
        longest = max(len(ids) for ids in tokenizer(texts, add_special_tokens=False)["input_ids"])
    if longest > limit:
        raise TrainingError(
            f"a training row has {longest} tokens and training.max_length is {limit}; "
            "raise it, or lower retrieval.k or corpus.chunk_size"
        )


def _arguments(config: TrainingConfig, work: Path) -> Any:
    import torch
    from trl import SFTConfig

    return SFTConfig(
        output_dir=str(work),
        max_steps=config.max_steps,
        per_device_train_batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        lr_scheduler_type="linear",
        seed=config.seed,
        data_seed=config.seed,
        max_length=config.max_length,
        completion_only_loss=True,
        use_cpu=not torch.cuda.is_available(),
        # trl turns on mixed precision and gradient checkpointing, which on a CPU only cost time.
        bf16=False,
        gradient_checkpointing=False,
        logging_steps=1,
        logging_nan_inf_filter=False,
        report_to=[],
        disable_tqdm=True,
        dataloader_num_workers=0,
        save_strategy="steps",
        save_steps=config.checkpoint_every,
        save_total_limit=2,
    )


def _callback(total: int, on_loss: Callable[[LossPoint], None], progress: Progress) -> Any:
    import math

    from transformers import TrainerCallback

    class Report(TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            progress("train", state.global_step, total)

        def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
            if logs is None or "loss" not in logs:
                return
            loss = float(logs["loss"])
            if not math.isfinite(loss):
                raise TrainingError(f"the loss is {loss} at step {state.global_step}; lower training.learning_rate")
            on_loss(
                LossPoint(
                    step=state.global_step,
                    loss=loss,
                    learning_rate=float(logs["learning_rate"]),
                    tokens=int(logs["num_tokens"]),
                )
            )
            progress("train", state.global_step, total, f"loss {loss:.2f}")

        def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            checkpoints.mark(Path(args.output_dir) / f"checkpoint-{state.global_step}")

    return Report()
