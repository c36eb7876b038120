"""Preference pairs, the dataset, its data card."""

from prefect import task

from csift import cycles, dataset, feedback, synthesis
from csift.config import LoopConfig
from csift.dataset import Ingredients
from csift.db import database
from csift.labels import document_splits
from csift.llm import is_served
from csift.reports import data_card
from csift.schemas import CorpusSnapshot, DatasetVersion, EvalSet, Failure, LabelSet, SynthesisReport, System
from csift.synthesis import PreferenceResult, SynthesisResult
from tasks.bedrock import with_model
from tasks.collaborators import chunks, embedder, judge, retriever, served_teacher, store, trainable_chunks
from tasks.progress import reporter
from tasks.retrying import RETRIES


@task(name="prefer", **RETRIES)
def prefer(cycle_id: str, config: LoopConfig, labels: LabelSet, synthetic: SynthesisResult, champion: System) -> PreferenceResult:
    """The champion's own answers compared, by a served teacher and with the gold answers."""
    wanted = config.synthesis.preferences
    if not wanted:
        return PreferenceResult(pairs=(), asked=0, inconsistent=0, failed=0)
    allowed = trainable_chunks(config.project, labels.snapshot_id)
    examples = [*dataset.from_labels(labels.of_split("train")), *synthetic.examples]
    rows = dataset.with_contexts(examples[:wanted], retriever(config), allowed, config.retrieval.k, config.dataset)
    texts = {chunk.id: chunk for chunk in allowed}
    report = reporter("preferences")
    sampled = with_model(
        config, cycle_id, champion, lambda ask: synthesis.sample_answers(ask("preferences"), rows, texts, report)
    )
    answers = [entry for entry in sampled if not isinstance(entry, Failure)]
    gold = synthesis.against_gold(judge(config, cycle_id), answers)
    if not is_served(config.teacher.model):
        return gold
    return gold + synthesis.judge_answers(served_teacher(config, cycle_id), answers, texts, report)


@task(name="build dataset", **RETRIES)
def build_dataset(
    cycle_id: str,
    config: LoopConfig,
    snapshot: CorpusSnapshot,
    labels: LabelSet,
    evalset: EvalSet,
    synthetic: SynthesisResult,
    preferences: PreferenceResult,
) -> DatasetVersion:
    """Human and synthetic examples and what feedback teaches, without duplicates and leaks of eval and golden questions; and its
    data card."""
    db = database()
    with cycles.stage(db, cycle_id, "dataset") as made:
        with db.session() as session:
            splits = document_splits(session, config.project)
        given = Ingredients(
            snapshot=snapshot,
            chunks=chunks(snapshot.id),
            splits=splits,
            labels=labels,
            synthetic=synthetic.examples,
            feedback=feedback.lessons(db, config.project, config.feedback),
            preferences=preferences.pairs,
            synthesis=SynthesisReport(
                teacher=synthetic.teacher,
                candidates=synthetic.candidates,
                accepted=len(synthetic.examples),
                rejected=synthesis.count_reasons(synthetic.rejections),
                samples=synthesis.sample_rejections(synthetic.rejections),
            ),
            rejections=synthetic.rejections,
        )
        version = dataset.build(
            db,
            config.project,
            given,
            evalset_id=evalset.id,
            embedder=embedder(),
            retriever=retriever(config),
            k=config.retrieval.k,
            config=config.dataset,
            recipe={"teacher": synthetic.teacher, **_told(config), **synthesis.prompt_hashes()},
        )
        write_card(config.project, version.id)
        made.append(version.id)
    return version


def write_card(project: str, dataset_id: str) -> None:
    """The data card of a stored dataset, in the store."""
    db = database()
    card = data_card.render(dataset.read_card(db, project, dataset.find(db, project, dataset_id), embedder()))
    store().put(f"data-cards/{dataset_id}.html", card.encode())


def _told(config: LoopConfig) -> dict[str, str | int | float | None]:
    settings = config.synthesis.model_dump(exclude={"styles", "seed"})
    return {**settings, "styles": ", ".join(config.synthesis.styles), "synthesis_seed": config.synthesis.seed}
