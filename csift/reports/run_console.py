"""What a run prints when it ends: what it went by, champion against challenger, the decision, where the report is."""

from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from csift.reports import tables
from csift.reports.console import TONES, block, draw, line, make_console, path, plain
from csift.reports.forgetting import retention_sentence
from csift.reports.status import drift_verdict
from csift.reports.verdicts import HEADLINES, approval_sentence, budget_sentence, numbers_sentence
from csift.reports.wording import clock, count, drift_sentence, when
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
    line(out, f"{cycle.project}, {cycle.trigger} run of {when(cycle.scheduled_at)}", "head")
    if cycle.state not in {CycleState.COMPLETED, CycleState.RUNNING}:
        line(out, f"{cycle.state.value}: {cycle.reason}", TONES.get(cycle.state.value, "hold"))
    if decision and champion and challenger:
        block(out, draw(tables.comparison_table(decision, champion, challenger)))
        if decision.slices:
            block(out, draw(tables.slices_table(decision)))
        if decision.guards:
            block(out, draw(tables.guards_table(decision)))
    if decision:
        print_decision(out, decision)
    if retention:
        out.print()
        line(out, f"Forgetting: {retention_sentence(retention)}")
    block(out, draw(tables.stages_table(cycle)))
    if report_path is not None:
        out.print()
        path(out, "Report: ", report_path)


def print_inputs(drift: DriftReport, evalset: EvalSet, dataset: DatasetVersion, console: Console | None = None) -> None:
    """What a cycle went by: the drift check, the questions it was judged on, the data it was trained on."""
    out = console or make_console()
    line(out, f"Drift: {drift_verdict(drift)}. {drift_sentence(drift)}")
    guarded = sum(item.guarded for item in evalset.items)
    reasons = Counter(entry.reason for entry in evalset.retired)
    retired = (
        f"; {len(evalset.retired)} retired ({reasons['changed']} changed, {reasons['gone']} gone)" if evalset.retired else ""
    )
    line(out, f"Eval set: {count(len(evalset.items), 'question')}, {guarded} guarded from the set before{retired}.")
    teacher = dataset.synthesis
    line(out, f"Teacher: {teacher.accepted} of {count(teacher.candidates, 'candidate')} accepted.")
    sources = ", ".join(f"{number} {source}" for source, number in dataset.sources.items() if number)
    line(out, f"Trained on {sources} examples.")


def print_nothing_new(cycle: Cycle, champion: System | None, console: Console | None = None) -> None:
    """What a run that found nothing to do ends with."""
    out = console or make_console()
    line(out, f"{cycle.project}, {cycle.trigger} run of {when(cycle.scheduled_at)}", "head")
    line(out, f"Nothing new: {cycle.reason.rstrip('.')}. Nothing was retrained.")
    if champion:
        line(out, f"The champion stays {champion.id} ({champion.adapter_id or champion.custom_model or 'no adapter'}).")
    line(out, f"Took {clock(sum(stage.seconds for stage in cycle.stages))}.", "muted")


def print_decision(out: Console, decision: PromotionDecision) -> None:
    """The verdict, its numbers, why, and what it took of the eval set's budget."""
    out.print()
    verdict = decision.verdict.value
    out.print(Text.assemble((verdict, TONES[verdict]), f"  {HEADLINES[decision.verdict]}."))
    _indented(out, numbers_sentence(decision))
    _indented(out, f"Why: {plain(decision.reason)}")
    _indented(out, budget_sentence(decision))
    if said := approval_sentence(decision):
        _indented(out, f"People: it {'was ' if decision.approval and decision.approval.answer else ''}{said}.")


def _indented(out: Console, text: str) -> None:
    out.print(Padding(Text(text), (0, 0, 0, 2), expand=False))
