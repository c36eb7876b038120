"""Ingest the corpus, register the labels, freeze the eval set."""

from prefect import task

from csift import cycles, evalsets
from csift.config import LoopConfig
from csift.corpus import ingest as ingest_corpus
from csift.db import database
from csift.labels import register
from csift.schemas import EvalSet, IngestReport, LabelSet
from tasks.collaborators import index
from tasks.progress import reporter
from tasks.retrying import RETRIES


@task(name="ingest", **RETRIES)
def ingest(cycle_id: str, config: LoopConfig) -> IngestReport:
    """Documents → chunks → index; only what changed."""
    with cycles.stage(database(), cycle_id, "ingest") as made:
        report = ingest_corpus(
            database(), index(config.project, config.retrieval), config.project, config.corpus, reporter("ingest")
        )
        made.append(report.snapshot.id)
    return report


@task(name="register labels", **RETRIES)
def register_labels(cycle_id: str, config: LoopConfig, report: IngestReport) -> LabelSet:
    """Labels against what was ingested, those of changed documents retired."""
    with cycles.stage(database(), cycle_id, "labels"):
        return register(database(), config.project, config.corpus, report)


@task(name="freeze eval set", **RETRIES)
def freeze_evalset(cycle_id: str, config: LoopConfig, labels: LabelSet) -> EvalSet:
    """The questions that the gate decides on."""
    with cycles.stage(database(), cycle_id, "eval set") as made:
        evalset = evalsets.freeze(database(), config.project, labels, config.gate.min_items)
        made.append(evalset.id)
    return evalset
