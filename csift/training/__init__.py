"""LoRA training with trl and peft, and PPO: one file a method family."""

from csift.training.pipeline import final_id, train
from csift.training.rows import PreferenceRow, PromptRow, RatedRow, ScoredRow, TextRow, TrainingData, TrainingRow, unpaired
from csift.training.run import Adapters, InMemory, Run

__all__ = [
    "Adapters",
    "InMemory",
    "PreferenceRow",
    "PromptRow",
    "RatedRow",
    "Run",
    "ScoredRow",
    "TextRow",
    "TrainingData",
    "TrainingRow",
    "final_id",
    "train",
    "unpaired",
]
