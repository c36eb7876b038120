"""What the command line prints. Every table is drawn by `table`, every progress bar by `ProgressBars`.

Tables fit 80 columns; into a pipe goes plain text without control codes. Results go to standard output, progress and
errors to standard error. Paths are never wrapped, so that they can be copied.
"""

import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from rich import box
from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.table import Column
from rich.table import Table as RichTable
from rich.text import Text
from rich.theme import Theme
from rich.tree import Tree

from csift.reports import tables
from csift.reports.forgetting import retention_sentence
from csift.reports.status import Lineage, Status, drift_verdict, job_line, last_cycle, status_json
from csift.reports.wording import (
    HEADLINES,
    clock,
    count,
    drift_sentence,
    money,
    numbers_sentence,
    points_interval,
    when,
)
from csift.schemas import (
    Cycle,
    CycleState,
    DatasetVersion,
    DriftReport,
    EvalReport,
    EvalSet,
    PromotionDecision,
    Retention,
    System,
)

_THEME = Theme(
    {
        "good": "bold green",
        "bad": "bold red",
        "hold": "bold yellow",
        "muted": "dim",
        "head": "bold",
        "bar.back": "dim",
        "bar.complete": "cyan",
        "bar.finished": "green",
        "bar.pulse": "cyan",
    }
)
_TONES = {
    "PROMOTE": "good",
    "HOLD": "hold",
    "REJECT": "bad",
    "completed": "good",
    "failed": "bad",
    "interrupted": "hold",
}
_CONTROL = {code: None for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}
_DOCUMENTS_SHOWN = 40


def make_console(*, stderr: bool = False) -> Console:
    """The console that everything prints to, with csift's colours; honours NO_COLOR and COLUMNS."""
    return Console(stderr=stderr, theme=_THEME, highlight=False, markup=False, emoji=False)


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], numeric: Iterable[str] = ()) -> RichTable:
    """The one table of the command line. Columns in `numeric` align right; verdicts and states take their colour."""
    right = set(numeric)
    drawn = RichTable(
        title=Text(plain(title), style="head"),
        title_justify="left",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        collapse_padding=True,
        header_style="muted",
        border_style="muted",
    )
    for name in columns:
        drawn.add_column(Text(name), justify="right" if name in right else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*(Text(plain(cell), style=_TONES.get(cell, "")) for cell in row))
    return drawn


def plain(text: str) -> str:
    """Text of others without control characters, so that no document's name can steer the terminal."""
    return text.translate(_CONTROL)


def print_cycle(
    cycle: Cycle,
    decision: PromotionDecision | None,
    champion: EvalReport | None,
    challenger: EvalReport | None,
    retention: Retention | None,
    report_path: str | Path | None,
    console: Console | None = None,
) -> None:
    """What a run ends with: champion and challenger, the decision, what was forgotten, time per stage, where the report is.

    A cycle that ended otherwise says how and why. `decision`, both reports and `retention` are None where it came to none.
    """
    out = console or make_console()
    _line(out, f"{cycle.project}, {cycle.trigger} run of {when(cycle.scheduled_at)}", "head")
    if cycle.state not in {CycleState.COMPLETED, CycleState.RUNNING}:
        _line(out, f"{cycle.state.value}: {cycle.reason}", _TONES.get(cycle.state.value, "hold"))
    if decision and champion and challenger:
        _block(out, _draw(tables.comparison_table(decision, champion, challenger)))
        if decision.slices:
            _block(out, _draw(tables.slices_table(decision)))
    if decision:
        _decision(out, decision)
    if retention:
        out.print()
        _line(out, f"Forgetting: {retention_sentence(retention)}")
    _block(out, _draw(tables.stages_table(cycle)))
    if report_path is not None:
        out.print()
        _path(out, "Report: ", report_path)


def print_inputs(drift: DriftReport, evalset: EvalSet, dataset: DatasetVersion, console: Console | None = None) -> None:
    """What a cycle went by: the drift check, the questions it was judged on, the data it was trained on."""
    out = console or make_console()
    _line(out, f"Drift: {drift_verdict(drift)}. {drift_sentence(drift)}")
    guarded = sum(item.guarded for item in evalset.items)
    reasons = Counter(entry.reason for entry in evalset.retired)
    retired = (
        f"; {len(evalset.retired)} retired ({reasons['changed']} changed, {reasons['gone']} gone)" if evalset.retired else ""
    )
    _line(out, f"Eval set: {count(len(evalset.items), 'question')}, {guarded} guarded from the set before{retired}.")
    teacher = dataset.synthesis
    _line(out, f"Teacher: {teacher.accepted} of {count(teacher.candidates, 'candidate')} accepted.")
    sources = ", ".join(f"{number} {source}" for source, number in dataset.sources.items() if number)
    _line(out, f"Trained on {sources} examples.")


