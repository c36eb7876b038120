"""csift's training as DSPy knows it: a Provider, the local model as a `dspy.LM` that can be trained, an optimiser.

Nothing else in csift imports this package, and importing it loads DSPy.
"""

from csift.finetuning.distil import Distil
from csift.finetuning.provider import StoredAdapters, TrainableLM, TrainingJob, TrainingProvider, program_hash, trainable
from csift.finetuning.rows import Answers, dataset_id, read, training_data

__all__ = [
    "Answers",
    "Distil",
    "StoredAdapters",
    "TrainableLM",
    "TrainingJob",
    "TrainingProvider",
    "dataset_id",
    "program_hash",
    "read",
    "trainable",
    "training_data",
]
