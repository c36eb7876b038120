"""The plots of the dashboard, in the theme of csift.reports.plots. A picture is drawn once for the same figures: matplotlib holds
up the whole process, and its settings are the process's own, so one is drawn at a time."""

from collections.abc import Callable, Sequence
from datetime import date, datetime
from functools import lru_cache
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple

from csift.reports.plots import ROLES, both, svg
from csift.reports.wording import count, percent_interval
from csift.schemas import Interval

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.axes import Axes

_ONE = Lock()
_WIDE_FROM = 560


class Accuracy(NamedTuple):
    """The champion after a decision: its accuracy with the interval (shares), whether it was promoted then, and the life of the
    eval set that it was judged on."""

    at: datetime
    value: float
    low: float
    high: float
    promoted: bool
    life: int


class Look(NamedTuple):
    """A look for drift. `share` is the least p-value in shares of its level: below 1 something drifted."""

    at: datetime
    share: float


class Said(NamedTuple):
    """What was said of answers in the week from `begin` on."""

    begin: date
    good: int
    bad: int
    edits: int


@lru_cache(maxsize=16)
def accuracy_over_time(points: tuple[Accuracy, ...]) -> "Markup":
    """The champion's accuracy after each decision, with its interval; a new life of the eval set begins a new line."""
    last = percent_interval(Interval(value=points[-1].value, low=points[-1].low, high=points[-1].high))
    promotions = sum(point.promoted for point in points)
    title = f"The champion's accuracy over {count(len(points), 'decision')}, {promotions} of them promotions: at last {last}."

    def draw(axes: "Axes", width: int) -> None:
        for life in sorted({point.life for point in points}):
            of_life = [point for point in points if point.life == life]
            days = [point.at for point in of_life]
            axes.plot(days, [100 * point.value for point in of_life], color=ROLES["accent"], linewidth=1.5)
            lows, highs = [100 * point.low for point in of_life], [100 * point.high for point in of_life]
            axes.vlines(days, lows, highs, color=ROLES["accent"], alpha=0.45)
            for point in of_life:
                colour, size = (ROLES["good"], 9) if point.promoted else (ROLES["accent"], 6)
                axes.plot([point.at], [100 * point.value], marker="o", markersize=size, color=colour)
        low, high = min(point.low for point in points), max(point.high for point in points)
        axes.set_ylim(max(0, 100 * low - 4), min(104, 100 * high + 4))
        axes.set_ylabel("accuracy, %", labelpad=8)
        _days(axes, width, [point.at for point in points])

    return _drawn("accuracy-trend", title, 250, draw)


@lru_cache(maxsize=16)
def drift_over_time(points: tuple[Look, ...]) -> "Markup":
    """How strong the evidence for drift was at each look: above the line it drifted."""
    found = sum(point.share < 1 for point in points)
    title = f"Drift was found in {found} of {count(len(points), 'look')}."

    def draw(axes: "Axes", width: int) -> None:
        evidence = [1 / max(point.share, 1e-4) for point in points]
        axes.axhline(1, color=ROLES["muted"], linewidth=1.2, linestyle="--")
        axes.vlines([point.at for point in points], 1e-9, evidence, color=ROLES["quiet"])
        for point, height in zip(points, evidence, strict=True):
            axes.plot([point.at], [height], marker="o", markersize=7, color=ROLES["bad" if point.share < 1 else "good"])
        axes.set_yscale("log")
        axes.set_ylim(0.5 * min(1, *evidence), 3 * max(1, *evidence))
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.minorticks_off()
        axes.set_ylabel("times the alarm level", labelpad=8)
        _days(axes, width, [point.at for point in points])

    return _drawn("drift-trend", title, 200, draw)


@lru_cache(maxsize=16)
def feedback_over_time(weeks: tuple[Said, ...]) -> "Markup":
    """What people said of answers, a group of bars a week."""
    bars = (
        ("good", "good", [week.good for week in weeks]),
        ("bad", "bad", [week.bad for week in weeks]),
        ("edited", "accent", [week.edits for week in weeks]),
    )
    sums = ", ".join(f"{sum(heights)} {name}" for name, _, heights in bars)
    title = f"Feedback in {count(len(weeks), 'week')}: {sums}."

    def draw(axes: "Axes", width: int) -> None:
        places = range(len(weeks))
        for side, (name, role, heights) in enumerate(bars):
            axes.bar([place + 0.27 * (side - 1) for place in places], heights, width=0.25, color=ROLES[role], label=name)
        step = 2 if width >= _WIDE_FROM else 4
        axes.set_xticks(list(places)[::step], [f"{week.begin:%d %b}" for week in weeks][::step])
        axes.locator_params(axis="y", nbins=5, integer=True)
        axes.set_ylim(0, 1.1 * max(1, *(height for _, _, heights in bars for height in heights)))
        axes.grid(visible=False, axis="x")
        axes.set_ylabel("a week", labelpad=8)
        axes.figure.legend(loc="outside lower left", ncols=3, frameon=False, handlelength=0.9, handleheight=0.9)

    return _drawn("feedback-trend", title, 220, draw)


def _drawn(name: str, title: str, height: int, draw: Callable[["Axes", int], None]) -> "Markup":
    with _ONE:
        return both(lambda part, width: svg(part, title, width, height, lambda axes: draw(axes, width)), name)


def _days(axes: "Axes", width: int, moments: Sequence[datetime]) -> None:
    """A few days below, evenly apart, between the first moment and the last."""
    begin, span = min(moments), max(moments) - min(moments)
    gaps = min(6 if width >= _WIDE_FROM else 3, span.days)
    ticks = [begin + span * gap / gaps for gap in range(gaps + 1)] if gaps else [begin]
    axes.set_xticks(ticks, [f"{tick:%d %b}" if span.days < 300 else f"{tick:%b %Y}" for tick in ticks])
    axes.margins(x=0.04)
    axes.grid(visible=False, axis="x")
    axes.tick_params(axis="y", labelcolor=ROLES["muted"])