def print_nothing_new(cycle: Cycle, champion: System | None, console: Console | None = None) -> None:
    """What a run that found nothing to do ends with."""
    out = console or make_console()
    _line(out, f"{cycle.project}, {cycle.trigger} run of {when(cycle.scheduled_at)}", "head")
    _line(out, f"Nothing new: {cycle.reason.rstrip('.')}. Nothing was retrained.")
    if champion:
        _line(out, f"The champion stays {champion.id} ({champion.adapter_id or champion.custom_model or 'no adapter'}).")
    _line(out, f"Took {clock(sum(stage.seconds for stage in cycle.stages))}.", "muted")


def print_status(status: Status, console: Console | None = None) -> None:
    """The champion, what it was made from, the last cycles and their cost, the last drift check, and who runs now."""
    out = console or make_console()
    _line(out, status.project, "head")
    if status.champion:
        since = f", since {when(status.since)}" if status.since else ""
        _line(out, f"Champion: {status.champion.id}{since}")
    else:
        _line(out, "No champion yet: run `csift run nightly`.")
    if status.holder:
        _line(out, f"Running now: {status.holder}", "hold")
    for job in status.jobs:
        _line(out, job_line(job, status.holder))
    if status.lineage:
        _block(out, _tree(status.lineage))
    if status.cycles:
        _block(out, _cycles(status))
    last = last_cycle(status)
    if last and last.decision:
        _decision(out, last.decision)
    checked = next((past.drift for past in status.cycles if past.drift), None)
    if checked:
        out.print()
        _line(out, f"Drift: {drift_verdict(checked)}. {drift_sentence(checked)}")


def print_status_json(status: Status) -> None:
    """`status_json` as indented JSON on standard output."""
    sys.stdout.write(json.dumps(status_json(status), indent=2, ensure_ascii=False) + "\n")


def error_line(message: str, console: Console | None = None) -> None:
    """One line on standard error, however many the message has."""
    out = console or make_console(stderr=True)
    out.print(Text.assemble(("error: ", "bad"), plain(" ".join(message.split()))), soft_wrap=True)


def _draw(made: tables.Table) -> RichTable:
    return table(made.title, made.columns, made.rows, made.numeric)


def _line(out: Console, text: str, style: str = "") -> None:
    out.print(Text(plain(text), style=style))


def _path(out: Console, label: str, path: str | Path) -> None:
    out.print(Text.assemble((label, "muted"), plain(str(path))), soft_wrap=True)


def _block(out: Console, drawn: RenderableType) -> None:
    out.print()
    out.print(drawn)


def _decision(out: Console, decision: PromotionDecision) -> None:
    out.print()
    verdict = decision.verdict.value
    out.print(Text.assemble((verdict, _TONES[verdict]), f"  {HEADLINES[decision.verdict]}."))
    _indented(out, numbers_sentence(decision))
    _indented(out, f"Why: {plain(decision.reason)}")


def _indented(out: Console, text: str) -> None:
    out.print(Padding(Text(text), (0, 0, 0, 2), expand=False))


def _tree(lineage: Lineage) -> Tree:
    root = Tree(Text("Made from", style="head"), guide_style="muted")
    node = root
    node = node.add(Text(plain(lineage.adapter_id or lineage.custom_model or "no adapter")))
    if lineage.dataset_id:
        sources = ", ".join(f"{number:,} {source}" for source, number in sorted(lineage.sources.items()))
        node = node.add(Text(f"{plain(lineage.dataset_id)}  {plain(sources)}"))
    node = node.add(Text(f"{plain(lineage.snapshot_id)}  {count(len(lineage.documents), 'document')}"))
    for document in lineage.documents[:_DOCUMENTS_SHOWN]:
        node.add(Text.assemble((document.sha256[:12], "muted"), f"  {plain(document.document_id)}"))
    if (more := len(lineage.documents) - _DOCUMENTS_SHOWN) > 0:
        node.add(Text(f"{more:,} more: csift status --json", style="muted"))
    return root


