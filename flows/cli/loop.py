"""`csift run`: a flow in this process, without a server, and what came of it."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import typer

from csift.config import load_config
from csift.exceptions import CycleRunning
from csift.schemas import Cycle, CycleState
from flows.cli import DEFAULT_CONFIG, Config, Debug, app, command

if TYPE_CHECKING:
    from prefect.states import State

run = typer.Typer(no_args_is_help=True, help="Run a flow in this process, without a server.")
app.add_typer(run, name="run")


@command(run, "nightly")
def nightly(config: Config = DEFAULT_CONFIG, debug: Debug = False) -> int:
    """Drift check, synthesis, training, judging; promotes the challenger when it is better."""
    loaded = load_config(config)
    from flows.nightly import nightly as flow

    return run_flow(lambda: flow(loaded, return_state=True))


@command(run, "build-dataset")
def build_dataset(config: Config = DEFAULT_CONFIG, debug: Debug = False) -> int:
    """Ingest, synthesis and a new dataset with its data card; nothing is trained."""
    loaded = load_config(config)
    from flows.build_dataset import build_dataset as flow

    return run_flow(lambda: flow(loaded, return_state=True))


@command(run, "monitor")
def monitor(config: Config = DEFAULT_CONFIG, debug: Debug = False) -> int:
    """Do the champion's answers hold, and has the traffic changed? Exit code 1 when not."""
    loaded = load_config(config)
    from csift import registry
    from csift.db import database
    from csift.reports import status_console
    from csift.schemas import DriftReport, MonitorReport
    from flows.monitor import monitor as flow
    from tasks.results import result_storage

    db = database()
    result_storage()
    seen: MonitorReport = flow(loaded, return_state=True).result()
    drift = registry.load(db, DriftReport, seen.drift_id or "")
    status_console.print_monitor(seen, drift)
    return 1 if drift.drifted or (seen.accuracy and seen.accuracy.regressed) else 0


def run_flow(start: "Callable[[], State[Any]]") -> int:
    """Runs a flow with progress bars and prints what came of it. Raises CycleRunning when another cycle goes on."""
    from csift.db import database
    from csift.reports import console
    from tasks.progress import show_in
    from tasks.results import result_storage

    database()  # a wrong URL is told before anything starts
    with console.ProgressBars() as bars, show_in(bars):
        result_storage()
        cycle: Cycle = start().result()
    return _tell(cycle)


def _tell(cycle: Cycle) -> int:
    from csift import backfill, forgetting, registry
    from csift.db import database
    from csift.reports import run_console
    from csift.reports.backfill import print_partitions
    from csift.schemas import DatasetVersion, DriftReport, EvalReport, EvalSet, PromotionDecision

    db = database()
    if cycle.state is CycleState.SKIPPED:
        raise CycleRunning(f"skipped: {cycle.reason}")
    if plan := backfill.plan_of(db, cycle):
        print_partitions(backfill.states(db, plan), plan)
    if cycle.trigger == "dataset":
        return _tell_dataset(cycle)
    if cycle.state is CycleState.NOTHING_NEW:
        run_console.print_nothing_new(cycle, registry.champion(db, cycle.project))
        return 0
    decision = registry.load(db, PromotionDecision, cycle.decision_id or "")
    champion, challenger = (
        registry.load(db, EvalReport, id_)
        for id_ in (decision.evidence.champion_report_id, decision.evidence.challenger_report_id)
    )
    dataset = next(stage.record_id for stage in cycle.stages if stage.stage == "dataset")
    run_console.print_inputs(
        registry.load(db, DriftReport, cycle.drift_id or ""),
        registry.load(db, EvalSet, decision.evidence.evalset_id),
        registry.load(db, DatasetVersion, dataset or ""),
    )
    retention = forgetting.of_cycle(db, cycle)
    run_console.print_cycle(cycle, decision, champion, challenger, retention, cycle.report_uri)
    return 0


def _tell_dataset(cycle: Cycle) -> int:
    from csift import dataset
    from csift.db import database
    from csift.reports.dataset import print_dataset
    from tasks.collaborators import store

    version = next(stage.record_id for stage in cycle.stages if stage.stage == "dataset") or ""
    stored = dataset.find(database(), cycle.project, version)
    print_dataset(dataset.read_view(database(), cycle.project, stored, store().uri(f"data-cards/{version}.html")))
    return 0
