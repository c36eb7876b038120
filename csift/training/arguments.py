"""What all of trl's trainers are told alike."""

from pathlib import Path
from typing import Any

from csift.config import TrainingConfig
from csift.exceptions import TrainingError


def processes() -> int:
    """How many share this training."""
    import torch
    from accelerate import PartialState

    return int(PartialState(cpu=not torch.cuda.is_available()).num_processes)


def common(config: TrainingConfig, work: Path, micro_batch: int, rate: float) -> dict[str, Any]:
    """Arguments of a trl configuration; `micro_batch` rows at once, `config.batch_size` a step, over all processes.

    Raises:
        TrainingError: the processes cannot share the rows evenly.
    """
    import torch

    gpu, sharing = torch.cuda.is_available(), processes()
    if micro_batch % sharing:
        raise TrainingError(
            f"{micro_batch} rows at once cannot be shared evenly by {sharing} processes; make training.batch_size = "
            f"{config.batch_size} a multiple of them"
        )
    return {
        "output_dir": str(work),
        "max_steps": config.max_steps,
        "per_device_train_batch_size": micro_batch // sharing,
        "gradient_accumulation_steps": config.batch_size // micro_batch,
        "learning_rate": rate,
        "lr_scheduler_type": "linear",
        "seed": config.seed,
        "data_seed": config.seed,
        "use_cpu": not gpu,
        # The weights are in bfloat16 already; trl would turn on mixed precision, and recompute activations, which only costs time
        # where memory is not short.
        "bf16": False,
        "gradient_checkpointing": False,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "report_to": [],
        "disable_tqdm": True,
        "dataloader_num_workers": 0,
        "remove_unused_columns": False,  # the row numbers are needed
        "save_strategy": "steps",
        "save_steps": config.checkpoint_every,
        "save_total_limit": 1,  # they are kept in the store
    }
