"""What `csift benchmark` prints."""

from rich.console import Console

from csift.benchmarks import Benchmark
from csift.reports.benchmark import headline, methods_table, win_rate_table
from csift.reports.console import make_console, plain, table
from csift.reports.wording import count


def print_benchmark(benchmark: Benchmark, report: str, console: Console | None = None) -> None:
    """The table, the best arm against standard RAG, the ablation, and where the report is."""
    out = console or make_console()
    which = "golden part" if benchmark.golden else "eval set"
    out.print(f"{benchmark.project}, {count(benchmark.questions, 'question')} of the {which}")
    for made in (methods_table(benchmark), win_rate_table(benchmark)):
        if made:
            out.print()
            out.print(table(made.title, made.columns, made.rows, made.numeric))
    out.print()
    out.print(plain(headline(benchmark)) + ".")
    if any(row.closed_book for row in benchmark.rows):
        out.print("* closed-book: asked without excerpts.")
    out.print(f"Report: {plain(report)}", soft_wrap=True)
