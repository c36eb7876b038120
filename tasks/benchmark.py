"""The arms of the methods benchmark: what they share, their adapters, their answers, the table."""

from prefect import task
from prefect.artifacts import create_link_artifact
from prefect.cache_policies import NO_CACHE

from csift import benchmarks, cycles, registry
from csift.benchmarks import Benchmark, JudgedArm, Setup
from csift.config import LoopConfig
from csift.corpus import ingest as ingest_corpus
from csift.db import database
from csift.evaluation import evaluate
from csift.exceptions import ConfigError
from csift.llm import is_served
from csift.reports.benchmark import render_benchmark
from csift.reports.run_report import href
from csift.schemas import Adapter, DatasetVersion, EvalSet, IngestReport, LabelSet
from tasks.arms import adapter_of, asked, cell, golden_set, judges, kept_by_aws, pair_judges, retrieval_embedder, rows_of
from tasks.collaborators import chunks, instruments, store
from tasks.progress import reporter
from tasks.retrying import RETRIES


@task(name="plan arms", cache_policy=NO_CACHE, **RETRIES)
def plan_arms(config: LoopConfig, names: list[str]) -> list[str]:
    """The arms that are meant, checked before anything is done. Raises ConfigError for an unknown arm, or one that needs a prompt
    model where none is named."""
    arms = benchmarks.arms_of(names or config.benchmark.arms)
    writing = [arm.name for arm in arms if arm.how in ("mipro", "gepa")]
    if writing and not (config.benchmark.prompt_model and is_served(config.benchmark.prompt_model)):
        raise ConfigError(
            f"{writing[0]} needs a model that writes instructions; name a served one (bedrock/... or openai/...) in "
            "benchmark.prompt_model, or leave the arm out"
        )
    return [arm.name for arm in arms]


