"""What the next decision can tell, known before anything is trained for it."""

import math
from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from csift.promotion.pairing import in_target, slices_of
from csift.promotion.spending import LOW, decision_level, left, sign_test
from csift.schemas import EvalSet, EvalSetHistory, GatePolicy, Outlook

DISCORDANCE = 0.20  # share of questions that one of two Systems answers rightly, and the other wrongly; seen on the catalogue
POWER = 0.8


def outlook(items: int, history: EvalSetHistory, policy: GatePolicy) -> Outlook:
    """The smallest rise in accuracy that the next decision on so many questions promotes, and the one that it will find in four
    of five cases, both shares of questions, at the discordance that is usual."""
    level = decision_level(history, policy.false_promotion_rate)
    differ = round(items * DISCORDANCE)
    smallest = next((2 * wins - differ for wins in range(differ + 1) if sign_test(wins, differ - wins) <= level), None)
    share = left(history)
    return Outlook(
        items=items,
        decision=history.decisions + 1,
        level=level,
        smallest_rise=None if smallest is None else max(smallest, 1) / items,
        found_rise=_found(items, level),
        left=share,
        low=share < LOW,
    )


def target_items(evalset: EvalSet, won_before: Collection[str], policy: GatePolicy) -> int:
    """How many questions of a set the gate decides on."""
    return sum(in_target(slices, policy) for slices in slices_of(evalset, won_before).values())


def power(items: int, rise: float, level: float, discordance: float = DISCORDANCE) -> float:
    """The probability that the sign test finds a true rise at this level. `rise` and `discordance` are shares of the items."""
    discordance = max(discordance, rise)
    differ = np.arange(items + 1)
    likely = _binomial(items, discordance)
    found = 0.0
    for count in differ[likely > 1e-9]:
        wins = _binomial(int(count), (discordance + rise) / 2 / discordance)
        enough = next((k for k in range(int(count) + 1) if sign_test(k, int(count) - k) <= level), None)
        if enough is not None:
            found += likely[count] * wins[enough:].sum()
    return float(found)


def _found(items: int, level: float) -> float | None:
    low, high = 0.0, 1.0
    if power(items, high, level) < POWER:
        return None
    while high - low > 0.002:
        middle = (low + high) / 2
        low, high = (low, middle) if power(items, middle, level) >= POWER else (middle, high)
    return high


def _binomial(n: int, p: float) -> NDArray[np.float64]:
    """The probabilities of 0 to n."""
    if p in (0.0, 1.0):
        return np.eye(n + 1)[n if p else 0]
    k = np.arange(n + 1)
    factorials = np.array([math.lgamma(i + 1) for i in range(n + 1)])
    return np.exp(factorials[n] - factorials[k] - factorials[n - k] + k * math.log(p) + (n - k) * math.log1p(-p))
