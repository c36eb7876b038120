"""What `csift status` prints: the champion, what it was made from, the last cycles, the last drift check, who runs now."""

import json
import sys

from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text
from rich.tree import Tree

from csift.reports.backfill import states_table
from csift.reports.console import block, draw, line, make_console, plain, table
from csift.reports.run_console import print_decision
from csift.reports.status import Lineage, Status, drift_verdict, job_line, last_cycle, status_json
from csift.reports.verdicts import approval_sentence
from csift.reports.wording import DELETED, accuracy_sentence, clock, count, drift_sentence, money, points_interval, when
from csift.schemas import DriftReport, MonitorReport

_DOCUMENTS_SHOWN = 40


def print_status(status: Status, console: Console | None = None) -> None:
    """The champion, what it was made from, the last cycles and their cost, the last drift check, and who runs now."""
    out = console or make_console()
    line(out, status.project, "head")
    if status.champion:
        since = f", since {when(status.since)}" if status.since else ""
        line(out, f"Champion: {status.champion.id}{since}")
    else:
        line(out, "No champion yet: run `csift run nightly`.")
    if status.holder:
        line(out, f"Running now: {status.holder}", "hold")
    for job in status.jobs:
        line(out, job_line(job, status.holder))
    for decision in status.awaiting:
        line(out, f"{decision.id} {approval_sentence(decision)}.", "hold")
    if status.lineage:
        block(out, _tree(status.lineage))
    if status.cycles:
        block(out, _cycles(status))
    last = last_cycle(status)
    if last and last.partitions:
        block(out, draw(states_table(last.partitions)))
    if last and last.decision:
        print_decision(out, last.decision)
    checked = next((past.drift for past in status.cycles if past.drift), None)
    if checked:
        out.print()
        line(out, f"Drift: {drift_verdict(checked)}. {drift_sentence(checked)}")


def print_monitor(seen: MonitorReport, drift: DriftReport, console: Console | None = None) -> None:
    """What a look between nights saw: rated answers, drift, what was sent."""
    out = console or make_console()
    line(out, f"{seen.project}, {when(seen.at)}", "head")
    line(out, f"Champion: {seen.champion_id or 'none yet'}")
    line(out, f"Answers: {accuracy_sentence(seen.accuracy)}")
    line(out, f"Drift: {drift_verdict(drift)}. {drift_sentence(drift)}")
    if seen.events:
        line(out, f"Sent: {', '.join(seen.events)}.")
    if seen.note:
        line(out, f"Done: {seen.note}.")


def print_status_json(status: Status) -> None:
    """`status_json` as indented JSON on standard output."""
    sys.stdout.write(json.dumps(status_json(status), indent=2, ensure_ascii=False) + "\n")


def _tree(lineage: Lineage) -> Tree:
    root = Tree(Text("Made from", style="head"), guide_style="muted")
    node = root
    node = node.add(Text(plain(lineage.adapter_id or lineage.custom_model or "no adapter")))
    if lineage.dataset_id:
        sources = ", ".join(f"{number:,} {source}" for source, number in sorted(lineage.sources.items()))
        node = node.add(Text(f"{plain(lineage.dataset_id)}  {plain(sources)}"))
        if lineage.deletion_id:
            node.add(Text(DELETED, style="bad"))
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
