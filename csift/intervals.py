"""Confidence intervals."""

import math
from statistics import NormalDist

from csift.schemas import Interval


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
