"""Train the challenger's adapter."""

from prefect import task

from csift import cycles, registry
from csift.config import LoopConfig
from csift.dataset import load_examples
from csift.db import database
from csift.prompts import answer_prompt
from csift.schemas import Adapter, DatasetVersion
from csift.settings import settings
from csift.training import TrainingRow, train_sft
from tasks.collaborators import base_model, chunks, store
from tasks.progress import reporter


@task(name="train")
def train(cycle_id: str, config: LoopConfig, dataset: DatasetVersion) -> Adapter:
    """LoRA SFT; a checkpoint of a killed run is taken up, an adapter that exists is not trained again."""
    db = database()
    with cycles.stage(db, cycle_id, "train") as made:
        texts = {chunk.id: chunk.text for chunk in chunks(dataset.snapshot_id)}
        rows = [
            TrainingRow(answer_prompt(row.question, [texts[id_] for id_ in row.context_chunk_ids]), row.answer)
            for row in load_examples(db, dataset)
        ]
        adapter = train_sft(
            base_model(config.training.base_model),
            rows,
            dataset.id,
            config.training,
            store(),
            settings().root / "training",
            settings().threads,
            lambda id_, point: registry.save_loss(db, id_, point),
            reporter("train"),
        )
        made.append(registry.save_adapter(db, adapter).id)
    return adapter
