"""Decide, and move the champion."""

from prefect import task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE

from csift import cycles, promotion, registry
from csift.config import LoopConfig
from csift.db import database
from csift.leases import Lease
from csift.schemas import ChampionMove, EvalReport, EvalSet, GatePolicy, PromotionDecision, System


@task(name="decide")
def decide(
    cycle_id: str, config: LoopConfig, champion: EvalReport, challenger: EvalReport, evalset: EvalSet
) -> PromotionDecision:
    """The gate's verdict, stored with everything it was decided on."""
    db = database()
    with cycles.stage(db, cycle_id, "decide") as made:
        policy = GatePolicy.model_validate(config.gate.model_dump(exclude={"promote"}))
        decision = registry.save_decision(db, promotion.decide(promotion.pair(champion, challenger, evalset), policy))
        cycles.note(db, cycle_id, decision_id=decision.id)
        made.append(decision.id)
    create_table_artifact(key="decision", table=_rows(decision), description=f"{decision.verdict}: {decision.reason}")
    return decision


def _rows(decision: PromotionDecision) -> list[dict[str, str]]:
    def row(name: str, interval: object) -> dict[str, str]:
        return {"": name, **{key: f"{100 * value:.1f}" for key, value in interval.model_dump().items()}}  # type: ignore[attr-defined]

    return [
        row("champion accuracy, %", decision.champion_accuracy),
        row("challenger accuracy, %", decision.challenger_accuracy),
        row("paired difference, points", decision.difference),
    ]


@task(name="promote", cache_policy=NO_CACHE)
def promote(cycle_id: str, decision: PromotionDecision, base: System, challenger: System, lease: Lease) -> ChampionMove | None:
    """One atomic pointer move."""
    with cycles.stage(database(), cycle_id, "promote") as made:
        move = registry.promote(database(), decision, base, challenger, lease)
        made.append(challenger.id)
    return move
