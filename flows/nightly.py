"""The whole loop: drift check → synthesise → retrain → judge → promote if improved."""

from typing import Literal

from prefect import flow
from prefect.states import Completed, State

from csift.backfill import BackfillRequest
from csift.config import LoopConfig
from csift.exceptions import CycleRunning
from csift.schemas import Cycle, CycleState
from flows.build_dataset import training_data
from tasks.approval import ask
from tasks.backfill import divide
from tasks.bedrock import delete_left
from tasks.corpus import freeze_evalset, ingest, register_labels
from tasks.cycle import CycleRun, cycle, decide_trigger, finish, skip
from tasks.drift import check_drift
from tasks.evaluation import current_champion, evaluate, new_challenger
from tasks.feedback import criticise
from tasks.forgetting import score_forgetting
from tasks.promotion import decide, foresee, promote
from tasks.report import write_report
from tasks.results import RECORDS, RESULT_STORAGE
from tasks.training import train


@flow(name="nightly", persist_result=True, result_storage=RESULT_STORAGE, result_serializer=RECORDS)
def nightly(config: LoopConfig, trigger: Literal["schedule", "manual"] = "manual") -> Cycle | State:
    """One turn of the loop. Ends as Skipped when another cycle of the project goes on.

    Args:
        trigger: What starts it; schedule keeps the cooldown of [trigger].
    """
    return one_cycle(config, trigger)


def one_cycle(config: LoopConfig, trigger: str, request: BackfillRequest | None = None) -> Cycle | State:
    """A turn of the loop under the project's lease."""
    try:
        with cycle(config, trigger) as run:
            return turn(run, config, request)
    except CycleRunning as running:
        return Completed(name="Skipped", message=str(running), data=skip(config, trigger, str(running)))


def turn(run: CycleRun, config: LoopConfig, request: BackfillRequest | None = None) -> Cycle:
    """The stages in order. Each is keyed by what goes into it, so what was done before is not done again."""
    if config.training.bedrock:
        delete_left(config)
    drift = check_drift(run.id, config)
    ingested = ingest(run.id, config)
    labels = register_labels(run.id, config, ingested)
    evalset = freeze_evalset(run.id, config, labels)
    if config.feedback.critic:
        criticise(run.id, config)
    plan = divide(run.id, config, request, ingested) if request else None
    trigger = decide_trigger(run.id, config, labels, evalset, drift, plan)
    if not trigger.train:
        return finish(run.id, CycleState.NOTHING_NEW, trigger.reason)

    foresee(config, evalset)
    dataset = training_data(run, config, ingested, labels, evalset, plan)
    trained = train(run.id, config, dataset)

    base = current_champion(config, ingested.snapshot)
    champion = base.on(ingested.snapshot.id)  # both answer over the corpus as it is now
    challenger = new_challenger(config, ingested.snapshot, trained)
    if challenger == champion:  # promoted by a run that was killed before it could say so, or inputs that came back
        return finish(run.id, CycleState.NOTHING_NEW, "the champion was made from these inputs already")
    champion_report = evaluate(run.id, config, champion, evalset, "champion")
    challenger_report = evaluate(run.id, config, challenger, evalset, "challenger")
    retention = score_forgetting(run.id, config, champion, challenger)
    decision = decide(run.id, config, champion_report, challenger_report, evalset, retention)
    write_report(
        run.id,
        champion,
        champion_report,
        challenger,
        challenger_report,
        decision,
        retention,
        dataset,
        labels,
        evalset,
        drift,
    )
    if not config.gate.promote or decision.verdict != "PROMOTE":
        return finish(run.id, CycleState.COMPLETED, decision.reason)
    if config.gate.approval_hours is not None:
        return finish(run.id, CycleState.COMPLETED, ask(run.id, decision, config.gate.approval_hours, run.lease))
    promote(run.id, decision, base, challenger, run.lease)
    return finish(run.id, CycleState.COMPLETED, decision.reason)
