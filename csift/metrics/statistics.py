"""Estimates over the answers that exist, each with its 95% interval."""

import math
from collections.abc import Sequence

import numpy as np

from csift.intervals import bootstrap_mean, wilson
from csift.schemas import Interval

CONFIDENCE = 0.95
RESAMPLES = 2_000
SEED = 0


def share(values: Sequence[float]) -> Interval:
    """The share of ones among zeros and ones, with Wilson's score interval."""
    return wilson(sum(values), len(values), CONFIDENCE)


def mean(values: Sequence[float]) -> Interval:
    """The mean with its bootstrap percentile interval; the same values give the same interval. Needs one value or more."""
    array = np.array(values, dtype=np.float64)
    return bootstrap_mean(array, CONFIDENCE, RESAMPLES, SEED, (float(array.min()), float(array.max())))


def quantile(values: Sequence[float], q: float) -> Interval:
    """The smallest value that a share q of the values does not exceed, with an interval of order statistics.

    Free of any distribution (David & Nagaraja, Order Statistics, 2003, section 7.1): the bounds are values whose ranks enclose
    the quantile's with at least 95% by the binomial law. Where too few values stand above it (for q = 0.95 fewer than 72), the
    upper bound is the largest one seen, which then has less than that level. Needs one value or more.
    """
    ordered = sorted(values)
    n = len(ordered)
    below = np.cumsum([_binomial(n, k, q) for k in range(n + 1)])  # P(at most k values below the quantile)
    tail = (1 - CONFIDENCE) / 2
    low = int(np.searchsorted(below, tail, side="right"))  # greatest rank r with P(fewer than r below) <= tail
    high = int(np.searchsorted(below, 1 - tail, side="left")) + 1  # smallest rank r with P(r or more below) <= tail
    return Interval(value=ordered[max(math.ceil(q * n), 1) - 1], low=ordered[max(low, 1) - 1], high=ordered[min(high, n) - 1])


def _binomial(n: int, k: int, q: float) -> float:
    log = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
    return math.exp(log + k * math.log(q) + (n - k) * math.log1p(-q))
