"""A dry run: what a backfill would ask for. It reads the corpus as the run would and leaves nothing behind."""

from typing import Any

import sqlalchemy as sa

from csift.backfill.planning import divide
from csift.backfill.request import BackfillRequest
from csift.backfill.states import states
from csift.config import LoopConfig, TrainingConfig
from csift.corpus import changed_on, ingest, load_chunks
from csift.db.connection import Database
from csift.db.operations import CycleRow, StageRow
from csift.interfaces import Progress, no_progress
from csift.labels import register, trainable
from csift.ledger import Budget, measured
from csift.llm import is_served, price_within
from csift.prices import FREE, Price
from csift.schemas import BackfillEstimate, BackfillPlan, Chunk, Label, PartitionEstimate, PartitionState, TeacherRate
from csift.synthesis import workload

# Of teachers that were never asked before. A served one is mostly asked about single questions with their chunks.
ASSUMED_SERVED = TeacherRate(calls=0, tokens_in=900, tokens_out=120, seconds=2.0)
ASSUMED_LOCAL = TeacherRate(calls=0, tokens_in=250, tokens_out=16, seconds=0.4)


def estimate(
    db: Database, config: LoopConfig, request: BackfillRequest, progress: Progress = no_progress, s3: Any = None
) -> BackfillEstimate:
    """The partitions of a backfill with what each would still take at most, and what follows. Nothing is written, nobody asked.

    `config` is the backfill's own (`over`). What is measured is the mean of this teacher's earlier calls, in whatever project.

    Raises:
        CorpusError, LabelError: as ingest, `register` and `divide`.
        ConfigError: the budget is in money and nobody knows the teacher's price.
        CycleRunning: another run writes the same documents at this moment.
    """
    spec, served = config.teacher.model, is_served(config.teacher.model)
    budget = Budget(config.budget.usd, config.budget.tokens)
    told = config.teacher
    price = price_within(budget, spec, told.usd_per_million_in, told.usd_per_million_out) if served else FREE
    with db.rehearsal() as scratch:
        report = ingest(scratch, None, config.project, config.corpus, progress, s3)
        labels = register(scratch, config.project, config.corpus, report)
        allowed = trainable(scratch, config.project, report.snapshot)
        chunks = [chunk for chunk in load_chunks(scratch, report.snapshot) if chunk.document_id in allowed]
        changed = changed_on(config.corpus, report.snapshot.hashes(), s3) if request.windows else {}
        plan = divide(config, request, report.snapshot, chunks, changed)
        stands = states(scratch, plan)
    rate = measured(db, spec, "teacher") or (ASSUMED_SERVED if served else ASSUMED_LOCAL)
    at_once = config.teacher.concurrency if served else 1
    parts = _partitions(config, plan, stands, chunks, labels.of_split("train"), rate, price, at_once)
    return BackfillEstimate(
        project=config.project,
        plan=plan,
        partitions=parts,
        teacher=spec,
        free=not served,
        rate=rate,
        at_once=at_once,
        budget_usd=config.budget.usd,
        budget_tokens=config.budget.tokens,
        uncounted=_uncounted(config),
        training=_training(config.training),
        training_seconds=_last_training(db, config.project),
    )


def _partitions(
    config: LoopConfig,
    plan: BackfillPlan,
    stands: tuple[PartitionState, ...],
    chunks: list[Chunk],
    labels: tuple[Label, ...],
    rate: TeacherRate,
    price: Price | None,
    at_once: int,
) -> tuple[PartitionEstimate, ...]:
    by_document: dict[str, list[Chunk]] = {}
    for chunk in chunks:
        by_document.setdefault(chunk.document_id, []).append(chunk)
    found = []
    for partition, state in zip(plan.partitions, stands, strict=True):
        mine = [chunk for ref in partition.documents for chunk in by_document[ref.document_id]]
        work = workload(mine, labels, config.synthesis, is_served(config.teacher.model))
        left = 0 if state.state == "done" else max(0, work.calls - state.calls)
        tokens_in, tokens_out = round(left * rate.tokens_in), round(left * rate.tokens_out)
        found.append(
            PartitionEstimate(
                state=state,
                others=partition.others,
                candidates=work.candidates,
                calls=work.calls,
                left=left,
                tokens=tokens_in + tokens_out,
                usd=price.of(tokens_in, tokens_out) if price else None,
                hours=left * rate.seconds / at_once / 3600,
            )
        )
    return tuple(found)


def _uncounted(config: LoopConfig) -> tuple[str, ...]:
    """What the rest of the turn asks served models for."""
    judges = sorted({told.model for told in config.judge.asked if told.model and is_served(told.model)})
    preferences = config.synthesis.preferences and is_served(config.teacher.model)
    return (*(f"judging by {model}" for model in judges), *(["preference pairs"] if preferences else []))


def _training(told: TrainingConfig) -> str:
    """What the training that follows is told, in words."""
    if told.methods == "auto":
        return f"the stages that csift advises, within {told.hours:g} hours"
    where = " as a customization job of Amazon Bedrock" if told.bedrock and told.launcher == "bedrock" else ""
    return f"{', '.join(told.methods)} at {told.max_steps} steps each{where}"


def _last_training(db: Database, project: str) -> float | None:
    """Seconds of the project's last training that ended."""
    with db.session() as session:
        return session.scalar(
            sa.select(StageRow.seconds)
            .join(CycleRow, CycleRow.id == StageRow.cycle_id)
            .where(CycleRow.project == project, StageRow.stage == "train", StageRow.state == "completed")
            .order_by(StageRow.started_at.desc())
            .limit(1)
        )
