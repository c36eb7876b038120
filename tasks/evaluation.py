"""Have a System answer the eval set and judge its answers."""

from prefect import task

from csift import cycles, registry
from csift.config import LoopConfig
from csift.db import database
from csift.evaluation import evaluate as evaluate_system
from csift.rag import standard_program, standard_program_hash
from csift.schemas import Adapter, CorpusSnapshot, EvalReport, EvalSet, GenerationParams, System
from tasks.collaborators import answering, base_model, judge, retriever
from tasks.progress import reporter


@task(name="champion")
def current_champion(config: LoopConfig, snapshot: CorpusSnapshot) -> System:
    """The champion that the pointer names; in a new project the base model becomes it."""
    return registry.bootstrap_champion(database(), config.project, _configured(config, snapshot, None))


@task(name="challenger")
def new_challenger(config: LoopConfig, snapshot: CorpusSnapshot, adapter: Adapter) -> System:
    """The configured System with the new adapter."""
    return _configured(config, snapshot, adapter.id)


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


@task(name="evaluate", task_run_name="evaluate {role}")
def evaluate(cycle_id: str, config: LoopConfig, system: System, evalset: EvalSet, role: str) -> EvalReport:
    """Every question of the set through the System's program; answers and scores that exist are not made again."""
    db = database()
    with cycles.stage(db, cycle_id, f"judge {role}") as made:
        registry.save_system(db, system)
        model = answering(base_model(system.base_model), cycle_id, "rag", system.adapter_id)
        program = standard_program(retriever(config), system.k)
        report = evaluate_system(db, system, evalset, program, model, judge(config), reporter(f"judge {role}"))
        made.append(report.id)
    return report
