"""Have the teacher write training data: dealt out in assignments, each written in a task of its own, screened round by round."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.context import TaskRunContext

from csift import synthesis
from csift.config import LoopConfig
from csift.llm import is_served
from csift.schemas import LabelSet, Teacher
from csift.settings import settings
from csift.synthesis import Assignment, Drafts, Harvest, SynthesisResult
from csift.training import Run, TrainingData, TrainingRow, final_id
from tasks.collaborators import base_model, embedder, store, trainable_chunks, writer
from tasks.progress import reporter
from tasks.retrying import RETRIES
from tasks.training import done_here

KEPT = timedelta(days=30)  # for which a written assignment is taken from Prefect's results; the ledger keeps its calls for good


@task(name="tune teacher", **RETRIES)
def tune_teacher(config: LoopConfig, labels: LabelSet) -> Teacher:
    """A local teacher learns to ask; an adapter that was tuned on the same lessons is taken as it is."""
    told = config.teacher
    if is_served(told.model) or not told.tune_steps or not config.synthesis.candidates:
        return Teacher(model=told.model, adapter_id=None)
    chunks = trainable_chunks(config.project, labels.snapshot_id)
    lessons = synthesis.lessons_for(labels.of_split("train"), chunks)
    rows = [TrainingRow(row.prompt, row.completion) for row in synthesis.lesson_rows(lessons)]
    run = Run(
        base=base_model(told.model),
        data=TrainingData(pairs=rows),
        dataset_id=synthesis.lessons_hash(lessons),
        config=synthesis.tuning(told, config.training.max_length),
        store=store(),
        scratch=settings().root / "training",
        threads=settings().threads,
    )
    id_ = final_id(run.base, run.dataset_id, run.config)
    adapter = done_here(id_, "tune teacher", config.project, {}, lambda: run, reporter("tune teacher"))
    return Teacher(model=told.model, adapter_id=adapter.id)


@task(name="reword", **RETRIES)
def reword(cycle_id: str, config: LoopConfig, labels: LabelSet, teacher: Teacher) -> Harvest:
    """People's training questions in other words; the harvest starts with them."""
    chunks = trainable_chunks(config.project, labels.snapshot_id)
    drafts = writer(config, cycle_id, teacher).reword(labels.of_split("train"), chunks, config.synthesis)
    return _gathered(config, labels, Harvest(), [drafts])


@task(name="deal", **RETRIES)
def deal(
    cycle_id: str, config: LoopConfig, labels: LabelSet, teacher: Teacher, number: int, harvest: Harvest
) -> list[Assignment]:
    """What is to be written in this round."""
    chunks = trainable_chunks(config.project, labels.snapshot_id)
    train = labels.of_split("train")
    return writer(config, cycle_id, teacher).deal(chunks, config.synthesis, number, train, harvest.accepted)


def _same_work(context: TaskRunContext, given: dict[str, Any]) -> str:
    """All that an assignment's drafts depend on: what is asked for, of whom, by which prompts."""
    told, teacher = given["config"].synthesis, given["teacher"]
    asked = [given["assignment"].id, teacher.model, str(teacher.adapter_id), *told.styles, str(told.min_rating)]
    return "-".join(["write", *asked, *synthesis.prompt_hashes().values()])


@task(
    name="write",
    task_run_name="write {assignment.count} questions",
    cache_key_fn=_same_work,
    cache_expiration=KEPT,
    **RETRIES,
)
def write(cycle_id: str, config: LoopConfig, labels: LabelSet, teacher: Teacher, assignment: Assignment) -> Drafts:
    """One assignment, most often one document; every call is in the ledger."""
    chunks = {chunk.id: chunk for chunk in trainable_chunks(config.project, labels.snapshot_id)}
    return writer(config, cycle_id, teacher).write(assignment, chunks)


@task(name="gather", cache_policy=NO_CACHE, **RETRIES)
def gather(config: LoopConfig, labels: LabelSet, harvest: Harvest, drafts: list[Drafts]) -> Harvest:
    """The round's drafts behind the filters that need them all."""
    return _gathered(config, labels, harvest, drafts)


@task(name="accept", cache_policy=NO_CACHE, **RETRIES)
def accept(teacher: Teacher, harvest: Harvest) -> SynthesisResult:
    """What the rounds have brought, as training examples."""
    return synthesis.result(harvest, teacher.name)


def _gathered(config: LoopConfig, labels: LabelSet, harvest: Harvest, drafts: Sequence[Drafts]) -> Harvest:
    chunks = trainable_chunks(config.project, labels.snapshot_id)
    train = labels.of_split("train")
    return synthesis.gather(harvest, drafts, train, chunks, embedder(), config.synthesis, config.dataset.near_duplicate)
