"""`csift status --watch`: a picture that is kept up to date on a terminal, lines elsewhere."""

import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from csift.jobs import Job, JobState
from csift.reports.backfill import partition_line, states_sentence
from csift.reports.console import make_console, plain, table
from csift.reports.status import Now, job_holder, job_line, job_silence, now_json, process
from csift.reports.wording import clock, count, duration, money, when
from csift.schemas import Cycle, CycleState

EVERY_SECONDS = 10.0  # between two lines that tell only of the progress of one job
FRAMES = 2  # a second; the seconds that pass are drawn without asking the database


def print_watch(states: Iterable[Now], console: Console | None = None, timer: Callable[[], float] = time.monotonic) -> None:
    """Shows each state in place of the one before; where the output is no terminal, prints a line for each change."""
    out = console or make_console()
    if out.is_terminal and not out.is_dumb_terminal:
        _picture(out, states, timer)
        return
    changes = Changes()
    for now in states:
        for line in changes(now):
            out.print(Text(line), soft_wrap=True)


def print_watch_json(states: Iterable[Now]) -> None:
    """One JSON object a line, whenever something is not as it was; seconds that pass are no change."""
    told: Mapping[str, Fact] | None = None
    for now in states:
        found = facts(now)
        if found != told:
            print(json.dumps(now_json(now), ensure_ascii=False), flush=True)
        told = found


@dataclass(frozen=True)
class Fact:
    """Something that is so at a moment. Another `text` of the same `matter` is progress, which need not be told each time."""

    matter: str
    text: str


def facts(now: Now) -> dict[str, Fact]:
    """All that a log tells of a state, by what it is about, in the order in which it is told."""
    found = {"champion": _fact(_champion(now))}
    if now.cycle and now.cycle.state is CycleState.RUNNING:
        found["cycle"] = _fact(_cycle(now, now.cycle))
    for stage in now.cycle.stages if now.cycle else ():
        ended = "" if stage.state == "running" else f" after {duration(stage.seconds)}"
        found[f"stage {stage.stage}"] = _fact(f"{stage.stage} {stage.state}{ended}")
    for partition in now.partitions if now.cycle and now.cycle.state is CycleState.RUNNING else ():
        found[f"partition {partition.id}"] = Fact(partition.state, partition_line(partition))
    if now.cycle and now.cycle.state is not CycleState.RUNNING:  # after the stages that it ended with
        found["cycle"] = _fact(_cycle(now, now.cycle))
    for job in now.jobs:
        over = job.progress is not None and job.progress.done >= job.progress.total
        matter = f"{job_holder(job, now.holder)} {job_silence(job)} {over}"
        found[f"job {job.id}"] = Fact(matter, job_line(job, now.holder))
    return {about: Fact(fact.matter, plain(fact.text).replace("\n", " ")) for about, fact in found.items()}


class Changes:
    """What is not as it was in the state before, as lines for a log; of a job's mere progress one every `EVERY_SECONDS`."""

    def __init__(self) -> None:
        self._told: dict[str, tuple[Fact, datetime]] = {}

    def __call__(self, now: Now) -> list[str]:
        """The lines that a new state gives; all there is to say of the first one."""
        lines = []
        for about, fact in facts(now).items():
            if self._is_news(about, fact, now.at):
                self._told[about] = (fact, now.at)
                lines.append(f"{now.at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}  {fact.text}")
        return lines

    def _is_news(self, about: str, fact: Fact, at: datetime) -> bool:
        if about not in self._told:
            return True
        before, told_at = self._told[about]
        if fact.matter == before.matter:
            return fact.text != before.text and (at - told_at).total_seconds() >= EVERY_SECONDS
        return True


def picture(now: Now, passed: float, width: int = 80) -> Group:
    """A state as it is drawn on a terminal, `passed` seconds after it was read."""
    parts: list[RenderableType] = [Text(plain(now.project), style="head"), Text(plain(_champion(now)))]
    if now.cycle:
        style = "bad" if now.cut_off else "hold" if now.cycle.state is CycleState.RUNNING else ""
        parts.append(Text(plain(_cycle(now, now.cycle)), style=style))
        if now.cycle.stages:
            parts += [Text(""), _stages(now.cycle, 0.0 if now.cut_off else passed)]
    if now.partitions:
        parts += [Text(""), Text(states_sentence(now.partitions), style="head")]
        parts += [_below(partition_line(partition)) for partition in now.partitions if partition.state == "partly"]
    for job in now.jobs:
        parts += [Text(""), *_job(job, now, passed, width)]
    goes_on = "; the run goes on" if now.holder else ""
    return Group(*parts, Text(""), Text(f"Ctrl-C ends watching{goes_on}.", style="muted"))


def _picture(out: Console, states: Iterable[Now], timer: Callable[[], float]) -> None:
    shown: list[tuple[Now, float]] = []

    def draw() -> RenderableType:
        if not shown:
            return Text("")
        now, read_at = shown[-1]
        return picture(now, timer() - read_at, out.width)

    with Live(get_renderable=draw, console=out, refresh_per_second=FRAMES) as live:
        for now in states:
            shown[:] = [(now, timer())]
            live.refresh()


def _champion(now: Now) -> str:
    if now.champion is None:
        return "No champion yet"
    return f"Champion: {now.champion.id}" + (f", since {when(now.since)}" if now.since else "")


def _cycle(now: Now, cycle: Cycle) -> str:
    """One line of how the newest cycle stands."""
    name = f"{cycle.trigger} run of {when(cycle.scheduled_at)}"
    if cycle.state is CycleState.RUNNING:
        return f"Running: {name}, by {process(now.holder)}" if now.holder else f"Cut off: {name}; run it again and it continues"
    ended = now.verdict.value if now.verdict else cycle.state.value
    return f"Last: {name}, {ended}: {cycle.reason}"


def _stages(cycle: Cycle, passed: float) -> Group:
    rows = [
        (stage.stage, "running", clock(stage.seconds + passed))
        if stage.state == "running"
        else (stage.stage, stage.state, duration(stage.seconds))
        for stage in cycle.stages
    ]
    drawn = table("Stages", ("Stage", "State", "Time"), rows, numeric=("Time",))
    calls = f"{count(cycle.cost.calls, 'model call')}, {money(cycle.cost.usd)}"
    return Group(drawn, Text(calls, style="muted"))


def _job(job: Job, now: Now, passed: float, width: int) -> list[RenderableType]:
    """A bar with step of total, and below it what the job says of itself and who has it."""
    stand = job.progress
    head = Table.grid(padding=(0, 1))
    name = Text(plain(stand.stage if stand else job.kind), style="head")
    if stand is None:
        head.add_row(name, Text("nothing reported yet", style="muted"))
    else:
        bar = ProgressBar(total=max(stand.total, 1), completed=stand.done, width=max(10, min(40, width - 40)))
        head.add_row(name, bar, Text(f"{stand.done:,}/{stand.total:,}"))
    lines: list[RenderableType] = [head]
    if stand and stand.note:
        lines.append(_below(stand.note))
    silent = "" if job.silent is None or job.state is JobState.QUEUED else f", last heartbeat {job.silent + passed:.0f} s ago"
    lines.append(_below(f"{job_holder(job, now.holder)}{silent}", "muted"))
    if silence := job_silence(job):
        lines.append(_below(silence, "bad"))
    return lines


def _below(text: str, style: str = "") -> Padding:
    return Padding(Text(plain(text), style=style), (0, 0, 0, 2), expand=False)


def _fact(text: str) -> Fact:
    return Fact(text, text)
