"""The plots of the methods benchmark, in the theme of csift.reports.plots."""

from typing import TYPE_CHECKING

from csift.benchmarks import REFERENCE, Benchmark, Row
from csift.reports.plots import ROLES, svg
from csift.reports.wording import percent_interval, points_interval
from csift.schemas import Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDE_FROM = 560


def accuracy_plot(benchmark: Benchmark, name: str, width: int) -> str:
    """Accuracy of each arm with its interval; closed-book arms are drawn lighter."""
    judge = next(iter(benchmark.judges))
    rows = [(row, row.accuracy[judge]) for row in benchmark.rows]
    title = f"Accuracy: {'; '.join(f'{row.arm} {percent_interval(value)}' for row, value in rows)}."

    def draw(axes: "Axes") -> None:
        _dots(axes, [(row, value, "quiet" if row.closed_book else "accent") for row, value in rows], width)
        axes.set_xlim(0, max(5.0, 105 * max(value.high for _, value in rows)))
        axes.set_xlabel("accuracy, % of questions", labelpad=8)

    return svg(name, title, width, 66 + 30 * len(rows), draw)


def improvement_plot(benchmark: Benchmark, name: str, width: int) -> str:
    """Paired difference of each arm from standard RAG; right of zero the arm is better."""
    judge = next(iter(benchmark.judges))
    rows = [(row, gain) for row in benchmark.rows if (gain := row.improvement[judge]) is not None]
    title = f"Paired difference from standard RAG in points: {'; '.join(f'{row.arm} {points_interval(g)}' for row, g in rows)}."

    def draw(axes: "Axes") -> None:
        axes.axvline(0, color=ROLES["muted"], linewidth=1.2)
        _dots(axes, [(row, gain, "good" if gain.low > 0 else "bad" if gain.high < 0 else "muted") for row, gain in rows], width)
        axes.margins(x=0.06)
        better = f"points; right of zero the arm is better than {REFERENCE}"
        axes.set_xlabel(better if width >= WIDE_FROM else "points", labelpad=8)

    return svg(name, title, width, 66 + 30 * max(1, len(rows)), draw)


def time_plot(benchmark: Benchmark, name: str, width: int) -> str:
    """Accuracy against the seconds of an answer: what a better answer costs in time."""
    judge = next(iter(benchmark.judges))
    told = [f"{row.arm} {100 * row.accuracy[judge].value:.0f}% in {row.seconds.value:.2f} s" for row in benchmark.rows]

    def draw(axes: "Axes") -> None:
        for row in benchmark.rows:
            x, y = row.seconds.value, 100 * row.accuracy[judge].value
            colour = ROLES["quiet" if row.closed_book else "accent"]
            axes.plot([x], [y], marker="o", markersize=8, color=colour)
        for names, x, y, up in _labels(benchmark, judge, width):
            axes.annotate(names, (x, y), xytext=(9, up), textcoords="offset points", va="center", color=ROLES["ink"])
        axes.margins(x=0.25, y=0.12)
        axes.set_ylim(bottom=0)
        axes.set_xlim(left=0)
        axes.tick_params(axis="y", labelcolor=ROLES["muted"])
        axes.set_xlabel("seconds an answer", labelpad=8)
        axes.set_ylabel("accuracy, %", labelpad=8)

    return svg(name, f"Accuracy and time: {'; '.join(told)}.", width, 320, draw)


def _labels(benchmark: Benchmark, judge: str, width: int) -> list[tuple[str, float, float, float]]:
    """(arm, seconds, accuracy in %, shift in points): arms at nearly the same place are written one above the other."""
    places = sorted((100 * row.accuracy[judge].value, row.seconds.value, row.arm) for row in benchmark.rows)
    tall = (max(y for y, _, _ in places) or 1.0) / 230  # % a point of the picture's height
    wide = (max(x for _, x, _ in places) or 1.0) / (width - 130)
    told: list[tuple[str, float, float, float]] = []
    for y, x, arm in places:
        beside = [y0 / tall + up for _, x0, y0, up in told if abs(x - x0) < 100 * wide]
        told.append((arm, x, y, max([0.0, *(at + 13 - y / tall for at in beside)])))
    return told


def _dots(axes: "Axes", rows: list[tuple[Row, Interval, str]], width: int) -> None:
    wide = width >= WIDE_FROM
    for y, (_, value, role) in enumerate(rows):
        axes.plot([100 * value.low, 100 * value.high], [y, y], color=ROLES[role], linewidth=2.5, solid_capstyle="round")
        axes.plot([100 * value.value], [y], marker="o", markersize=8, color=ROLES[role])
    axes.set_yticks(range(len(rows)), [row.arm for row, _, _ in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    axes.locator_params(axis="x", nbins=8 if wide else 4)
