"""Write the run report."""

from prefect import task
from prefect.artifacts import create_link_artifact
from prefect.cache_policies import NO_CACHE

from csift import cycles, registry
from csift.db import Database, database
from csift.reports.run_report import RunReport, render_run_report
from csift.schemas import (
    Adapter,
    DatasetVersion,
    DriftReport,
    EvalReport,
    EvalSet,
    LabelSet,
    PromotionDecision,
    Retention,
    StageLosses,
    System,
)
from tasks.collaborators import link, store
from tasks.retrying import RETRIES


@task(name="report", cache_policy=NO_CACHE, **RETRIES)
def write_report(
    cycle_id: str,
    champion: System,
    champion_report: EvalReport,
    challenger: System,
    challenger_report: EvalReport,
    decision: PromotionDecision,
    retention: Retention,
    dataset: DatasetVersion,
    labels: LabelSet,
    evalset: EvalSet,
    drift: DriftReport,
) -> str:
    """One self-contained HTML file; returns its path."""
    db = database()
    with cycles.stage(db, cycle_id, "report"):
        run = RunReport(
            project=evalset.project,
            cycle=cycles.load(db, cycle_id),
            champion=champion,
            champion_report=champion_report,
            challenger=challenger,
            challenger_report=challenger_report,
            decision=decision,
            retention=retention,
            losses=_losses(db, challenger),
            dataset=dataset,
            retired=labels.retired,
            drift=drift,
            evalset=evalset,
        )
        uri = store().put(f"reports/{cycle_id}.html", render_run_report(run).encode())
        cycles.note(db, cycle_id, report_uri=uri)
    create_link_artifact(link(uri), key="run-report", link_text="Run report", description=decision.reason)
    return uri


def _losses(db: Database, challenger: System) -> tuple[StageLosses, ...]:
    """Each stage's curve."""
    if challenger.custom_model:
        model, _ = registry.custom_model_of(db, challenger)
        return (StageLosses(method=model.method, points=tuple(registry.load_losses(db, model.name))),)
    if challenger.adapter_id is None:
        return ()
    return registry.stage_losses(db, registry.load(db, Adapter, challenger.adapter_id))
