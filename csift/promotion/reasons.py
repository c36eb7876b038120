"""A decision's reason: one sentence with the numbers it went by."""

from csift.schemas import GuardResult, Interval, PromotionDecision, SliceResult, Verdict


def reason(decision: PromotionDecision, p_worse: float) -> str:
    """Why the verdict is what it is; `p_worse` is the p-value of as many losses."""
    policy, items = decision.policy, decision.wins + decision.losses + decision.ties + decision.failures
    if not decision.conclusive:
        return (
            f"{decision.failures} of {items} questions ({100 * decision.failures / items:.1f}%) could not be judged, more than "
            f"the {100 * policy.max_failure_share:g}% that the gate allows, so the rest decides nothing"
        )
    on = f"on {items - decision.failures} questions"
    if decision.failures:
        on += f" ({decision.failures} more could not be judged)"
    change = f"accuracy {_change(decision.difference)} {_bounds(decision.difference, policy.confidence)} {on}"
    needed = f"decision {decision.history.decisions + 1} on this eval set asks for {_p(decision.level)}"
    if decision.verdict is Verdict.REJECT:
        return f"{change}: p = {_p(p_worse)} that it is no worse, and {needed}"
    if decision.p_value > decision.level:
        doubt = ", which may be chance" if decision.difference.value > 0 else ""
        return f"{change}{doubt}: p = {_p(decision.p_value)}, and {needed}"
    sure = f"{change}: p = {_p(decision.p_value)} by chance, and {needed}"
    faults = [_worse(part) for part in decision.slices if part.blocks] + [_beyond(g) for g in decision.guards if not g.holds]
    return f"{sure}; but {' and '.join(faults)}" if faults else sure


def _change(difference: Interval) -> str:
    points = 100 * difference.value
    if abs(points) < 0.05:
        return "did not change"
    return f"{'rose' if points > 0 else 'fell'} by {abs(points):.1f} points"


def _bounds(difference: Interval, confidence: float) -> str:
    low, high = (round(100 * bound, 1) + 0.0 for bound in (difference.low, difference.high))
    return f"({100 * confidence:g}% interval {low:.1f} to {high:.1f})"


def _p(value: float) -> str:
    return f"{value:.2g}" if value >= 0.001 else f"{value:.0e}".replace("e-0", "e-")


def _worse(part: SliceResult) -> str:
    return f"it {_change(part.difference)} {_bounds(part.difference, 0.9)} on the {part.items} of “{part.name}”"


def _beyond(guard: GuardResult) -> str:
    reading = guard.reading
    if reading.kind == "ratio":
        return (
            f"{reading.name} went from {reading.champion:.3g} to {reading.challenger:.3g}, up to {reading.worst:.2f} times as "
            f"many (95% bound), and the gate allows {guard.limit:g} times"
        )
    return (
        f"{reading.name} went from {100 * reading.champion:.1f}% to {100 * reading.challenger:.1f}%, a loss of up to "
        f"{-100 * reading.worst:.1f} points (95% bound), and the gate allows {-100 * guard.limit:g}"
    )
