"""What an arm of the methods benchmark is built from: rows, adapter, program, model, judges."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from csift import benchmarks, dataset, evalsets, rag, registry, training
from csift.benchmarks import Arm, Cell, JudgedArm, MethodData, Setup, TokenF1
from csift.config import LoopConfig, RetrievalConfig, TrainingConfig
from csift.db import database
from csift.hashing import content_id
from csift.interfaces import Embedder, Judge, PairJudge, Program, Retriever
from csift.judges import PairByScore, PairwiseJudge
from csift.ledger import Budget, Ledger
from csift.llm import LanguageModel, is_served, remote_model
from csift.models import BaseModel
from csift.reports.wording import percent_interval
from csift.schemas import (
    Adapter,
    DatasetVersion,
    EvalReport,
    EvalSet,
    Example,
    GenerationParams,
    Label,
    LabelSet,
    PreferencePair,
    System,
)
from csift.settings import settings
from csift.training import Run
from tasks.collaborators import (
    answering,
    base_model,
    chunks,
    embedder,
    find_adapter,
    index,
    judge,
    judge_models,
    retriever,
    store,
    trainable_chunks,
)
from tasks.progress import reporter
from tasks.training import done_here

SECOND = "token F1"
EQUAL = 1e-9  # scores that differ by less are a tie
CHECKED = 32  # training questions that a compiled program is held against, one batch
NEED_PAIRS = {"dpo", "orpo", "kto", "reward"}


def golden_set(config: LoopConfig, labels: LabelSet) -> EvalSet | None:
    """The golden part as a set of its own, beside the project's eval sets; None where no question belongs to it."""
    golden = labels.of_split("golden")
    if not golden:
        return None
    as_eval = tuple(label.model_copy(update={"split": "eval"}) for label in golden)
    alone = LabelSet(snapshot_id=labels.snapshot_id, labels=as_eval, retired=())
    return evalsets.freeze(database(), f"{config.project}/golden", alone, 1)


def kept_by_aws(config: LoopConfig) -> bool:
    """Whether chunks are cut and found by somebody else, so that there is nothing to choose."""
    return config.retrieval.retriever == "bedrock-knowledge-base"


def retrieval_embedder(config: LoopConfig) -> Embedder:
    """What the project's own index embeds with."""
    held = index(config.project, config.retrieval)
    return held.embedder if held else embedder()


def retriever_of(config: LoopConfig, setup: Setup) -> Retriever:
    """The retriever that was chosen, over the snapshot that was chosen."""
    if setup.retrieval is None:
        return retriever(config)
    return _index(setup.retrieval.chosen.retriever, setup.snapshot_id, config.project, config.retrieval)


@lru_cache(maxsize=2)
def _index(kind: str, snapshot_id: str, project: str, told: RetrievalConfig) -> Retriever:
    """One object for all arms, so that the corpus is embedded once."""
    held = index(project, told)
    return benchmarks.index_over(kind, chunks(snapshot_id), held.embedder if held else embedder())


def rows_of(config: LoopConfig, setup: Setup, labels: LabelSet, arm: Arm) -> MethodData:
    """What an arm may learn from, made once for all arms that learn from the same.

    Raises:
        LabelError: a training question belongs to a set that is judged on.
    """
    people = benchmarks.choose_people(labels.of_split("train"), arm.people, config.benchmark.seed)
    read = "all" if arm.reads_all else "own" if "cpt" in arm.stages else "none"
    wanted = judge(config).id
    told = [config.project, *(part.model_dump(mode="json") for part in (config.retrieval, config.dataset, setup, labels))]
    key = content_id("lesson", [*told, [label.id for label in people], arm.synthetic, read, wanted])
    return _taught(_Lesson(key, lambda: _teach(config, setup, labels, people, arm.synthetic, read, wanted)))


@dataclass(frozen=True)
class _Lesson:
    key: str
    make: Callable[[], MethodData] = field(compare=False)


@lru_cache(maxsize=8)
def _taught(lesson: _Lesson) -> MethodData:
    return lesson.make()


def _teach(
    config: LoopConfig, setup: Setup, labels: LabelSet, people: Sequence[Label], synthetic: bool, read: str, judge_id: str
) -> MethodData:
    own, corpus = trainable_chunks(config.project, setup.snapshot_id), chunks(setup.snapshot_id)
    return benchmarks.teach(
        people,
        _synthetic(setup) if synthetic else (),
        [*labels.of_split("eval"), *labels.of_split("golden")],
        [registry.load(database(), EvalSet, id_) for id_ in setup.evalset_ids],
        corpus,
        {chunk.document_id for chunk in own},
        {"all": corpus, "own": own, "none": ()}[read],
        retriever_of(config, setup),
        setup.k,
        embedder(),
        config.dataset,
        judge_id,
    )


def _synthetic(setup: Setup) -> list[Example]:
    version = registry.load(database(), DatasetVersion, setup.synthetic_of or "")
    rows = {row.id: row for row in dataset.load_examples(database(), version)}
    return [row for row in rows.values() if row.source == "synthetic"]


def adapter_of(cycle_id: str, config: LoopConfig, arm: Arm, data: MethodData) -> Adapter:
    """The adapter of the arm's stages, trained here unless it exists.

    Raises:
        TrainingError: as csift.training.train.
    """
    base, told = base_model(config.training.base_model), _training(config, arm)
    id_ = training.final_id(base, data.id, told)
    if known := find_adapter(id_):
        return known
    pairs: tuple[PreferencePair, ...] = ()
    if NEED_PAIRS & set(arm.stages):
        first = adapter_of(cycle_id, config, benchmarks.arm_of("sft"), data) if arm.stages[0] == "sft" else None
        model = answering(base, cycle_id, "preferences", first.id if first else None)
        pairs = benchmarks.own_mistakes(model, judge(config, cycle_id), data, config.benchmark.mistakes_of, reporter("mistakes"))
    run = Run(
        base=base,
        data=data.training(pairs),
        dataset_id=data.id,
        config=told,
        store=store(),
        scratch=settings().root / "training",
        threads=settings().threads,
    )
    return done_here(id_, "benchmark", config.project, {}, lambda: run, reporter("train"))


