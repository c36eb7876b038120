"""Ingest the corpus, register the labels, freeze the eval set."""

from prefect import task

from csift import cycles, evalsets
from csift.config import LoopConfig
from csift.corpus import ingest as ingest_folder
from csift.db import database
from csift.labels import register
from csift.schemas import Chunking, CorpusSnapshot, EvalSet, LabelSet
from tasks.collaborators import index
from tasks.progress import reporter


@task(name="ingest")
def ingest(cycle_id: str, config: LoopConfig) -> CorpusSnapshot:
    """Documents → chunks → index; only what changed."""
    with cycles.stage(database(), cycle_id, "ingest") as made:
        chunking = Chunking(size=config.corpus.chunk_size, overlap=config.corpus.chunk_overlap)
        snapshot = ingest_folder(
            database(), index(config.project), config.project, config.corpus.path, chunking, reporter("ingest")
        )
        made.append(snapshot.id)
    return snapshot


@task(name="register labels")
def register_labels(cycle_id: str, config: LoopConfig, snapshot: CorpusSnapshot) -> LabelSet:
    """Labels against this snapshot, those of changed documents retired."""
    with cycles.stage(database(), cycle_id, "labels"):
        return register(database(), config.project, config.corpus, snapshot)


@task(name="freeze eval set")
def freeze_evalset(cycle_id: str, config: LoopConfig, labels: LabelSet) -> EvalSet:
    """The questions that the gate decides on."""
    with cycles.stage(database(), cycle_id, "eval set") as made:
        evalset = evalsets.freeze(database(), config.project, labels, config.gate.min_items)
        made.append(evalset.id)
    return evalset
