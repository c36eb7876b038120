"""LoRA training with trl and peft: one file a method family."""

from csift.training.sft import TrainingRow, train_sft

__all__ = ["TrainingRow", "train_sft"]
