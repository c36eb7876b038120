"""What `csift judge` prints."""

from collections.abc import Iterable

from rich.console import Console
from rich.text import Text

from csift.reports.console import make_console, plain, table
from csift.reports.wording import count, percent, percent_interval
from csift.schemas import Interval, JudgeCalibration


def print_calibration(made: JudgeCalibration, console: Console | None = None) -> None:
    """The judge, the labels, and how well they agree."""
    out = console or make_console()
    out.print(Text(f"{plain(made.judge_name)} judge  {made.judge_id}", style="head"))
    labels = count(made.judged + made.failures, "labelled answer")
    out.print(f"{labels} to {count(made.groups, 'question')}  {made.labels_id}")
    rows = [
        ("Agreement of verdicts", percent_interval(made.agreement)),
        ("Cohen's kappa", _interval(made.kappa)),
        ("Spearman with the scores", _interval(made.spearman)),
        ("Failed judgements", f"{made.failures:,}"),
    ]
    columns = ("Measure", "Value (95% interval)")
    out.print()
    out.print(table("Judge against labels", columns, rows, numeric=columns[1:]))
    if made.out_of_fold:
        out.print("What is fitted in the judge had not seen the question it judged.")


def print_calibrations(
    made: Iterable[JudgeCalibration], shipped: Iterable[JudgeCalibration], console: Console | None = None
) -> None:
    """The stored calibrations, the newest first, then those that come with csift."""
    out = console or make_console()
    rows = [_row(one, f"{one.at:%Y-%m-%d}") for one in made] + [_row(one, "with csift") for one in shipped]
    columns = ("Made", "Judge", "Judge id", "Labels", "Agree", "Kappa", "Spearman")
    out.print(table("Calibrations", columns, rows, numeric=columns[3:]))


def print_present(name: str, judge_id: str, found: JudgeCalibration | None, console: Console | None = None) -> None:
    """Whether the project's judge, as it is configured now, is calibrated."""
    out = console or make_console()
    known = "calibrated" if found else "not calibrated: run `csift judge calibrate --labels FILE.jsonl`"
    out.print(f"\nThe project's judge is {plain(name)}, {judge_id}: {known}.")


def _row(one: JudgeCalibration, made: str) -> tuple[str, ...]:
    kappa, spearman = ("" if figure is None else f"{figure.value:.2f}" for figure in (one.kappa, one.spearman))
    labels = f"{one.judged:,}" + (f" ({one.failures:,} failed)" if one.failures else "")
    return made, one.judge_name, one.judge_id, labels, percent(one.agreement.value), kappa, spearman


def _interval(figure: Interval | None) -> str:
    return "undefined" if figure is None else f"{figure.value:.3f} ({figure.low:.3f} to {figure.high:.3f})"
