"""From the corpus and its labels to a DatasetVersion: a flow of its own, and the middle of the nightly one."""

from prefect import flow, unmapped
from prefect.states import Completed, State

from csift.config import LoopConfig
from csift.exceptions import CycleRunning
from csift.schemas import BackfillPlan, Cycle, CycleState, DatasetVersion, EvalSet, IngestReport, LabelSet, Teacher
from csift.synthesis import SynthesisResult
from tasks.backfill import teach, together, workers
from tasks.corpus import freeze_evalset, ingest, register_labels
from tasks.cycle import CycleRun, cycle, finish, skip, stage
from tasks.dataset import build_dataset as assemble
from tasks.dataset import prefer
from tasks.evaluation import current_champion
from tasks.progress import collect
from tasks.results import RECORDS, RESULT_STORAGE
from tasks.synthesis import accept, deal, gather, reword, tune_teacher, write


@flow(name="build-dataset", persist_result=True, result_storage=RESULT_STORAGE, result_serializer=RECORDS)
def build_dataset(config: LoopConfig) -> Cycle | State:
    """Ingests, synthesises and stores a DatasetVersion; nothing is trained. Ends as Skipped when another cycle goes on."""
    try:
        with cycle(config, "dataset") as run:
            ingested = ingest(run.id, config)
            labels = register_labels(run.id, config, ingested)
            evalset = freeze_evalset(run.id, config, labels)
            version = training_data(run, config, ingested, labels, evalset)
            return finish(run.id, CycleState.COMPLETED, f"dataset {version.id}")
    except CycleRunning as running:
        return Completed(name="Skipped", message=str(running), data=skip(config, "dataset", str(running)))


def training_data(
    run: CycleRun,
    config: LoopConfig,
    ingested: IngestReport,
    labels: LabelSet,
    evalset: EvalSet,
    plan: BackfillPlan | None = None,
) -> DatasetVersion:
    """Synthesis over the corpus in rounds, or over the partitions of a backfill; then preference pairs; then the dataset."""
    with stage(run, "synthesise"):
        teacher = tune_teacher(config, labels)
        synthetic = in_partitions(run, config, labels, teacher, plan) if plan else in_rounds(run, config, labels, teacher)
        champion = current_champion(config, ingested.snapshot)
        preferences = prefer(run.id, config, labels, synthetic, champion)
    return assemble(run.id, config, ingested.snapshot, labels, evalset, synthetic, preferences)


def in_rounds(run: CycleRun, config: LoopConfig, labels: LabelSet, teacher: Teacher) -> SynthesisResult:
    """The whole corpus, a task an assignment."""
    harvest = reword(run.id, config, labels, teacher)
    for number in range(config.synthesis.rounds):
        assignments = deal(run.id, config, labels, teacher, number, harvest)
        given = [unmapped(value) for value in (run.id, config, labels, teacher)]
        drafts = collect("synthesise", write.map(*given, assignments), harvest.written, config.synthesis.candidates)
        harvest = gather(config, labels, harvest, drafts)
    return accept(teacher, harvest)


def in_partitions(run: CycleRun, config: LoopConfig, labels: LabelSet, teacher: Teacher, plan: BackfillPlan) -> SynthesisResult:
    """A task a partition, several at once; what is done already is taken as it is."""
    with workers(plan.at_once) as (pool, stopped):
        given = {"run": run, "config": config, "labels": labels, "teacher": teacher, "stopped": stopped}
        alike = {name: unmapped(value) for name, value in given.items()}
        futures = pool.map(teach, {**alike, "partition": list(plan.partitions)})
        collect("partitions", futures, 0, len(futures))
    return together(plan)
