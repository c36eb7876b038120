"""Train the challenger's adapter."""

from prefect import task

from csift import cycles, registry, training
from csift.config import LoopConfig
from csift.dataset import load_examples, load_preferences
from csift.db import database
from csift.prompts import answer_prompt
from csift.schemas import Adapter, DatasetVersion
from csift.settings import settings
from csift.training import PreferenceRow, PromptRow, TextRow, TrainingData, TrainingRow, unpaired
from tasks.advice import decided
from tasks.collaborators import base_model, chunks, store, trainable_chunks
from tasks.progress import reporter


@task(name="train")
def train(cycle_id: str, config: LoopConfig, dataset: DatasetVersion) -> Adapter:
    """The stages of the configuration; a checkpoint of a killed run is taken up, an adapter that exists is not trained again."""
    db = database()
    with cycles.stage(db, cycle_id, "train") as made:
        adapter = training.train(
            base_model(config.training.base_model),
            learned_from(config.project, dataset),
            dataset.id,
            decided(config, dataset),
            store(),
            settings().root / "training",
            settings().threads,
            lambda id_, point: registry.save_loss(db, id_, point),
            reporter("train"),
        )
        made.append(registry.save_adapter(db, adapter).id)
    return adapter


def learned_from(project: str, dataset: DatasetVersion) -> TrainingData:
    """A dataset as training takes it, in the prompt that serving uses. Text is that of documents that may be trained on."""
    db = database()
    texts = {chunk.id: chunk.text for chunk in chunks(dataset.snapshot_id)}
    examples = load_examples(db, dataset)
    prompts = {row.id: answer_prompt(row.question, [texts[id_] for id_ in row.context_chunk_ids]) for row in examples}
    preferences = [
        PreferenceRow(
            answer_prompt(pair.question, [texts[id_] for id_ in pair.context_chunk_ids]), pair.chosen, pair.rejected, pair.id
        )
        for pair in load_preferences(db, dataset)
    ]
    return TrainingData(
        texts=[TextRow(chunk.text, chunk.id) for chunk in trainable_chunks(project, dataset.snapshot_id)],
        pairs=[TrainingRow(prompts[row.id], row.answer, row.id) for row in examples],
        preferences=preferences,
        ratings=unpaired(preferences),
        prompts=[PromptRow(prompts[row.id], row.answer, row.id) for row in {row.id: row for row in examples}.values()],
    )