def _training(config: LoopConfig, arm: Arm) -> TrainingConfig:
    """Here and in this process: the rows are in no table that a worker of the gpu pool reads."""
    here = {"methods": arm.stages, "run_on": "here", "launcher": "inprocess", "accelerate": None, "bedrock": None}
    return TrainingConfig.model_validate({**config.training.model_dump(), **here})


def asked(
    cycle_id: str, config: LoopConfig, setup: Setup, labels: LabelSet, arm: Arm, data: MethodData, adapter: Adapter | None
) -> tuple[System, Program, LanguageModel, str | None]:
    """The arm as a System, its program, its model, and how its program came about where an optimiser made it."""
    base = None if is_served(arm.model or "") else base_model(arm.model or config.training.base_model)
    model = answering(base, cycle_id, "rag", adapter.id if adapter else None) if base else _served(cycle_id, config, arm)
    program, compiled = _program(cycle_id, config, setup, labels, arm, data, model)
    system = _system(config, setup, arm, program, base, adapter)
    return system, program, model, compiled


def _served(cycle_id: str, config: LoopConfig, arm: Arm) -> LanguageModel:
    return _remote(config, cycle_id, arm.model or "", "rag")


def _remote(config: LoopConfig, cycle_id: str, spec: str, role: str) -> LanguageModel:
    return remote_model(
        spec,
        Ledger(database(), cycle_id),
        role,
        settings=settings(),
        concurrency=config.teacher.concurrency,
        max_tokens=config.benchmark.max_tokens,
        budget=Budget(config.budget.usd, config.budget.tokens),
    )


def _program(
    cycle_id: str, config: LoopConfig, setup: Setup, labels: LabelSet, arm: Arm, data: MethodData, model: LanguageModel
) -> tuple[Program, str | None]:
    if arm.how == "closed-book":
        return rag.closed_book_program(), None
    found = retriever_of(config, setup)
    if arm.how == "standard":
        return rag.standard_program(found, setup.k), None
    told, safe = config.benchmark, {row.question for row in data.rows}
    task = rag.Task(
        retriever=found,
        k=setup.k,
        model=model,
        judge=judge(config, cycle_id),
        labels=[label for label in labels.of_split("train") if label.question in safe],
        evalsets=[registry.load(database(), EvalSet, id_) for id_ in setup.evalset_ids],
        prompt_model=_remote(config, cycle_id, told.prompt_model, "prompts") if told.prompt_model else None,
        bootstrapped=told.bootstrapped,
        labelled=told.labelled,
        threads=config.teacher.concurrency if is_served(arm.model or "") else 1,
        seed=told.seed,
        max_failure_share=config.gate.max_failure_share,
    )
    compiled = rag.compile_program(arm.how, task, reporter("compile"))
    rag.save_compiled(store(), compiled)
    program = rag.optimised_program(found, setup.k, compiled)
    shown = {demo.question for demo in compiled.demonstrations}
    apart = [label for label in task.labels if label.question not in shown][:CHECKED]
    after, before = (
        percent_interval(rag.accuracy(one, model, task.judge, apart)) for one in (program, rag.standard_program(found, setup.k))
    )
    return program, f"{compiled.optimiser}; on {len(apart)} training questions that it does not show {after}, before {before}"


def _system(
    config: LoopConfig, setup: Setup, arm: Arm, program: Program, base: BaseModel | None, adapter: Adapter | None
) -> System:
    found = None if arm.closed_book else retriever_of(config, setup).id
    kind = {"closed-book": "closed-book", "standard": "standard"}.get(arm.how, "optimised")
    longest = GenerationParams() if base else GenerationParams(max_new_tokens=config.benchmark.max_tokens)
    return System.of(
        base_model=base.name if base else arm.model or "",
        base_revision=base.revision if base else "served",
        adapter_id=adapter.id if adapter else None,
        program=kind,
        program_hash=program.hash,
        snapshot_id=setup.snapshot_id,
        embedder=found or "none",
        k=setup.k if found else 0,
        generation=longest,
    )


def judges(config: LoopConfig, cycle_id: str | None = None) -> dict[str, Judge]:
    """Who scores the answers, the configured judge first."""
    return {config.judge.name: judge(config, cycle_id), SECOND: TokenF1()}


def pair_judges(config: LoopConfig, cycle_id: str | None = None) -> dict[str, PairJudge]:
    """Two that compare answers: the models that the configured judge asks, in both orders; else, by their scores, who scores."""
    asking = {model.id: PairwiseJudge(model) for model in judge_models(config, cycle_id)}
    scoring = {who: PairByScore(by, EQUAL) for who, by in judges(config, cycle_id).items()}
    if not asking:
        return dict(scoring)
    return dict(asking) if len(asking) > 1 else {**asking, SECOND: scoring[SECOND]}


def cell(judged: JudgedArm) -> Cell:
    """An arm with its System and reports."""
    db = database()
    return Cell(
        arm=benchmarks.arm_of(judged.arm),
        system=registry.load(db, System, judged.system_id),
        reports={who: registry.load(db, EvalReport, id_) for who, id_ in judged.reports.items()},
        trained_on=judged.trained_on,
        compiled=judged.compiled,
    )
