"""LoRA training with trl and peft, and PPO: one file a method family."""

from csift.training.pipeline import train
from csift.training.rows import PreferenceRow, PromptRow, RatedRow, TextRow, TrainingData, TrainingRow, unpaired

__all__ = ["PreferenceRow", "PromptRow", "RatedRow", "TextRow", "TrainingData", "TrainingRow", "train", "unpaired"]
