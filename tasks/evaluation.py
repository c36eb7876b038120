"""Have a System answer the eval set and judge its answers."""

from prefect import task

from csift import cycles, forgetting, registry
from csift.bedrock import system_of
from csift.config import LoopConfig
from csift.db import database
from csift.evaluation import evaluate as evaluate_system
from csift.rag import program_of, standard_program_hash
from csift.schemas import Adapter, CorpusSnapshot, CustomModel, EvalReport, EvalSet, GenerationParams, System
from tasks.bedrock import Ask, with_model
from tasks.collaborators import base_model, instruments, judge, retriever, store
from tasks.progress import reporter
from tasks.retrying import RETRIES


@task(name="champion", **RETRIES)
def current_champion(config: LoopConfig, snapshot: CorpusSnapshot) -> System:
    """The champion that the pointer names; in a new project the base model becomes it."""
    return registry.bootstrap_champion(database(), config.project, _configured(config, snapshot, None))


@task(name="challenger", **RETRIES)
def new_challenger(config: LoopConfig, snapshot: CorpusSnapshot, trained: Adapter | CustomModel) -> System:
    """The configured System with the new adapter, or with Bedrock's model in place of its own."""
    if isinstance(trained, CustomModel):
        return system_of(trained, _configured(config, snapshot, None))
    return _configured(config, snapshot, trained.id)


def _configured(config: LoopConfig, snapshot: CorpusSnapshot, adapter_id: str | None) -> System:
    base = base_model(config.training.base_model)
    return System.of(
        base_model=base.name,
        base_revision=base.revision,
        adapter_id=adapter_id,
        program="standard",
        program_hash=standard_program_hash(),
        snapshot_id=snapshot.id,
        embedder=retriever(config).id,
        k=config.retrieval.k,
        generation=GenerationParams(),
    )


@task(name="evaluate", task_run_name="evaluate {role}", **RETRIES)
def evaluate(cycle_id: str, config: LoopConfig, system: System, evalset: EvalSet, role: str) -> EvalReport:
    """Every question of the set through the System's program; answers and scores that exist are not made again.

    Under another judge the answers are not asked for again, as the ledger has them.

    A custom model is asked the general questions in the same go, as it is paid for while it serves.
    """
    db, show = database(), reporter(f"judge {role}")

    def work(ask: Ask) -> EvalReport:
        program = program_of(system, retriever(config), store())
        measured_with = instruments(config, system, cycle_id)
        report = evaluate_system(db, system, evalset, program, ask("rag"), judge(config, cycle_id), measured_with, show)
        if system.custom_model:
            forgetting.score(db, [system], lambda _: ask("general"), show)
        return report

    with cycles.stage(db, cycle_id, f"judge {role}") as made:
        registry.save_system(db, system)
        report = with_model(config, cycle_id, system, work)
        made.append(report.id)
    return report
