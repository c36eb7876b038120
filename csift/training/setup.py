"""What a stage is trained with."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from csift.config import TrainingConfig
from csift.models import BaseModel
from csift.training.arguments import common
from csift.training.checkpoints import Checkpoints
from csift.training.rewards import Reward


@dataclass
class Setup:
    """A peft model with what its trainer is told. `truncated` counts the prompts that were cut to `max_length`."""

    base: BaseModel
    model: Any
    tokenizer: Any
    config: TrainingConfig
    work: Path
    checkpoints: Checkpoints
    micro_batch: int
    reward: Reward
    gpu: bool
    truncated: int = 0

    def arguments(self, rate: float) -> dict[str, Any]:
        """What all trl configurations are told alike."""
        return common(self.config, self.work, self.micro_batch, rate)

    @staticmethod
    def dataset(rows: Sequence[dict[str, Any]]) -> Any:
        """The rows as trl takes them."""
        from datasets import Dataset

        return Dataset.from_list(list(rows))