@task(name="cut corpus", **RETRIES)
def cut_corpus(cycle_id: str, config: LoopConfig) -> dict[str, str]:
    """Chunk size → snapshot of the corpus in chunks of that size; the project's own index stays as it is."""
    sizes = (config.corpus.chunk_size,) if kept_by_aws(config) else config.benchmark.chunk_sizes
    cut: dict[str, str] = {}
    with cycles.stage(database(), cycle_id, "cut corpus"):
        for size in sizes:
            update = {"chunk_size": size, "chunk_overlap": min(config.corpus.chunk_overlap, size // 2)}
            report = ingest_corpus(database(), None, config.project, config.corpus.model_copy(update=update), reporter("cut"))
            cut[str(size)] = report.snapshot.id
    return cut


@task(name="choose retrieval", **RETRIES)
def choose_retrieval(
    cycle_id: str,
    config: LoopConfig,
    cut: dict[str, str],
    ingested: IngestReport,
    labels: LabelSet,
    evalset: EvalSet,
    golden: bool,
) -> Setup:
    """Chunk size, number of chunks and retriever by retrieval accuracy on training questions; and which set is judged on."""
    with cycles.stage(database(), cycle_id, "choose retrieval"):
        sets = [evalset.id]
        if held_out := golden_set(config, labels):
            sets.insert(0 if golden else 1, held_out.id)
        elif golden:
            raise ConfigError("no question belongs to the golden part; give some rows split golden, or leave --golden out")
        if kept_by_aws(config):
            choice, snapshot_id, k = None, ingested.snapshot.id, config.retrieval.k
        else:
            told = config.benchmark
            texts = {int(size): chunks(id_) for size, id_ in cut.items()}
            choice = benchmarks.try_retrieval(
                labels.of_split("train"), texts, told.ks, told.retrievers, retrieval_embedder(config), told.excerpt_characters
            )
            snapshot_id, k = cut[str(choice.chosen.chunk_size)], choice.chosen.k
    return Setup(snapshot_id=snapshot_id, k=k, retrieval=choice, evalset_ids=tuple(sets), synthetic_of=None)


@task(name="with synthetic", cache_policy=NO_CACHE, **RETRIES)
def with_synthetic(setup: Setup, version: DatasetVersion) -> Setup:
    """The same with the synthetic questions of a dataset, for the arms that learn from them."""
    return setup.model_copy(update={"synthetic_of": version.id})


@task(name="train arm", task_run_name="train {name}", **RETRIES)
def train_arm(cycle_id: str, config: LoopConfig, setup: Setup, labels: LabelSet, name: str) -> Adapter | None:
    """The arm's adapter; one that exists is not trained again. None for an arm without."""
    arm = benchmarks.arm_of(name)
    if not arm.stages:
        return None
    with cycles.stage(database(), cycle_id, f"train {name}") as made:
        adapter = adapter_of(cycle_id, config, arm, rows_of(config, setup, labels, arm))
        made.append(adapter.id)
    return adapter


@task(name="judge arm", task_run_name="judge {name}", **RETRIES)
def judge_arm(cycle_id: str, config: LoopConfig, setup: Setup, labels: LabelSet, name: str, adapter: Adapter | None) -> JudgedArm:
    """Every question through the arm's program, judged by each judge. Answers and scores that exist are not made again."""
    db, show = database(), reporter(name)
    arm = benchmarks.arm_of(name)
    with cycles.stage(db, cycle_id, f"judge {name}") as made:
        data = rows_of(config, setup, labels, arm)
        system, program, model, compiled = asked(cycle_id, config, setup, labels, arm, data, adapter)
        registry.save_system(db, system)
        evalset = registry.load(db, EvalSet, setup.evalset_ids[0])
        measured_with = instruments(config, system, cycle_id)
        reports = {
            who: evaluate(db, system, evalset, program, model, by, measured_with, show).id
            for who, by in judges(config, cycle_id).items()
        }
        made.append(system.id)
    rows = len({row.id for row in data.rows}) if arm.stages else 0
    return JudgedArm(arm=name, system_id=system.id, reports=reports, trained_on=rows, compiled=compiled)


@task(name="write benchmark", cache_policy=NO_CACHE, **RETRIES)
def write_benchmark(cycle_id: str, config: LoopConfig, setup: Setup, judged: list[JudgedArm], golden: bool) -> Benchmark:
    """The table with its files: summary.csv, samples.json, report.html, benchmark.json."""
    db = database()
    with cycles.stage(db, cycle_id, "table") as made:
        cells = [cell(entry) for entry in judged]
        reference = next(one for one in cells if one.arm.name == benchmarks.REFERENCE)
        told = config.benchmark
        pricing = benchmarks.Pricing(told.questions_per_month, told.usd_per_hour)
        compared = [one for one in cells if one.arm.ablation]
        if compared:
            compared.insert(0, reference)
        table = Benchmark.of(
            project=config.project,
            at=cycles.load(db, cycle_id).scheduled_at,
            golden=golden,
            evalset_id=setup.evalset_ids[0],
            questions=len(reference.first.answers),
            snapshot_id=setup.snapshot_id,
            judges={who: by.id for who, by in judges(config, cycle_id).items()},
            questions_per_month=told.questions_per_month,
            usd_per_hour=told.usd_per_hour,
            retrieval=setup.retrieval,
            rows=tuple(benchmarks.row(one, reference, pricing) for one in cells),
            win_rates=tuple(
                benchmarks.win_rate(who, by, better, worse)
                for place, worse in enumerate(compared)
                for better in compared[place + 1 :]
                for who, by in pair_judges(config, cycle_id).items()
            ),
        )
        folder = f"benchmarks/{table.id}"
        store().put(f"{folder}/summary.csv", benchmarks.summary_csv(table).encode())
        store().put(f"{folder}/samples.json", benchmarks.samples_json(table, cells).encode())
        store().put(f"{folder}/benchmark.json", (table.model_dump_json(indent=1) + "\n").encode())
        uri = store().put(f"{folder}/report.html", render_benchmark(table, cells).encode())
        cycles.note(db, cycle_id, report_uri=uri)
        made.append(table.id)
    create_link_artifact(href(uri) or uri, key="benchmark", link_text="Benchmark", description=f"{len(cells)} arms")
    return table
