"""Check the current window of questions for drift."""

from prefect import task
from prefect.artifacts import create_markdown_artifact

from csift import cycles, registry
from csift.config import LoopConfig
from csift.db import database
from csift.drift import check_drift as check
from csift.drift import drift_id, read_window
from csift.schemas import DriftReport
from tasks.collaborators import embedder, store


@task(name="check drift")
def check_drift(cycle_id: str, config: LoopConfig) -> DriftReport:
    """Reference against current questions; a pair of windows that was tested before is not tested again."""
    db = database()
    with cycles.stage(db, cycle_id, "drift") as made:
        reference, current = read_window(config.drift.reference), read_window(config.drift.current)
        known = registry.find(db, DriftReport, drift_id(reference, current, embedder(), config.drift))
        report = known or registry.save_drift(db, config.project, check(reference, current, embedder(), config.drift, store()))
        made.append(report.id)
    verdict = "Drift" if report.drifted else "No drift"
    create_markdown_artifact(
        f"**{verdict}**: p = {report.p_value:.4f} (alpha {report.alpha}), {report.units} sessions. Report: `{report.html_uri}`",
        key="drift",
        description="Drift of the customers' questions",
    )
    return report
