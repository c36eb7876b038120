"""The methods benchmark as a single HTML file: the table, its plots, and every question with every arm's answer.

The file loads nothing and runs nothing; texts of the corpus and of models are shown as text. The same records give the same
bytes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from csift.benchmarks import REFERENCE, Benchmark, Cell, Row
from csift.reports import benchmark_plots as drawn
from csift.reports import plots
from csift.reports.page import render_page
from csift.reports.tables import Table
from csift.reports.wording import duration, money, percent, percent_interval, points, points_interval
from csift.schemas import Interval


def render_benchmark(benchmark: Benchmark, cells: Sequence[Cell]) -> str:
    """One self-contained HTML page, light and dark, readable without scripts."""
    return render_page(
        "benchmark.html",
        benchmark=benchmark,
        headline=headline(benchmark),
        columns=methods_columns(benchmark),
        rows=methods_rows(benchmark),
        counts=counts_table(benchmark),
        time=time_table(benchmark),
        retrieval=retrieval_table(benchmark),
        rates=win_rate_table(benchmark),
        accuracy_plot=plots.both(lambda name, width: drawn.accuracy_plot(benchmark, name, width), "accuracy"),
        difference_plot=plots.both(lambda name, width: drawn.improvement_plot(benchmark, name, width), "improvement"),
        time_plot=plots.both(lambda name, width: drawn.time_plot(benchmark, name, width), "time"),
        compiled=[(row.arm, row.compiled) for row in benchmark.rows if row.compiled],
        questions=_questions(cells),
        closed_book=[row.arm for row in benchmark.rows if row.closed_book],
        ids=[(row.arm, row.system_id) for row in benchmark.rows],
    )


def headline(benchmark: Benchmark) -> str:
    """The best arm that is no closed book, against standard RAG, by the first judge."""
    judge = next(iter(benchmark.judges))
    rows = {row.arm: row for row in benchmark.rows}
    reference = rows[REFERENCE].accuracy[judge].value
    best = max((row for row in benchmark.rows if not row.closed_book), key=lambda row: row.accuracy[judge].value)
    gain = best.improvement[judge]
    if gain is None:
        return f"No arm answers more than standard RAG, which is right on {percent(reference)}"
    sure = "" if gain.low > 0 else "; the interval holds zero"
    return (
        f"{best.arm} is right on {percent(best.accuracy[judge].value)}, standard RAG on {percent(reference)}: "
        f"{points(gain.value)} points ({points(gain.low)} to {points(gain.high)}){sure}"
    )


@dataclass(frozen=True)
class Figure:
    """A cell of the wide table: the figure, and its 95% interval beneath; either may be empty."""

    value: str
    bounds: str = ""


def methods_columns(benchmark: Benchmark) -> list[str]:
    """The heads of the wide table, after that of the arms."""
    judged = [what for judge in benchmark.judges for what in (f"Accuracy by {judge}", f"Against {REFERENCE}, points")]
    return [*judged, "BERTScore", "Score", "Seconds", "A month"]


def methods_rows(benchmark: Benchmark) -> list[tuple[str, list[Figure]]]:
    """The wide table: (arm, its figures in the order of `methods_columns`)."""
    return [(_name(row), _figures(row)) for row in benchmark.rows]


def _figures(row: Row) -> list[Figure]:
    judged = [
        figure
        for judge, accuracy in row.accuracy.items()
        for figure in (_figure(percent, accuracy, "%"), _figure(points, row.improvement[judge]))
    ]
    plain = [_figure("{:.2f}".format, value) for value in (row.bertscore, row.score, row.seconds)]
    return [*judged, *plain, _figure(money, row.monthly_usd) if row.monthly_usd else Figure("n/a")]


def _figure(write: Callable[[float], str], told: Interval | None, unit: str = "") -> Figure:
    if told is None:
        return Figure("")
    return Figure(write(told.value), f"{write(told.low).removesuffix(unit)} to {write(told.high).removesuffix(unit)}")


def methods_table(benchmark: Benchmark) -> Table:
    """What fits a terminal: accuracy by the first judge and the paired difference with their intervals, seconds, cost."""
    judge = next(iter(benchmark.judges))
    columns = ("Arm", "Accuracy, %", f"Against {REFERENCE}, points", "Seconds", "A month")
    rows = tuple(
        (
            _name(row),
            percent_interval(row.accuracy[judge]).replace("%", ""),
            _gain(row.improvement[judge]),
            f"{row.seconds.value:.2f}",
            money(row.monthly_usd.value) if row.monthly_usd else "n/a",
        )
        for row in benchmark.rows
    )
    return Table(f"The methods, judged by {judge}; intervals are 95%", columns, rows, frozenset(columns[1:]))


def counts_table(benchmark: Benchmark) -> Table:
    """Questions won and lost against standard RAG, those nobody could judge, and what the arm learnt from."""
    columns = ("Arm", "Won, lost, tied", "Not judged", "Trained on", "Model")
    rows = tuple(
        (
            _name(row),
            "" if row.arm == REFERENCE else f"{row.wins:,}, {row.losses:,}, {row.ties:,}",
            f"{row.failures:,}",
            f"{row.trained_on:,} rows" if row.trained_on else "",
            Path(row.model).name if Path(row.model).is_absolute() else row.model,
        )
        for row in benchmark.rows
    )
    return Table("Questions won and lost", columns, rows, frozenset(columns[1:4]))


def time_table(benchmark: Benchmark) -> Table:
    """Seconds and tokens of an answer."""
    columns = ("Arm", "Mean", "Half below", "95% below", "Tokens in", "Tokens out")
    rows = tuple(
        (
            _name(row),
            f"{row.seconds.value:.2f} ({row.seconds.low:.2f} to {row.seconds.high:.2f})",
            duration(row.seconds_p50),
            duration(row.seconds_p95),
            f"{row.tokens_in:,.0f}",
            f"{row.tokens_out:,.1f}",
        )
        for row in benchmark.rows
    )
    return Table("Seconds and tokens of an answer", columns, rows, frozenset(columns[1:]))


def retrieval_table(benchmark: Benchmark) -> Table | None:
    """The grid, the chosen setting marked."""
    if benchmark.retrieval is None:
        return None
    chosen = benchmark.retrieval.chosen
    columns = ("Chunk size", "Retriever", "Chunks shown", "Retrieval accuracy, %", "Characters shown", "")
    rows = tuple(
        (
            f"{trial.chunk_size:,}",
            trial.retriever,
            f"{trial.k}",
            percent_interval(trial.accuracy),
            f"{trial.characters:,.0f}",
            "chosen" if trial == chosen else "too long" if trial.characters > benchmark.retrieval.characters else "",
        )
        for trial in benchmark.retrieval.trials
    )
    return Table("Retrieval on training questions", columns, rows, frozenset(columns[2:5]))


def win_rate_table(benchmark: Benchmark) -> Table | None:
    """The data ablation, two by two."""
    if not benchmark.win_rates:
        return None
    columns = ("First", "Second", "Judge", "Won, lost", "Tied", "Share won of those decided, %")
    rows = tuple(
        (rate.a, rate.b, rate.judge, f"{rate.wins}, {rate.losses}", f"{rate.ties}", percent_interval(rate.share))
        for rate in benchmark.win_rates
    )
    return Table("What more data is worth: answers compared two by two", columns, rows, frozenset(columns[3:]))


def _name(row: Row) -> str:
    return f"{row.arm} *" if row.closed_book else row.arm


def _gain(gain: Interval | None) -> str:
    return "" if gain is None else points_interval(gain)


def _questions(cells: Sequence[Cell]) -> list[tuple[str, str | None, list[tuple[str, object]]]]:
    """(question, gold, [(arm, its answer)]) in the order of the eval set."""
    by_arm = {cell.arm.name: {answer.item_id: answer for answer in cell.first.answers} for cell in cells}
    return [
        (answer.question, answer.gold, [(arm, answers[answer.item_id]) for arm, answers in by_arm.items()])
        for answer in cells[0].first.answers
    ]
