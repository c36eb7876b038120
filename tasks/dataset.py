"""Have the teacher write training data, and build the dataset."""

from prefect import task

from csift import cycles, dataset, synthesis
from csift.config import LoopConfig
from csift.db import database
from csift.labels import document_splits
from csift.prompts import signature_hash
from csift.schemas import DatasetVersion, EvalSet, LabelSet, SynthesisReport
from csift.synthesis import SynthesisResult, question_signature
from tasks.collaborators import base_model, chunks, embedder, gathering, index
from tasks.progress import reporter


@task(name="synthesise")
def synthesise(cycle_id: str, config: LoopConfig, labels: LabelSet) -> SynthesisResult:
    """The teacher writes questions about documents that may be trained on; every call is in the ledger."""
    db = database()
    with cycles.stage(db, cycle_id, "synthesise"):
        with db.session() as session:
            splits = document_splits(session, config.project)
        trainable = [chunk for chunk in chunks(labels.snapshot_id) if splits[chunk.document_id] == "train"]
        teacher = base_model(config.teacher.model)
        return synthesis.synthesise(
            gathering(teacher, cycle_id, "teacher"),
            f"{teacher.name}@{teacher.revision}",
            trainable,
            labels.of_split("train"),
            config.synthesis.candidates,
            config.synthesis.demonstrations,
            config.synthesis.seed,
            reporter("synthesise"),
        )


@task(name="build dataset")
def build_dataset(
    cycle_id: str, config: LoopConfig, labels: LabelSet, evalset: EvalSet, synthetic: SynthesisResult
) -> DatasetVersion:
    """Human and synthetic examples, without duplicates and without leaks of eval and golden questions."""
    with cycles.stage(database(), cycle_id, "dataset") as made:
        held_out = dataset.from_labels([*labels.of_split("eval"), *labels.of_split("golden")])
        protected = [(example.question, example.answer) for example in held_out]
        candidates = [*dataset.from_labels(labels.of_split("train")), *synthetic.examples]
        kept, rejected = dataset.clean(candidates, protected, embedder(), config.dataset)
        rows = dataset.with_contexts(kept, index(config.project), chunks(labels.snapshot_id), config.retrieval.k)
        of_teacher = [*synthetic.rejections, *(entry for entry in rejected if entry.question in _questions(synthetic))]
        report = SynthesisReport(
            candidates=synthetic.candidates,
            accepted=sum(row.source == "synthetic" for row in rows),
            rejected=synthesis.count_reasons(of_teacher),
            samples=synthesis.sample_rejections(of_teacher),
        )
        recipe: dict[str, str | int | float | None] = {
            "teacher": config.teacher.model,
            "teacher_prompt": signature_hash(question_signature()),
            "candidates": config.synthesis.candidates,
            "k": config.retrieval.k,
            "leak": config.dataset.leak,
            "near_duplicate": config.dataset.near_duplicate,
        }
        version = dataset.save(
            database(),
            rows,
            snapshot_id=labels.snapshot_id,
            evalset_id=evalset.id,
            recipe=recipe,
            synthesis=report,
            rejected=rejected,
        )
        made.append(version.id)
    return version


def _questions(synthetic: SynthesisResult) -> set[str]:
    return {example.question for example in synthetic.examples}