def _cycles(status: Status) -> RichTable:
    rows = []
    for past in status.cycles:
        outcome = past.decision.verdict.value if past.decision else past.cycle.state.value
        difference = points_interval(past.decision.difference) if past.decision else ""
        seconds = sum(stage.seconds for stage in past.cycle.stages)
        started = when(past.cycle.scheduled_at).removesuffix(" UTC")
        rows.append((started, past.cycle.trigger, outcome, difference, clock(seconds), money(past.cycle.cost.usd)))
    columns = ("When (UTC)", "Trigger", "Outcome", "Difference, points", "Time", "Cost")
    return table("Last cycles", columns, rows, numeric=columns[3:])


class ProgressBars:
    """Progress (csift.interfaces) on a terminal: a bar a stage with count, elapsed time, time left and note.

    Anywhere else, such as a log file, it prints a plain line when a stage starts, at most every 10 seconds while it
    goes on, and when it ends. Calls may come from several threads. A stage that ended and starts again starts over.
    """

    def __init__(self, console: Console | None = None, now: Callable[[], float] = time.monotonic) -> None:
        out = console or make_console(stderr=True)
        live = out.is_terminal and not out.is_dumb_terminal
        self._now = now
        self._lock = threading.Lock()
        self._draw: _Bars | _Lines = _Bars(out, now) if live else _Lines(out)
        self._stages: dict[str, _Stage] = {}

    def __enter__(self) -> Self:
        self._draw.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._draw.stop()

    def __call__(self, stage: str, done: int, total: int, note: str = "") -> None:
        """`done` of `total` parts of a stage are finished."""
        with self._lock:
            known = self._stages.get(stage)
            if known is None or (known.ended and done < total):
                known = self._stages[stage] = _Stage(plain(stage), self._now())
            known.done, known.total, known.note, known.seconds = (
                done,
                total,
                plain(note).replace("\n", " "),
                self._now() - known.began,
            )
            self._draw.show(known)
            known.ended = done >= total


class _Stage:
    """What is known of one stage."""

    def __init__(self, name: str, began: float) -> None:
        self.name = name
        self.began = began
        self.done = self.total = 0
        self.note = ""
        self.seconds = 0.0
        self.ended = False
        self.shown_at: float | None = None
        self.task: TaskID | None = None

    def left(self) -> float | None:
        """Seconds until the end at the mean speed so far, or None before there is one."""
        return self.seconds / self.done * (self.total - self.done) if 0 < self.done < self.total else None


class _Lines:
    """Plain lines, for logs."""

    every = 10.0

    def __init__(self, console: Console) -> None:
        self._console = console

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def show(self, stage: _Stage) -> None:
        ends = stage.done >= stage.total and not stage.ended
        due = stage.shown_at is None or (stage.seconds - stage.shown_at >= self.every and not stage.ended)
        if not (ends or due):
            return
        stage.shown_at = stage.seconds
        left = stage.left()
        parts = [f"{stage.name:<12} {stage.done}/{stage.total}", f"{clock(stage.seconds)} elapsed"]
        if left is not None:
            parts.append(f"{clock(left)} left")
        if stage.note:
            parts.append(stage.note)
        self._console.print(Text("  ".join(parts)), soft_wrap=True)


class _Elapsed(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(clock((task.finished_time if task.finished else task.elapsed) or 0), style="muted")


class _Left(ProgressColumn):
    def render(self, task: Task) -> Text:
        if task.finished:
            return Text("")
        if not task.completed or task.total is None or task.elapsed is None:
            return Text("-:-- left", style="muted")
        return Text(f"{clock(task.elapsed / task.completed * (task.total - task.completed))} left", style="muted")


class _Bars:
    """Bars that stay on the screen, one a stage."""

    def __init__(self, console: Console, now: Callable[[], float]) -> None:
        self._progress = Progress(
            TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis", max_width=14)),
            BarColumn(bar_width=18),
            MofNCompleteColumn(table_column=Column(no_wrap=True, justify="right")),
            _Elapsed(table_column=Column(no_wrap=True, justify="right")),
            _Left(table_column=Column(no_wrap=True, justify="right", min_width=9)),
            TextColumn(
                "{task.fields[note]}",
                markup=False,
                style="muted",
                table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis"),
            ),
            console=console,
            expand=True,  # the note gets what the other columns leave
            get_time=now,
            redirect_stdout=sys.stdout.isatty(),  # else a redirected result would land among the bars
        )

    def start(self) -> None:
        self._progress.start()

    def stop(self) -> None:
        self._progress.stop()

    def show(self, stage: _Stage) -> None:
        if stage.task is None:
            stage.task = self._progress.add_task(stage.name, total=stage.total, note=stage.note)
        # A stage without parts is a full bar.
        self._progress.update(stage.task, completed=stage.done or (stage.total == 0), total=stage.total or 1, note=stage.note)
