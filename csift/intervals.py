"""Confidence intervals."""

import math
from collections.abc import Iterator
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from csift.schemas import Interval

_BLOCK = 4_000_000  # resampled items in memory at once, 32 MB


def wilson(successes: float, n: int, confidence: float = 0.95) -> Interval:
    """The score interval of a proportion (Wilson, JASA 1927): keeps its level for small n and near 0 and 1.

    Without observations it is all of [0, 1].
    """
    if n == 0:
        return Interval(value=0.0, low=0.0, high=1.0)
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    share = successes / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return Interval(value=share, low=max(0.0, centre - half), high=min(1.0, centre + half))


def least_share(successes: int, n: int, level: float) -> float:
    """The one-sided lower bound of a proportion, exact: above the truth with a chance of at most `level` (Clopper and Pearson,
    Biometrika 1934)."""
    from scipy.stats import beta

    return float(beta.ppf(level, successes, n - successes + 1)) if successes else 0.0


def paired_difference(wins: int, losses: int, both: int, neither: int, confidence: float = 0.95) -> Interval:
    """The difference of two proportions on the same items with its interval (Newcombe, Statistics in Medicine 1998, method 10):
    `wins` are right only for the second, `losses` only for the first. Without items anything within [-1, 1] is possible.
    """
    n = wins + losses + both + neither
    if n == 0:
        return Interval(value=0.0, low=-1.0, high=1.0)
    first, second = wilson(both + losses, n, confidence), wilson(both + wins, n, confidence)
    correlation = _correlation(wins, losses, both, neither)
    value = (wins - losses) / n

    def reach(up: float, down: float) -> float:
        return math.sqrt(max(up * up - 2 * correlation * up * down + down * down, 0.0))

    low = value - reach(second.value - second.low, first.high - first.value)
    high = value + reach(second.high - second.value, first.value - first.low)
    return Interval(value=value, low=max(-1.0, low), high=min(1.0, high))


def _correlation(wins: int, losses: int, both: int, neither: int) -> float:
    """The φ of the two outcomes, continuity-corrected where it is positive, as Newcombe has it; 0 where one does not vary."""
    margins = (both + losses) * (neither + wins) * (both + wins) * (neither + losses)
    if not margins:
        return 0.0
    n = wins + losses + both + neither
    product = both * neither - wins * losses
    return (max(product - n / 2, 0) if product > 0 else product) / math.sqrt(margins)


def bootstrap_mean(
    values: NDArray[np.float64], confidence: float, resamples: int, seed: int, span: tuple[float, float]
) -> Interval:
    """The mean of values [n] with its bootstrap percentile interval (Efron & Tibshirani 1993, section 13.3).

    The bounds are themselves resampled means: at B resamples and tail share α the (B·α)-th from either end. Every
    call draws the same resamples, so the interval of -values is the mirror image. Without values anything within
    `span` is possible: its middle, with its ends as bounds.
    """
    if not len(values):
        return Interval(value=sum(span) / 2, low=span[0], high=span[1])
    means = np.sort(np.concatenate(list(_resampled_means(values, resamples, seed))))
    # α carries a rounding error (1 - 0.95 is not 0.05), which must not move the bound to the next mean
    outside = max(0, math.floor((1 - confidence) / 2 * len(means) + 1e-6) - 1)
    return Interval(value=float(values.mean()), low=float(means[outside]), high=float(means[-1 - outside]))


def _resampled_means(values: NDArray[np.float64], resamples: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """`resamples` means of n values drawn with replacement, in blocks that fit in memory."""
    draws = np.random.default_rng(seed)
    rows = max(1, _BLOCK // len(values))
    for start in range(0, resamples, rows):
        places = draws.integers(0, len(values), size=(min(rows, resamples - start), len(values)))
        yield values[places].mean(axis=1)
