"""What there is to learn from in a dataset, and the path of stages that it allows."""

from csift.advice import Advice, Inventory, TrainingBudget, advise
from csift.advice.base import base_facts
from csift.config import LoopConfig, TrainingConfig
from csift.dataset import load_examples, load_preferences, load_ratings
from csift.db import database
from csift.inference import load_tokenizer
from csift.registry import load
from csift.schemas import DatasetVersion, EvalSet
from tasks.collaborators import base_model, trainable_chunks


def advice(config: LoopConfig, dataset: DatasetVersion) -> Advice:
    """The path of stages for the project's goal and hours on this machine. Raises TrainingError when nothing serves the goal."""
    base = base_model(config.training.base_model)
    return advise(_inventory(config, dataset), base_facts(base), config.training.goal, _budget(config.training.hours))


def decided(config: LoopConfig, dataset: DatasetVersion) -> TrainingConfig:
    """The training configuration with its stages decided, where they are left to the advice."""
    told = config.training
    if told.methods != "auto":
        return told
    path = advice(config, dataset)
    decision = {"methods": path.stages, "adapter": path.adapter.kind, "lora_rank": path.adapter.rank}
    return TrainingConfig.model_validate({**told.model_dump(), **decision})


def _inventory(config: LoopConfig, dataset: DatasetVersion) -> Inventory:
    db = database()
    tokenizer = load_tokenizer(base_model(config.training.base_model))
    texts = [chunk.text for chunk in trainable_chunks(config.project, dataset.snapshot_id)]
    sources = [example.source for example in {example.id: example for example in load_examples(db, dataset)}.values()]
    preferences = [pair.source for pair in load_preferences(db, dataset)]
    thumbs = [rating.desirable for rating in load_ratings(db, dataset)]
    return Inventory(
        corpus_tokens=sum(len(ids) for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]) if texts else 0,
        human_pairs=len(sources) - sources.count("synthetic"),
        synthetic_pairs=sources.count("synthetic"),
        ai_preferences=preferences.count("ai"),
        human_preferences=preferences.count("human"),
        thumbs_up=thumbs.count(True),
        thumbs_down=thumbs.count(False),
        eval_questions=len(load(db, EvalSet, dataset.evalset_id).items),
    )


def _budget(hours: float) -> TrainingBudget:
    import torch

    if not torch.cuda.is_available():
        return TrainingBudget(device="cpu", hours=hours)
    memory = torch.cuda.get_device_properties(0).total_memory / 1e9
    return TrainingBudget(device="gpu", gpu_memory_gb=memory, hours=hours)
