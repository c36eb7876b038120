"""Train the challenger's adapter: as a job that one worker holds at a time, in the run itself or on the gpu pool."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from csift import cycles, jobs, registry, training
from csift.config import LoopConfig
from csift.dataset import load_examples, load_preferences, load_ratings, load_scores, require_whole
from csift.db import Database, database
from csift.interfaces import Messages, Progress
from csift.leases import holder_name
from csift.prompts import answer_prompt
from csift.schemas import Adapter, CustomModel, DatasetVersion, Example, LossPoint, PreferencePair, RatedAnswer, ScoredAnswer
from csift.settings import settings
from csift.telemetry.context import inside
from csift.training import PreferenceRow, PromptRow, RatedRow, Run, ScoredRow, TextRow, TrainingData, TrainingRow, unpaired
from tasks.advice import decided
from tasks.bedrock import customized
from tasks.collaborators import base_model, chunks, find_adapter, store, trainable_chunks
from tasks.gpu_pool import GpuPool
from tasks.progress import reporter
from tasks.retrying import RETRIES

TRAIN = "train"  # the kind of these jobs
GONE = 10.0  # seconds; with the project's lease in hand nobody else trains here, so the wait for a killed process is short


@task(name="train", **RETRIES)
def train(cycle_id: str, config: LoopConfig, dataset: DatasetVersion) -> Adapter | CustomModel:
    """The stages of the configuration; a checkpoint of a killed run is taken up, an adapter that exists is not trained again.

    With launcher bedrock a customization job takes their place.
    """
    db, report = database(), reporter("train")
    with cycles.stage(db, cycle_id, "train") as made:
        if config.training.launcher == "bedrock" and config.training.bedrock:
            model = customized(config, config.training.bedrock, dataset, report)
            made.append(model.name)
            return model
        told = config.model_copy(update={"training": decided(config, dataset)})
        id_ = training.final_id(base_model(told.training.base_model), dataset.id, told.training)
        spec = {"cycle_id": cycle_id, "config": told.model_dump(mode="json"), "dataset_id": dataset.id}
        if told.training.run_on == "gpu":
            with GpuPool(db, report) as pool:
                adapter = _asked(id_, TRAIN, told.project, spec, pool.look, report)
        else:
            adapter = done_here(id_, TRAIN, told.project, spec, lambda: _run(told, dataset), report)
        made.append(adapter.id)
    return adapter


@task(name="work", cache_policy=NO_CACHE, **RETRIES)
def work(job_id: str) -> str:
    """A worker of the gpu pool takes a training job, if nobody else has it, and does it. Says what came of it."""
    db = database()
    held = jobs.take(db, job_id, holder_name())
    if held is None:
        job = jobs.load(db, job_id)
        return f"{job_id} is {job.state}" + (f" by {job.holder}" if job.holder else "")
    config = LoopConfig.model_validate(held.job.spec["config"])
    dataset_id = held.job.spec["dataset_id"]
    with inside(project=config.project, cycle=held.job.spec["cycle_id"], stage="train"):
        _do(db, held, lambda: _run(config, registry.load(db, DatasetVersion, dataset_id)), reporter("train"))
    return f"{job_id} is done"


def done_here(id_: str, kind: str, project: str, spec: dict[str, Any], run: Callable[[], Run], report: Progress) -> Adapter:
    """The adapter of a job, trained in this process unless somebody else does it at this moment. `id_` is the adapter's.

    Raises:
        TrainingError: as csift.training.train, or as whoever trained it said.
    """
    db = database()
    with jobs.listening(db) as heard:

        def look(job: jobs.Job) -> None:
            if held := jobs.take(db, job.id, holder_name(), GONE):
                _do(db, held, run, report)
            else:
                heard(1.0)

        return _asked(id_, kind, project, spec, look, report)


def _asked(
    id_: str, kind: str, project: str, spec: dict[str, Any], look: Callable[[jobs.Job], None], report: Progress
) -> Adapter:
    if known := find_adapter(id_):
        return known
    db = database()
    if jobs.enqueue(db, id_, kind, {"project": project, **spec}).state is jobs.JobState.DONE:
        jobs.again(db, id_)  # its artifact was removed
    jobs.wait(db, id_, report, look)
    return registry.load(db, Adapter, id_)


def _do(db: Database, held: jobs.Held, run: Callable[[], Run], report: Progress) -> None:
    def on_loss(adapter_id: str, point: LossPoint) -> None:
        with db.session() as session:
            held.check(session)
            registry.save_loss(session, adapter_id, point)

    def progress(stage: str, done: int, total: int, note: str = "") -> None:
        held.progress(stage, done, total, note)
        report(stage, done, total, note)

    with held:
        mine = replace(run(), adapters=_Fenced(db, held), holder=held.key, on_loss=on_loss, progress=progress)
        held.finish({"adapter": training.train(mine).id})


@dataclass(frozen=True)
class _Fenced:
    """The registry's adapters; only who holds the job adds to them."""

    db: Database
    held: jobs.Held

    def find(self, id_: str) -> Adapter | None:
        """The adapter, where its artifact is still there."""
        return find_adapter(id_)

    def add(self, adapter: Adapter) -> None:
        """Raises TrainingError when the job passed to another worker."""
        with self.db.session() as session:
            self.held.check(session)
            registry.save_adapter(session, adapter)


def _run(config: LoopConfig, dataset: DatasetVersion) -> Run:
    return Run(
        base=base_model(config.training.base_model),
        data=learned_from(config.project, dataset),
        dataset_id=dataset.id,
        config=config.training,
        store=store(),
        scratch=settings().root / "training",
        threads=settings().threads,
    )


def learned_from(project: str, dataset: DatasetVersion) -> TrainingData:
    """A dataset as training takes it, in the prompt that serving uses. Text is that of documents that may be trained on.

    What people said of an answer counts for kto, how they scored it for reward models; the two answers of a
    preference pair count for kto where nobody said anything of them. Raises LabelError as `require_whole`.
    """
    db = database()
    require_whole(db, dataset)
    texts = {chunk.id: chunk.text for chunk in chunks(dataset.snapshot_id)}

    def prompt(row: Example | PreferencePair | RatedAnswer | ScoredAnswer) -> Messages:
        return answer_prompt(row.question, [texts[id_] for id_ in row.context_chunk_ids])

    examples, rated = load_examples(db, dataset), load_ratings(db, dataset)
    prompts = {row.id: prompt(row) for row in examples}
    preferences = [
        (pair.question, PreferenceRow(prompt(pair), pair.chosen, pair.rejected, pair.id))
        for pair in load_preferences(db, dataset)
    ]
    said = {(row.question, row.answer) for row in rated}
    return TrainingData(
        texts=[TextRow(chunk.text, chunk.id) for chunk in trainable_chunks(project, dataset.snapshot_id)],
        pairs=[TrainingRow(prompts[row.id], row.answer, row.id) for row in examples],
        preferences=[row for _, row in preferences],
        ratings=[
            *(RatedRow(prompt(row), row.answer, row.desirable, row.id) for row in rated),
            *(row for question, pair in preferences for row in unpaired([pair]) if (question, row.completion) not in said),
        ],
        prompts=[PromptRow(prompts[row.id], row.answer, row.id) for row in {row.id: row for row in examples}.values()],
        scores=[ScoredRow(prompt(row), row.answer, row.score, row.id) for row in load_scores(db, dataset)],
    )
