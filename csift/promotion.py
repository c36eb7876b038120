"""The gate: pairs two reports on one eval set and decides whether the challenger becomes champion. Pure: no I/O."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from csift.exceptions import GateError
from csift.hashing import content_id
from csift.intervals import bootstrap_mean
from csift.schemas import (
    EvalItem,
    EvalReport,
    EvalSet,
    Evidence,
    GatePolicy,
    Interval,
    JudgedAnswer,
    PairedItem,
    PromotionDecision,
    SliceResult,
    Verdict,
)

MIN_SLICE_ITEMS = 2  # fewer say nothing about a slice, so they never block


def pair(champion: EvalReport, challenger: EvalReport, evalset: EvalSet) -> Evidence:
    """Both reports item by item, in order of item id, each item with the slices it belongs to.

    Raises:
        GateError: the reports are of other eval sets or judges, or their items are not exactly the eval set's.
    """
    for report in (champion, challenger):
        if report.evalset_id != evalset.id:
            raise GateError(f"report {report.id} is of eval set {report.evalset_id}, not {evalset.id}; evaluate on {evalset.id}")
    if champion.judge_id != challenger.judge_id:
        raise GateError(
            f"report {champion.id} was judged by {champion.judge_id}, report {challenger.id} by {challenger.judge_id}; "
            "judge both with one judge"
        )
    old, new = _outcomes(champion, evalset), _outcomes(challenger, evalset)
    return Evidence(
        project=evalset.project,
        champion_system_id=champion.system_id,
        challenger_system_id=challenger.system_id,
        evalset_id=evalset.id,
        judge_id=champion.judge_id,
        champion_report_id=champion.id,
        challenger_report_id=challenger.id,
        items=tuple(
            PairedItem(item_id=item.id, slices=_slices(item), champion=old[item.id], challenger=new[item.id])
            for item in sorted(evalset.items, key=lambda item: item.id)
        ),
    )


def _outcomes(report: EvalReport, evalset: EvalSet) -> dict[str, float | None]:
    answered = Counter(answer.item_id for answer in report.answers)
    wanted = Counter(item.id for item in evalset.items)
    if answered != wanted:
        odd = sorted({*(answered - wanted), *(wanted - answered)})
        raise GateError(
            f"report {report.id} does not have each item of eval set {evalset.id} exactly once ({len(odd)} differ, "
            f"first {odd[0]}); evaluate again"
        )
    return {answer.item_id: _outcome(answer) for answer in report.answers}


def _outcome(answer: JudgedAnswer) -> float | None:
    return None if answer.score is None or answer.failure is not None else float(answer.score.correct)


def _slices(item: EvalItem) -> tuple[str, ...]:
    return "guarded: unchanged documents" if item.guarded else "new questions", f"style: {item.style}"


def decide(evidence: Evidence, policy: GatePolicy) -> PromotionDecision:
    """PROMOTE when the paired difference's interval lies above zero, REJECT when below, HOLD otherwise.

    An item whose judgement failed for either System leaves the pairs and counts as a failure; all intervals are over
    the others. HOLD as well when the failures exceed `policy.max_failure_share` of the items, and when PROMOTE would be
    due but a slice got worse. The same evidence and policy give the same record.

    Raises:
        GateError: fewer items than `policy.min_items`, or champion and challenger are the same System.
    """
    if evidence.champion_system_id == evidence.challenger_system_id:
        raise GateError(f"champion and challenger are both System {evidence.champion_system_id}; compare another one")
    if len(evidence.items) < policy.min_items:
        raise GateError(
            f"eval set {evidence.evalset_id} has {len(evidence.items)} questions, the gate needs {policy.min_items}; "
            "label more questions, or lower gate.min_items"
        )
    pairs = _Pairs(evidence.items)
    difference = bootstrap_interval(pairs.differences, policy, span=(-1.0, 1.0))
    slices = _slice_results(pairs, policy)
    failures = len(evidence.items) - len(pairs.differences)
    verdict, reason = _verdict(difference, slices, failures, len(evidence.items), policy)
    return PromotionDecision(
        id=content_id("decision", [evidence.model_dump(mode="json"), policy.model_dump(mode="json")]),
        verdict=verdict,
        reason=reason,
        champion_accuracy=bootstrap_interval(pairs.champion, policy, span=(0.0, 1.0)),
        challenger_accuracy=bootstrap_interval(pairs.challenger, policy, span=(0.0, 1.0)),
        difference=difference,
        wins=int((pairs.differences > 0).sum()),
        losses=int((pairs.differences < 0).sum()),
        ties=int((pairs.differences == 0).sum()),
        failures=failures,
        slices=slices,
        evidence=evidence,
        policy=policy,
    )


def replay(decision: PromotionDecision) -> PromotionDecision:
    """Decides again from the decision's own evidence and policy; a sound record comes out identical."""
    return decide(decision.evidence, decision.policy)


