"""A permutation test between two windows whose rows come in units: sessions, documents.

The statistic is the unbiased MMD² of Gretton et al., "A Kernel Two-Sample Test", JMLR 13, 2012 (equation 3), taken between
units: a unit counts once, as the mean of its rows in the kernel's space, however many rows it has. Weighing rows instead blunts
the test where units are of unlike sizes: in simulated windows a shift of 35% of the units was seen in 7% of trials, not in 33%.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from csift.exceptions import ModelError

BANDWIDTH_ROWS = 1000  # the median distance needs no more; all pairs of 20,000 rows would take 1.6 GB
FREQUENCIES = 512
FIRST = 200  # permutations after which a check without any sign of drift ends
EXCEEDING = 10  # permuted statistics above the observed one that end it
PART = 512  # permutations held at once
ROUNDING = 1e-7  # float32 sums of one and the same partition differ by less

Rows = NDArray[np.float32]


@dataclass(frozen=True)
class Test:
    """`p_value` came of so many permutations; `units` are those of both windows."""

    statistic: float
    p_value: float
    permutations: int
    units: int


def random_features(reference: Rows, current: Rows, seed: int) -> tuple[Rows, Rows]:
    """Rows of unit length → features [n, 1024] whose products are nearly an RBF kernel with the median pairwise distance for its
    bandwidth (Rahimi and Recht, "Random Features for Large-Scale Kernel Machines", NIPS 2007).

    A permutation then costs the units times the features, not the units squared.
    """
    rng = np.random.default_rng(seed)
    rows = np.concatenate([reference, current])
    frequencies = rng.standard_normal((rows.shape[1], FREQUENCIES)).astype(np.float32) / np.float32(_median_distance(rows, rng))
    sides = (side @ frequencies for side in (reference, current))
    scale = np.float32(1 / math.sqrt(FREQUENCIES))
    one, two = (np.concatenate([np.cos(p), np.sin(p)], axis=1).astype(np.float32) * scale for p in sides)
    return one, two


def two_sample_test(
    reference: Rows, current: Rows, reference_units: Sequence[str], current_units: Sequence[str], level: float, seed: int
) -> Test:
    """Whether two windows of features differ, as the products of features say, by permuting whole (unit, side) blocks.

    p = (1 + #{permuted >= observed}) / (1 + permutations). It keeps its level when the units are exchangeable. A unit that is on
    both sides makes two blocks. Permutations are as many as the level needs, ten times its inverse; after the first 200 the test
    ends when ten of them exceed the observed statistic, which cannot make a p-value fall below the level (Besag and Clifford,
    "Sequential Monte Carlo p-values", Biometrika 78, 1991).

    Args:
        reference, current: float32 [n, d] and [m, d].
        reference_units, current_units: the unit of each row, n and m of them.
        level: the p-value below which there is drift.
        seed: draws the permutations.

    Raises:
        ModelError: a feature is not a finite number.
    """
    if not (np.isfinite(reference).all() and np.isfinite(current).all()):  # a comparison with NaN is false: it would be drift
        raise ModelError("the embedder gave values that are not finite numbers; its weights are damaged, fetch them again")
    before, now = _unit_means(reference, reference_units), _unit_means(current, current_units)
    means = np.concatenate([before, now])
    means = means - means.mean(axis=0)  # cancels in MMD², and sums round less
    side = np.arange(len(means)) < len(before)
    rng = np.random.default_rng(seed)
    observed = float(_mmd(means, side[None])[0])
    wanted = math.ceil(EXCEEDING / level)
    made = exceeding = 0
    while made < wanted and not (made >= FIRST and exceeding >= EXCEEDING):
        count = min(PART if made else FIRST, wanted - made)
        shuffled = rng.permuted(np.tile(side, (count, 1)), axis=1)
        exceeding += int((_mmd(means, shuffled) >= observed - ROUNDING).sum())
        made += count
    return Test(observed, (1 + exceeding) / (1 + made), made, len(means))


def _unit_means(rows: Rows, units: Sequence[str]) -> Rows:
    """The mean of each unit's rows, float32 [units, d]."""
    _, of = np.unique(np.asarray(units), return_inverse=True)
    order = np.argsort(of, kind="stable")
    sizes = np.bincount(of)
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    return (np.add.reduceat(rows[order], starts, axis=0) / sizes[:, None].astype(np.float32)).astype(np.float32)


def _mmd(means: Rows, sides: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Unbiased MMD² for every assignment of units to the reference: bool [k, units] → [k]."""
    n, m = int(sides[0].sum()), int((~sides[0]).sum())
    of_reference = sides.astype(np.float32)
    one = of_reference @ means
    two = means.sum(axis=0) - one
    squares = (means * means).sum(axis=1)
    alone = of_reference @ squares  # a unit with itself tells nothing of two distributions
    within = (one * one).sum(axis=1) - alone
    others = (two * two).sum(axis=1) - (squares.sum() - alone)
    # A side of one unit has no pairs of its own: its term is then 0 in every assignment alike.
    between = (one * two).sum(axis=1)
    return (within / max(n * (n - 1), 1) + others / max(m * (m - 1), 1) - 2 * between / (n * m)).astype(np.float64)


def _median_distance(rows: Rows, rng: np.random.Generator) -> float:
    """Median Euclidean distance of the pairs that differ; 1 where all rows are the same and any bandwidth will do."""
    sample = rows[rng.permutation(len(rows))[:BANDWIDTH_ROWS]]
    squared = (2 - 2 * (sample @ sample.T))[np.triu_indices(len(sample), k=1)]
    distinct = squared[squared > 1e-6]
    return float(np.sqrt(np.median(distinct))) if len(distinct) else 1.0
