"""The Wilson interval against its published values, and that it keeps its level."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csift.intervals import wilson

counts = st.integers(1, 2000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    # Newcombe, Statistics in Medicine 1998, table I, method 3.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_it_agrees_with_the_literature(successes: int, n: int, low: float, high: float) -> None:
    found = wilson(successes, n)
    assert (round(found.low, 4), round(found.high, 4), found.value) == (low, high, successes / n)


def test_without_observations_it_knows_nothing() -> None:
    assert (wilson(0, 0).low, wilson(0, 0).high) == (0.0, 1.0)


@given(counts, st.floats(0.5, 0.999))
def test_it_holds_its_estimate_and_stays_among_shares(count: tuple[int, int], confidence: float) -> None:
    found = wilson(*count, confidence)
    assert 0 <= found.low <= found.value + 1e-12
    assert found.value - 1e-12 <= found.high <= 1


@given(counts)
def test_it_is_symmetric_and_narrows(count: tuple[int, int]) -> None:
    successes, n = count
    found, mirrored = wilson(successes, n), wilson(n - successes, n)
    assert math.isclose(found.low, 1 - mirrored.high, abs_tol=1e-9)
    four_times = wilson(4 * successes, 4 * n)
    assert four_times.high - four_times.low < found.high - found.low
    surer = wilson(successes, n, 0.99)
    assert surer.high - surer.low > found.high - found.low


@pytest.mark.parametrize("share", [0.02, 0.15, 0.5, 0.9])
def test_it_covers_the_truth_as_often_as_it_says(share: float) -> None:
    n = 120
    covered = sum(
        math.comb(n, hits) * share**hits * (1 - share) ** (n - hits)
        for hits in range(n + 1)
        if wilson(hits, n).low <= share <= wilson(hits, n).high
    )
    assert 0.92 <= covered <= 0.98