class _Pairs:
    """The items judged for both Systems, as arrays [n]."""

    def __init__(self, items: Sequence[PairedItem]) -> None:
        judged = [
            (item.champion, item.challenger, item.slices)
            for item in items
            if item.champion is not None and item.challenger is not None
        ]
        self.champion = np.array([champion for champion, _, _ in judged], dtype=float)
        self.challenger = np.array([challenger for _, challenger, _ in judged], dtype=float)
        self.differences = self.challenger - self.champion
        self.slices = [slices for _, _, slices in judged]


def bootstrap_interval(values: NDArray[np.float64], policy: GatePolicy, span: tuple[float, float]) -> Interval:
    """The mean of values [n] with its bootstrap percentile interval (Efron & Tibshirani 1993, section 13.3).

    The bounds are themselves resampled means: at B resamples and tail share α the (B·α)-th from either end. Every
    call draws the same resamples, so swapping the Systems mirrors the interval exactly. Without values anything within
    `span` is possible: its middle, with its ends as bounds.
    """
    return bootstrap_mean(values, policy.confidence, policy.resamples, policy.seed, span)


def _slice_results(pairs: _Pairs, policy: GatePolicy) -> tuple[SliceResult, ...]:
    results = []
    for name in sorted({name for slices in pairs.slices for name in slices}):
        values = pairs.differences[[name in slices for slices in pairs.slices]]
        interval = bootstrap_interval(values, policy, span=(-1.0, 1.0))
        blocks = len(values) >= MIN_SLICE_ITEMS and interval.high < 0
        results.append(SliceResult(name=name, items=len(values), difference=interval, blocks=blocks))
    return tuple(results)


def _verdict(
    difference: Interval, slices: Sequence[SliceResult], failures: int, items: int, policy: GatePolicy
) -> tuple[Verdict, str]:
    """The verdict and its reason, one sentence with the numbers in it."""
    if failures / items > policy.max_failure_share:
        return Verdict.HOLD, (
            f"{failures} of {items} questions ({100 * failures / items:.1f}%) could not be judged, more than the "
            f"{100 * policy.max_failure_share:g}% that the gate allows, so the rest decides nothing"
        )
    change, bounds = _change(difference), _bounds(difference, policy)
    on = f"on {items - failures} questions" + (f" ({failures} more could not be judged)" if failures else "")
    if difference.high < 0:
        return Verdict.REJECT, f"accuracy {change} {bounds} {on}, all below zero"
    if difference.low <= 0:
        doubt = ", which may be chance" if difference.value else ""
        return Verdict.HOLD, f"accuracy {change} {bounds} {on}{doubt}"
    worse = [part for part in slices if part.blocks]
    if not worse:
        return Verdict.PROMOTE, f"accuracy {change} {bounds} {on}, all above zero"
    parts = " and ".join(
        f"{_change(part.difference)} {_bounds(part.difference, policy)} on the {part.items} of “{part.name}”" for part in worse
    )
    return Verdict.HOLD, f"accuracy {change} {bounds} {on}, but it {parts}"


def _change(difference: Interval) -> str:
    points = 100 * difference.value
    if abs(points) < 0.05:
        return "did not change"
    return f"{'rose' if points > 0 else 'fell'} by {abs(points):.1f} points"


def _bounds(difference: Interval, policy: GatePolicy) -> str:
    low, high = (round(100 * bound, 1) + 0.0 for bound in (difference.low, difference.high))
    return f"({100 * policy.confidence:g}% interval {low:.1f} to {high:.1f})"
