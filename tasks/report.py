"""Write the run report."""

from pathlib import Path

from prefect import task
from prefect.artifacts import create_link_artifact
from prefect.cache_policies import NO_CACHE

from csift import cycles, registry
from csift.db import database
from csift.reports.run_report import RunReport, render_run_report
from csift.schemas import (
    DatasetVersion,
    DriftReport,
    EvalReport,
    EvalSet,
    LabelSet,
    PromotionDecision,
    System,
)
from tasks.collaborators import store


@task(name="report", cache_policy=NO_CACHE)
def write_report(
    cycle_id: str,
    champion: System,
    champion_report: EvalReport,
    challenger: System,
    challenger_report: EvalReport,
    decision: PromotionDecision,
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
            losses=tuple(registry.load_losses(db, challenger.adapter_id)) if challenger.adapter_id else (),
            dataset=dataset,
            retired=labels.retired,
            drift=drift,
            evalset=evalset,
        )
        uri = store().put(f"reports/{cycle_id}.html", render_run_report(run).encode())
        cycles.note(db, cycle_id, report_uri=uri)
    create_link_artifact(Path(uri).as_uri(), key="run-report", link_text="Run report", description=decision.reason)
    return uri
