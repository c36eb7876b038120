"""The cycle around the stages: the project's lease, the row in Postgres, how it ended."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger
from prefect.runtime import flow_run
from prefect.utilities.urls import url_for

from csift import alerts, approvals, cycles, feedback, registry, triggers
from csift.config import LoopConfig
from csift.db import database
from csift.db.connection import CUT
from csift.exceptions import BudgetExhausted, DatabaseError
from csift.leases import Lease, cycle_lease, hold
from csift.schemas import BackfillPlan, Cycle, CycleInputs, CycleState, DriftReport, EvalSet, LabelSet, Trigger
from csift.telemetry.context import inside
from tasks.drift import watch
from tasks.events import COMPLETED, emit, send
from tasks.retrying import RETRIES

LEFT = (*CUT, DatabaseError)  # how it is told that Postgres is away


@dataclass(frozen=True)
class CycleRun:
    """A cycle that goes on, and the lease it holds."""

    id: str
    lease: Lease


def scheduled_time() -> datetime:
    """When the present flow run was meant to start."""
    return flow_run.scheduled_start_time


@contextmanager
def cycle(config: LoopConfig, trigger: str) -> Iterator[CycleRun]:
    """Holds the project's lease and keeps the cycle's row true, however the block ends.

    Raises:
        CycleRunning: another cycle of the project goes on.
    """
    with ExitStack() as held:
        try:
            db = database()
            lease = held.enter_context(hold(db, cycle_lease(config.project)))
            approvals.close_expired(db, config.project)
            id_ = cycles.begin(db, config.project, trigger, scheduled_time())
            cycles.note(db, id_, run_url=url_for("flow-run", flow_run.id))
        except LEFT as error:
            send(alerts.cycle_unrecorded(config.project, trigger, str(error)))
            raise
        try:
            with inside(project=config.project, cycle=id_, run=str(flow_run.id)):
                yield CycleRun(id_, lease)
        except Exception as error:
            send(_failed(config, trigger, id_, error))
            raise
        except BaseException:  # Ctrl-C, or Prefect's cancellation
            cycles.note(
                db,
                id_,
                state=CycleState.INTERRUPTED,
                reason="stopped by a person or by Prefect; the next run continues",
            )
            raise


def _failed(config: LoopConfig, trigger: str, id_: str, error: Exception) -> alerts.Alert:
    """Writes down that the cycle failed, and what people are told of it."""
    db = database()
    try:
        cycles.note(db, id_, state=CycleState.FAILED, reason=str(error))
        return alerts.cycle_failed(cycles.load(db, id_), isinstance(error, BudgetExhausted))
    except LEFT:  # the next cycle finds it running and marks it as cut off
        return alerts.cycle_unrecorded(config.project, trigger, str(error))


@contextmanager
def stage(run: CycleRun, name: str) -> Iterator[None]:
    """Times a stage that consists of several tasks."""
    with cycles.stage(database(), run.id, name):
        yield


@task(name="decide whether to train", cache_policy=NO_CACHE, **RETRIES)
def decide_trigger(
    cycle_id: str, config: LoopConfig, labels: LabelSet, evalset: EvalSet, drift: DriftReport, plan: BackfillPlan | None
) -> Trigger:
    """Compares all that this cycle would learn from, a backfill's partitions too, with what the last decision was made on."""
    db = database()
    last = cycles.last_decided(db, config.project)
    before = registry.find(db, CycleInputs, last.fingerprint) if last and last.fingerprint else None
    inputs = triggers.inputs(
        config, labels, evalset, feedback.lessons(db, config.project, config.feedback), plan.partitions if plan else ()
    )
    registry.save_inputs(db, inputs)
    log = registry.champion_log(db, config.project)
    seen = triggers.Circumstances(
        scheduled=cycles.load(db, cycle_id).trigger == "schedule",
        hours=(datetime.now(UTC) - last.scheduled_at).total_seconds() / 3600 if last else None,
        deleted=any(made.datasets and made.at >= last.scheduled_at for made in registry.deletions(db, config.project))
        if last
        else False,
        drifted=drift.drifted,
        accuracy=watch(config, log[0].at if log else None),
    )
    trigger = triggers.should_train(inputs, before, config.trigger, seen)
    cycles.note(db, cycle_id, fingerprint=trigger.fingerprint, drift_id=drift.id)
    get_run_logger().info("%s: %s", "training" if trigger.train else "nothing to train", trigger.reason)
    return trigger


@task(name="finish", cache_policy=NO_CACHE, **RETRIES)
def finish(cycle_id: str, state: CycleState, reason: str) -> Cycle:
    """Closes the cycle."""
    cycles.note(database(), cycle_id, state=state, reason=reason)
    ended = cycles.load(database(), cycle_id)
    emit(COMPLETED, ended.project, {"cycle": ended.id, "state": ended.state.value, "reason": reason})
    return ended


@task(name="skip", cache_policy=NO_CACHE, **RETRIES)
def skip(config: LoopConfig, trigger: str, reason: str) -> Cycle:
    """Records that this cycle did not start."""
    return cycles.skip(database(), config.project, trigger, scheduled_time(), reason)
