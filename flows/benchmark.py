"""The methods side by side on the same held-out questions; nothing is promoted."""

from prefect import flow
from prefect.states import Completed, State

from csift.benchmarks import Benchmark, arm_of
from csift.config import LoopConfig
from csift.exceptions import CycleRunning
from csift.schemas import CycleState
from flows.build_dataset import training_data
from tasks.benchmark import choose_retrieval, cut_corpus, judge_arm, plan_arms, train_arm, with_synthetic, write_benchmark
from tasks.corpus import freeze_evalset, ingest, register_labels
from tasks.cycle import CycleRun, cycle, finish, skip
from tasks.results import RECORDS, RESULT_STORAGE


@flow(name="benchmark", persist_result=True, result_storage=RESULT_STORAGE, result_serializer=RECORDS)
def benchmark(config: LoopConfig, arms: list[str] | None = None, golden: bool = False) -> Benchmark | State:
    """The table of the arms named, or of those in the configuration. Ends as Skipped when another cycle goes on.

    Args:
        arms: What is compared, in place of benchmark.arms; docs/benchmark.md has every name.
        golden: Compare on the golden part of the questions.
    """
    try:
        with cycle(config, "benchmark") as run:
            table = compare(run, config, plan_arms(config, arms or []), golden)
            finish(run.id, CycleState.COMPLETED, f"{table.id}: {len(table.rows)} arms on {table.questions} questions")
            return table
    except CycleRunning as running:
        return Completed(name="Skipped", message=str(running), data=skip(config, "benchmark", str(running)))


def compare(run: CycleRun, config: LoopConfig, names: list[str], golden: bool) -> Benchmark:
    """Arm by arm. What was trained, compiled, asked or judged before is not done again."""
    cut = cut_corpus(run.id, config)
    ingested = ingest(run.id, config)
    labels = register_labels(run.id, config, ingested)
    evalset = freeze_evalset(run.id, config, labels)
    setup = choose_retrieval(run.id, config, cut, ingested, labels, evalset, golden)
    if any(arm_of(name).synthetic for name in names):
        setup = with_synthetic(setup, training_data(run, config, ingested, labels, evalset))
    judged = []
    for name in names:
        adapter = train_arm(run.id, config, setup, labels, name)
        judged.append(judge_arm(run.id, config, setup, labels, name, adapter))
    return write_benchmark(run.id, config, setup, judged, golden)
