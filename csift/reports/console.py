"""The parts of what the command line prints. Every table is drawn by `table`, every progress bar by `ProgressBars`.

Tables fit 80 columns; into a pipe goes plain text without control codes. Results go to standard output, progress and
errors to standard error. Paths are never wrapped, so that they can be copied.
"""

import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from rich import box
from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.table import Column
from rich.table import Table as RichTable
from rich.text import Text
from rich.theme import Theme

from csift.reports import tables
from csift.reports.wording import (
    clock,
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
TONES = {
    "PROMOTE": "good",
    "HOLD": "hold",
    "REJECT": "bad",
    "completed": "good",
    "failed": "bad",
    "interrupted": "hold",
}
_CONTROL = {code: None for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}


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
        drawn.add_row(*(Text(plain(cell), style=TONES.get(cell, "")) for cell in row))
    return drawn


def plain(text: str) -> str:
    """Text of others without control characters, so that no document's name can steer the terminal."""
    return text.translate(_CONTROL)


def error_line(message: str, console: Console | None = None) -> None:
    """One line on standard error, however many the message has."""
    out = console or make_console(stderr=True)
    out.print(Text.assemble(("error: ", "bad"), plain(" ".join(message.split()))), soft_wrap=True)


def draw(made: tables.Table) -> RichTable:
    """A table of csift.reports.tables as the command line shows it."""
    return table(made.title, made.columns, made.rows, made.numeric)


def line(out: Console, text: str, style: str = "") -> None:
    """One line of text of others, safe to print."""
    out.print(Text(plain(text), style=style))


def path(out: Console, label: str, target: str | Path) -> None:
    """A path after its label, never wrapped."""
    out.print(Text.assemble((label, "muted"), plain(str(target))), soft_wrap=True)


def block(out: Console, drawn: RenderableType) -> None:
    """What is set apart by an empty line before it."""
    out.print()
    out.print(drawn)


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
