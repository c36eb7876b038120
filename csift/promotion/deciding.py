"""The decision: what is promoted, what is held, what is rejected."""

from collections.abc import Sequence

from csift.exceptions import GateError
from csift.hashing import content_id
from csift.intervals import paired_difference, wilson
from csift.promotion.pairing import ALL, GENERAL, SECONDS, TOKENS, in_target
from csift.promotion.reasons import reason
from csift.promotion.spending import decision_level, sign_test
from csift.schemas import (
    EvalSetHistory,
    Evidence,
    GatePolicy,
    GuardReading,
    GuardResult,
    Interval,
    PairedItem,
    PromotionDecision,
    SliceResult,
    Verdict,
)

WHOLE = "whole eval set"
ONE_SIDED_95 = 0.9  # the two-sided level whose either bound is a one-sided 95% bound


def decide(evidence: Evidence, history: EvalSetHistory, policy: GatePolicy) -> PromotionDecision:
    """PROMOTE, HOLD or REJECT, by the paired outcomes on the target set.

    Right and wrong of both Systems on the same questions are compared by an exact sign test at this decision's level (see
    csift.promotion.spending): REJECT when the challenger is worse, PROMOTE when it is better, every guard holds and no slice
    blocks, HOLD otherwise. An item whose judgement failed for either System leaves the pairs and counts as a failure; with more
    failures than `policy.max_failure_share` the decision is not conclusive: HOLD, and nothing of the eval set's budget is spent.

    Guards are non-inferiority tests, each passed when its one-sided 95% bound stays within the margin: the whole eval set where
    the target is a part of it, the general questions, seconds and tokens an answer. A slice blocks when its one-sided 95% upper
    bound is below zero; one too small to exclude a loss of the margin is not guarded, and listed so.

    The same evidence, history and policy give the same record.

    Raises:
        GateError: fewer items in the target than `policy.min_items`, or champion and challenger are the same System.
    """
    target = _target(evidence, policy)
    pairs = _Pairs(target)
    level = decision_level(history, policy.false_promotion_rate)
    better, worse = sign_test(pairs.wins, pairs.losses), sign_test(pairs.losses, pairs.wins)
    conclusive = pairs.failures / len(target) <= policy.max_failure_share
    slices = _slice_results(evidence.items, policy)
    guards = _guards(evidence, policy)
    told = {
        "champion_accuracy": wilson(pairs.champion, pairs.judged, policy.confidence),
        "challenger_accuracy": wilson(pairs.challenger, pairs.judged, policy.confidence),
        "difference": pairs.difference(policy.confidence),
        "wins": pairs.wins,
        "losses": pairs.losses,
        "ties": pairs.judged - pairs.wins - pairs.losses,
        "failures": pairs.failures,
        "p_value": better,
        "level": level,
        "conclusive": conclusive,
        "slices": slices,
        "guards": guards,
        "evidence": evidence,
        "history": history,
        "policy": policy,
    }
    verdict = _verdict(conclusive, better <= level, worse <= level, slices, guards)
    decision = PromotionDecision(id=decision_id(evidence, policy), verdict=verdict, reason="", **told)
    return decision.model_copy(update={"reason": reason(decision, worse)})


def decision_id(evidence: Evidence, policy: GatePolicy) -> str:
    """The id of the one decision on this evidence: decided again after a kill, it is found by it and spends nothing anew."""
    return content_id("decision", [evidence.model_dump(mode="json"), policy.model_dump(mode="json")])


def replay(decision: PromotionDecision) -> PromotionDecision:
    """Decides again from the decision's own evidence, history and policy; a sound record comes out identical.

    What people said to it afterwards is no part of the verdict and stays as it is.
    """
    again = decide(decision.evidence, decision.history, decision.policy)
    return again.model_copy(update={"approval": decision.approval})


def _target(evidence: Evidence, policy: GatePolicy) -> Sequence[PairedItem]:
    if evidence.champion_system_id == evidence.challenger_system_id:
        raise GateError(f"champion and challenger are both System {evidence.champion_system_id}; compare another one")
    target = [item for item in evidence.items if in_target(item.slices, policy)]
    if len(target) < policy.min_items:
        part = "" if policy.target == ALL else f" in “{policy.target}”, which gate.target names"
        raise GateError(
            f"eval set {evidence.evalset_id} has {len(target)} questions{part}, the gate needs {policy.min_items}; "
            "label more questions, or lower gate.min_items"
        )
    return target


def _verdict(
    conclusive: bool, better: bool, worse: bool, slices: Sequence[SliceResult], guards: Sequence[GuardResult]
) -> Verdict:
    if conclusive and worse:
        return Verdict.REJECT
    held = any(part.blocks for part in slices) or not all(guard.holds for guard in guards)
    return Verdict.PROMOTE if conclusive and better and not held else Verdict.HOLD


class _Pairs:
    """The items judged for both Systems, counted."""

    def __init__(self, items: Sequence[PairedItem]) -> None:
        judged = [(item.champion, item.challenger) for item in items if item.champion is not None and item.challenger is not None]
        self.judged, self.failures = len(judged), len(items) - len(judged)
        self.champion = sum(before > 0.5 for before, _ in judged)
        self.challenger = sum(after > 0.5 for _, after in judged)
        self.wins = sum(after > before for before, after in judged)
        self.losses = sum(after < before for before, after in judged)

    def difference(self, confidence: float) -> Interval:
        both = self.champion - self.losses
        return paired_difference(self.wins, self.losses, both, self.judged - both - self.wins - self.losses, confidence)


def _slice_results(items: Sequence[PairedItem], policy: GatePolicy) -> tuple[SliceResult, ...]:
    parts: dict[str, list[PairedItem]] = {}
    for item in items:
        for name in item.slices:
            parts.setdefault(name, []).append(item)
    return tuple(_slice_result(name, _Pairs(parts[name]), policy) for name in sorted(parts))


def _slice_result(name: str, pairs: _Pairs, policy: GatePolicy) -> SliceResult:
    bounds = pairs.difference(ONE_SIDED_95)
    return SliceResult(
        name=name, items=pairs.judged, difference=bounds, blocks=bounds.high < 0, guarded=bounds.low > -policy.margin
    )


def _guards(evidence: Evidence, policy: GatePolicy) -> tuple[GuardResult, ...]:
    limits = {GENERAL: -policy.general_margin, SECONDS: policy.max_slowdown, TOKENS: policy.max_tokens, WHOLE: -policy.margin}
    readings = evidence.readings if policy.target == ALL else (_whole(evidence), *evidence.readings)
    return tuple(
        GuardResult(
            reading=reading,
            limit=limits[reading.name],
            holds=reading.worst > limits[reading.name] if reading.kind == "points" else reading.worst <= limits[reading.name],
        )
        for reading in readings
    )


def _whole(evidence: Evidence) -> GuardReading:
    pairs = _Pairs(evidence.items)
    judged = max(pairs.judged, 1)
    return GuardReading(
        name=WHOLE,
        kind="points",
        champion=pairs.champion / judged,
        challenger=pairs.challenger / judged,
        worst=pairs.difference(ONE_SIDED_95).low,
    )
