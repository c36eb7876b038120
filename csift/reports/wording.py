"""How numbers are put into words, the same in reports and on the command line.

Intervals are written "value (low to high)". Shares are percentages; their differences are percentage points, signed.
A number that does not exist (nothing was judged) is "n/a".
"""

import math
from collections.abc import Sequence
from datetime import UTC, datetime

from csift.schemas import AccuracyWatch, DriftReport, DriftSignal, Interval

DELETED = "contains rows of a person who asked for deletion; retrain"  # beside a dataset


def percent(share: float) -> str:
    """0.617 → "61.7%"."""
    return "n/a" if math.isnan(share) else f"{100 * share:.1f}%"


def points(difference: float) -> str:
    """0.267 → "+26.7". What is not zero never reads as zero, because the gate goes by the sign."""
    value = 100 * difference
    if math.isnan(value):
        return "n/a"
    if value == 0:
        return "0.0"
    return f"{value:+.1f}" if abs(value) >= 0.05 else f"{value:+.2g}"


def percent_interval(interval: Interval) -> str:
    """ "61.7% (52.9 to 69.9)"."""
    return f"{percent(interval.value)} ({percent(interval.low).rstrip('%')} to {percent(interval.high).rstrip('%')})"


def points_interval(interval: Interval) -> str:
    """ "+26.7 (+17.5 to +35.8)"."""
    return f"{points(interval.value)} ({points(interval.low)} to {points(interval.high)})"


def level(confidence: float) -> str:
    """0.95 → "95%"."""
    return f"{100 * confidence:g}%"


def duration(seconds: float) -> str:
    """ "0.41 s", "42 s", "3 min 05 s", "1 h 02 min"."""
    if seconds < 10:
        return f"{seconds:.2f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def clock(seconds: float) -> str:
    """ "1:05", "1:02:05"."""
    minutes, second = divmod(round(seconds), 60)
    hour, minute = divmod(minutes, 60)
    return f"{hour}:{minute:02d}:{second:02d}" if hour else f"{minute}:{second:02d}"


def money(usd: float) -> str:
    """Cents, and below a cent the first digits that are not zero."""
    return f"${usd:,.2f}" if usd == 0 or usd >= 0.01 else f"${usd:.2g}"


def count(number: int, noun: str) -> str:
    """ "1 question", "1,200 questions"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def size(bytes_: float) -> str:
    """ "512 B", "1.2 MB", in powers of a thousand."""
    for unit in ("B", "kB", "MB", "GB"):
        if bytes_ < 1000:
            return f"{bytes_:.0f} B" if unit == "B" else f"{bytes_:.1f} {unit}"
        bytes_ /= 1000
    return f"{bytes_:,.1f} TB"


def when(moment: datetime) -> str:
    """To the minute, in UTC."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def spread(values: Sequence[int]) -> tuple[str, str, str, str]:
    """Shortest, median, the length that nine in ten stay below, and longest; "n/a" where there are none."""
    ordered = sorted(values)
    if not ordered:
        return ("n/a",) * 4
    last = len(ordered) - 1
    return tuple(f"{ordered[round(share * last)]:,}" for share in (0, 0.5, 0.9, 1))  # type: ignore[return-value]


def accuracy_sentence(watch: AccuracyWatch | None) -> str:
    """What rated answers say of the champion."""
    if watch is None:
        return "too few are rated to tell."
    verdict = "got worse" if watch.regressed else "hold"
    return (
        f"{verdict}: {percent(watch.now)} of {count(watch.sessions, 'rated session')} since {watch.since:%Y-%m-%d} were right, "
        f"{percent(watch.before)} before; evidence {watch.evidence:,.1f} of the {1 / watch.level:,.0f} that an alarm takes."
        f"{whose(watch)}"
    )


def whose(watch: AccuracyWatch) -> str:
    """What is to be known of the sample, after a sentence on it; nothing where it was drawn."""
    if not watch.self_selected:
        return ""
    return (
        " These are answers that people chose to rate, before and now: no sample of all, and a change in who rates shows as well."
    )


def drift_sentence(drift: DriftReport) -> str:
    """The drift verdict with the numbers it rests on, or why nothing was compared."""
    if not drift.signals:
        return f"Until now there are {next(iter(drift.unmeasured.values()))}."
    found = [signal for signal in drift.signals if signal.drifted]
    if not found:
        least = min(drift.signals, key=lambda signal: signal.p_value / signal.level)
        return f"No difference from the reference was found: {_chance(least)} over {count(least.units, 'independent unit')}."
    parts = [f"{signal.name} ({_chance(signal)} over {count(signal.units, 'independent unit')})" for signal in found]
    return f"The current traffic differs from the reference in {' and '.join(parts)}."


def _chance(signal: DriftSignal) -> str:
    return f"p = {signal.p_value:.2g} {'<' if signal.drifted else '>='} {signal.level:.2g}"
