"""Whether answers that somebody rated are right less often than they used to be, looked at as often as one likes.

A test martingale: for every day of the month a bettor starts with a part of the stake and bets, session after session, that
fewer answers are right than before. Had nothing got worse, the stake would reach 1/level at any time of the month with a chance
of at most `level` (Ville's inequality; Ramdas, Grünwald, Vovk and Shafer, "Game-Theoretic Statistics and Safe Anytime-Valid
Inference", Statistical Science 38, 2023; bets as in Waudby-Smith and Ramdas, "Estimating Means of Bounded Random Variables by
Betting", JRSS B 86, 2024). So an hourly look costs nothing. How often answers were right before is an estimate as well: half of
the level goes to the chance that its lower bound is too high. A session counts once, as right when all of its rated answers were.

Answers that people chose to rate are compared with others that people chose to rate, never with labels of drawn ones: answers
that annoy are rated more often. Not covered: a change in who rates looks like a change in answers.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from csift.drift.windows import TrafficRow
from csift.intervals import least_share
from csift.schemas import AccuracyWatch

LOSSES = (0.05, 0.1, 0.2, 0.4)  # of accuracy that are bet on
STARTS = 31  # days of a month, from each of which somebody bets
MIN_RATED = 20  # sessions of the reference; fewer bound nothing
UNKNOWN = datetime.max.replace(tzinfo=UTC)


def watch_accuracy(reference: Sequence[TrafficRow], month: Sequence[TrafficRow], level: float) -> AccuracyWatch | None:
    """Compares the rated sessions of a month with those of the reference; None where fewer than 20 sessions of the reference, or
    none of the month, are rated. The same rows give the same figures, so nothing need be kept between two looks.

    Args:
        reference: rows of before; those without `correct` are left out.
        month: likewise, of the month so far; rows without `at` are left out.
        level: the chance of a false alarm in the month.
    """
    past = [right for _, right in _sessions(reference)]
    told = _sessions(row for row in month if row.at is not None)
    if len(past) < MIN_RATED or not told:
        return None
    floor = least_share(sum(past), len(past), level / 2)
    first = told[0][0].date()
    starts = sorted({day for at, _ in told if (day := (at.date() - first).days) < STARTS})
    stakes = {day: _stakes([right for at, right in told if (at.date() - first).days >= day], floor) for day in starts}
    best_day = max(starts, key=lambda day: stakes[day][-1])
    since = [(at, right) for at, right in told if (at.date() - first).days >= best_day]
    # Who starts on a later day has one stake until then; the days on which nobody was asked keep theirs.
    waiting = (STARTS - len(starts)) / STARTS
    total = np.full(len(told), waiting)
    for series in stakes.values():
        total += np.concatenate([np.ones(len(told) - len(series)), series]) / STARTS
    return AccuracyWatch(
        before=sum(past) / len(past),
        floor=floor,
        now=sum(right for _, right in since) / len(since),
        sessions=len(since),
        since=since[0][0],
        evidence=float(total.max()) / 2,  # half of the level is the floor's
        level=level,
    )


@dataclass(frozen=True)
class Sample:
    """Rated rows of before and of the month so far that came about in one way."""

    reference: Sequence[TrafficRow]
    month: Sequence[TrafficRow]
    self_selected: bool


def watch_samples(samples: Sequence[Sample], level: float) -> AccuracyWatch | None:
    """The sample that speaks most for worse answers; None where none is rated enough. Those whose reference is rated share the
    level alike (Bonferroni), so that any of them gives a false alarm in the month with a chance of at most `level`.
    """
    rated = [sample for sample in samples if len(_sessions(sample.reference)) >= MIN_RATED]
    seen = []
    for sample in rated:
        if watch := watch_accuracy(sample.reference, sample.month, level / len(rated)):
            seen.append(watch.model_copy(update={"self_selected": sample.self_selected}))
    return max(seen, key=lambda watch: watch.evidence, default=None)


def _sessions(rows: Iterable[TrafficRow]) -> list[tuple[datetime, bool]]:
    """(when it began, whether all of its rated answers were right) of each session with any, in the order of time."""
    by: dict[str, tuple[datetime, bool]] = {}
    for row in rows:
        if row.correct is not None:
            at, right = by.get(row.session, (row.at or UNKNOWN, True))
            by[row.session] = min(at, row.at or UNKNOWN), right and row.correct
    return sorted(by.values())


def _stakes(rights: Sequence[bool], floor: float) -> NDArray[np.float64]:
    """What one unit has become after each session, the mean over the losses that are bet on."""
    lost = floor - np.asarray(rights, dtype=float)
    room = floor * (1 - floor)  # a loss is best bet on with its share of the variance (Kelly)
    if not room:
        return np.ones(len(rights))
    bets = [min(loss / room, 0.9 / (1 - floor)) for loss in LOSSES]
    return np.mean([np.exp(np.cumsum(np.log1p(bet * lost))) for bet in bets], axis=0)
