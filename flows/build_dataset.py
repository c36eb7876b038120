"""From the corpus and its labels to a DatasetVersion: a flow of its own, and the middle of the nightly one."""

from prefect import flow, unmapped
from prefect.states import Completed, State

from csift.config import LoopConfig
from csift.exceptions import CycleRunning
from csift.schemas import Cycle, CycleState, DatasetVersion, EvalSet, IngestReport, LabelSet
from tasks.corpus import freeze_evalset, ingest, register_labels
from tasks.cycle import CycleRun, cycle, finish, skip, stage
from tasks.dataset import build_dataset as assemble
from tasks.dataset import prefer
from tasks.evaluation import current_champion
from tasks.progress import collect
from tasks.results import RECORDS, RESULT_STORAGE
from tasks.synthesis import deal, gather, reword, tune_teacher, write


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
    run: CycleRun, config: LoopConfig, ingested: IngestReport, labels: LabelSet, evalset: EvalSet
) -> DatasetVersion:
    """Synthesis in rounds, a task an assignment; then preference pairs; then the dataset."""
    with stage(run, "synthesise"):
        teacher = tune_teacher(config, labels)
        harvest = reword(run.id, config, labels, teacher)
        for number in range(config.synthesis.rounds):
            assignments = deal(run.id, config, labels, teacher, number, harvest)
            given = [unmapped(value) for value in (run.id, config, labels, teacher)]
            drafts = collect("synthesise", write.map(*given, assignments), harvest.written, config.synthesis.candidates)
            harvest = gather(config, labels, harvest, drafts)
        champion = current_champion(config, ingested.snapshot)
        preferences = prefer(run.id, config, labels, harvest, champion)
    return assemble(run.id, config, ingested.snapshot, labels, evalset, teacher, harvest, preferences)
