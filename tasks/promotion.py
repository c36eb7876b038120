"""Decide, and move the champion."""

from prefect import task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE

from csift import alerts, cycles, promotion, registry
from csift.config import LoopConfig
from csift.db import database
from csift.judges.calibration import require_calibrated
from csift.leases import Lease
from csift.reports.decision import page_key, publish_decision
from csift.reports.verdicts import outlook_sentence
from csift.schemas import ChampionMove, EvalReport, EvalSet, Outlook, PromotionDecision, Retention, System
from tasks.collaborators import judge, store
from tasks.events import send
from tasks.progress import reporter
from tasks.retrying import RETRIES


@task(name="gate outlook", cache_policy=NO_CACHE, **RETRIES)
def foresee(config: LoopConfig, evalset: EvalSet) -> Outlook:
    """What tonight's decision can tell, before anything is spent on it. Raises GateError when the gate may not take the judge."""
    db = database()
    policy = config.gate.policy
    require_calibrated(db, judge(config).id, config.judge.name, policy.min_agreement)
    told = outlook_of(config, evalset)
    if told.low:
        send(alerts.evalset_exhausted(config.project, evalset.id, outlook_sentence(told)))
    reporter("gate")("gate", 1, 1, outlook_sentence(told))
    create_markdown_artifact(key="gate-outlook", markdown=outlook_sentence(told), description="What the gate can tell")
    return told


@task(name="decide", **RETRIES)
def decide(
    cycle_id: str, config: LoopConfig, champion: EvalReport, challenger: EvalReport, evalset: EvalSet, retention: Retention
) -> PromotionDecision:
    """The gate's verdict, stored with everything it was decided on. Evidence that was decided on before is not decided anew."""
    db, policy = database(), config.gate.policy
    with cycles.stage(db, cycle_id, "decide") as made:
        require_calibrated(db, champion.judge_id, config.judge.name, policy.min_agreement)
        evidence = promotion.pair(champion, challenger, evalset, retention, registry.won_before(db, config.project))
        decision = registry.find(db, PromotionDecision, promotion.decision_id(evidence, policy))
        if decision is None:
            history = registry.history(db, config.project, evalset.life)
            decision = registry.save_decision(db, promotion.decide(evidence, history, policy))
        publish_decision(store(), decision)
        cycles.note(db, cycle_id, decision_id=decision.id)
        made.append(decision.id)
    create_table_artifact(key="decision", table=_rows(decision), description=f"{decision.verdict}: {decision.reason}")
    return decision


def outlook_of(config: LoopConfig, evalset: EvalSet) -> Outlook:
    """What the next decision on a set of the project can tell."""
    db, policy = database(), config.gate.policy
    items = promotion.target_items(evalset, registry.won_before(db, config.project), policy)
    return promotion.outlook(items, registry.history(db, config.project, evalset.life), policy)


def _rows(decision: PromotionDecision) -> list[dict[str, str]]:
    def row(name: str, interval: object) -> dict[str, str]:
        return {"": name, **{key: f"{100 * value:.1f}" for key, value in interval.model_dump().items()}}  # type: ignore[attr-defined]

    return [
        row("champion accuracy, %", decision.champion_accuracy),
        row("challenger accuracy, %", decision.challenger_accuracy),
        row("paired difference, points", decision.difference),
    ]


@task(name="promote", cache_policy=NO_CACHE, **RETRIES)
def promote(cycle_id: str, decision: PromotionDecision, base: System, challenger: System, lease: Lease) -> ChampionMove | None:
    """One atomic pointer move."""
    with cycles.stage(database(), cycle_id, "promote") as made:
        move = registry.promote(database(), decision, base, challenger, lease)
        if move:
            send(alerts.promotion_made(move.project, decision, store().uri(page_key(decision.id))))
        made.append(challenger.id)
    return move
