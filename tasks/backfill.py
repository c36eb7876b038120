"""A corpus divided into partitions, each taught once; and what that would take."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from prefect import task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.exceptions import CancelledRun
from prefect.task_runners import ThreadPoolTaskRunner

from csift import backfill, cycles
from csift.backfill import BackfillRequest
from csift.config import LoopConfig
from csift.corpus import changed_on
from csift.db import database
from csift.interfaces import Progress
from csift.reports.backfill import estimate_rows, estimate_sentence, plan_sentence, state_rows
from csift.schemas import BackfillEstimate, BackfillPlan, IngestReport, LabelSet, Partition, TaughtPartition, Teacher
from csift.synthesis import SynthesisResult
from tasks.collaborators import embedder, trainable_chunks, writer
from tasks.cycle import CycleRun
from tasks.progress import reporter
from tasks.retrying import RETRIES


@task(name="divide", cache_policy=NO_CACHE, **RETRIES)
def divide(cycle_id: str, config: LoopConfig, request: BackfillRequest, ingested: IngestReport) -> BackfillPlan:
    """The partitions, by the dates of documents or by source."""
    db = database()
    with cycles.stage(db, cycle_id, backfill.STAGE) as made:
        chunks = trainable_chunks(config.project, ingested.snapshot.id)
        changed = changed_on(config.corpus, ingested.snapshot.hashes()) if request.windows else {}
        plan = backfill.divide(config, request, ingested.snapshot, chunks, changed)
        backfill.save_plan(db, config.project, plan)
        made.append(plan.id)
    _show(plan)
    return plan


def _show(plan: BackfillPlan) -> None:
    """The partitions as they are now, in the UI."""
    states = backfill.states(database(), plan)
    create_table_artifact(key="partitions", table=state_rows(states), description=plan_sentence(plan))


@contextmanager
def workers(limit: int) -> Iterator[tuple[ThreadPoolTaskRunner[Any], threading.Event]]:
    """Runs so many tasks at once. When the block raises, the event is set, so that long ones end soon."""
    stopped = threading.Event()
    runner: ThreadPoolTaskRunner[Any] = ThreadPoolTaskRunner(max_workers=limit)
    with runner as pool:
        try:
            yield pool, stopped
        except BaseException:
            stopped.set()
            raise


@task(name="teach", task_run_name="teach {partition.name}", cache_policy=NO_CACHE, **RETRIES)
def teach(
    run: CycleRun, config: LoopConfig, labels: LabelSet, teacher: Teacher, partition: Partition, stopped: threading.Event
) -> TaughtPartition:
    """One partition, unless it is done; every call is in the ledger."""
    return backfill.teach(
        database(),
        run.lease,
        config.project,
        partition,
        writer(config, run.id, teacher, partition.id),
        trainable_chunks(config.project, labels.snapshot_id),
        labels.of_split("train"),
        embedder(),
        config.synthesis,
        config.dataset.near_duplicate,
        _unless(stopped, reporter(f"teach {partition.name}")),
    )


def _unless(stopped: threading.Event, report: Progress) -> Progress:
    def progress(stage: str, done: int, total: int, note: str = "") -> None:
        if stopped.is_set():
            raise CancelledRun("another partition failed, or the run was stopped; the next run continues")
        report(stage, done, total, note)

    return progress


@task(name="together", cache_policy=NO_CACHE, **RETRIES)
def together(plan: BackfillPlan) -> SynthesisResult:
    """What all partitions have taught."""
    _show(plan)
    return backfill.taught(database(), plan)


@task(name="estimate", cache_policy=NO_CACHE)
def estimate(config: LoopConfig, request: BackfillRequest) -> BackfillEstimate:
    """What a backfill would take, as a table; nothing is written to csift's database."""
    made = backfill.estimate(database(), config, request, reporter("ingest"))
    create_table_artifact(key="backfill-estimate", table=estimate_rows(made), description=estimate_sentence(made))
    return made
