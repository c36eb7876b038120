"""The run report: everything one cycle decided and why, as a single HTML file.

The file loads nothing and runs nothing (its own Content-Security-Policy forbids both); texts of the corpus and of
models are shown as text. The same records give the same bytes.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import quote, urlsplit

from markupsafe import Markup

from csift.exceptions import GateError
from csift.reports import plots, tables, verdicts
from csift.reports.answers import answers_table, guard_sentence
from csift.reports.forgetting import retention_sentence, retention_table
from csift.reports.page import render_page
from csift.reports.status import drift_verdict
from csift.schemas import (
    Cycle,
    DatasetVersion,
    DriftReport,
    EvalItem,
    EvalReport,
    EvalSet,
    JudgedAnswer,
    PromotionDecision,
    Rejection,
    Retention,
    RetiredLabel,
    StageLosses,
    System,
)

Outcome = Literal["won", "lost", "failed", "both-wrong", "both-right"]

_OUTCOMES: dict[Outcome, tuple[str, str, bool]] = {  # heading, what it means, unfolded at first
    "won": ("Won", "the champion was wrong, the challenger is right", True),
    "lost": ("Lost", "the champion was right, the challenger is wrong", True),
    "failed": ("Not judged", "an answer or its judgement failed; counted apart, never as wrong", True),
    "both-wrong": ("Both wrong", "neither is right", False),
    "both-right": ("Both right", "nothing changed", False),
}


@dataclass(frozen=True)
class RunReport:
    """The records of one judged cycle. `losses` has the stages that the challenger's adapter came about by, in their order."""

    project: str
    cycle: Cycle
    champion: System
    champion_report: EvalReport
    challenger: System
    challenger_report: EvalReport
    decision: PromotionDecision
    retention: Retention
    losses: tuple[StageLosses, ...]
    dataset: DatasetVersion
    retired: tuple[RetiredLabel, ...]
    drift: DriftReport | None
    evalset: EvalSet


@dataclass(frozen=True)
class Comparison:
    """One eval question with both answers."""

    item: EvalItem
    slices: tuple[str, ...]
    champion: JudgedAnswer
    challenger: JudgedAnswer

    @property
    def outcome(self) -> Outcome:
        """What changed from champion to challenger."""
        before, after = self.champion.score, self.challenger.score
        if before is None or after is None:
            return "failed"
        if before.correct == after.correct:
            return "both-right" if after.correct else "both-wrong"
        return "won" if after.correct else "lost"


@dataclass(frozen=True)
class Group:
    """The questions of one outcome, in the order of the eval set."""

    name: Outcome
    heading: str
    meaning: str
    unfolded: bool
    comparisons: tuple[Comparison, ...]


def render_run_report(run: RunReport) -> str:
    """One self-contained HTML page, light and dark, readable without scripts.

    Raises:
        GateError: a report lacks the answer to a question of the eval set.
    """
    groups = compare(run)
    return render_page(
        "run_report.html",
        run=run,
        groups=groups,
        headline=verdicts.HEADLINES[run.decision.verdict],
        numbers=verdicts.numbers_sentence(run.decision),
        comparison=tables.comparison_table(run.decision, run.champion_report, run.challenger_report),
        measured=answers_table(run.champion_report, run.challenger_report),
        guard_note=guard_sentence(run.champion_report, run.challenger_report),
        guards=tables.guards_table(run.decision),
        budget=verdicts.budget_sentence(run.decision),
        slices=tables.slices_table(run.decision),
        guarded=sum(item.guarded for item in run.evalset.items),
        rejected=tables.counts_table("Refused candidates by reason", "Reason", run.dataset.synthesis.rejected),
        samples=_samples(run.dataset.synthesis.samples),
        sources=tables.counts_table("Examples by source", "Source", run.dataset.sources),
        decontaminated=tables.counts_table("Examples removed against leakage", "Check", run.dataset.decontaminated),
        retired=tables.retired_table(run.retired),
        stages=tables.stages_table(_so_far(run.cycle)),
        cost=tables.cost_table(run.cycle.cost),
        retained=retention_sentence(run.retention),
        skills=retention_table(run.retention),
        drift_verdict=drift_verdict(run.drift),
        drift_href=href(run.drift.html_uri) if run.drift else None,
        replay=_replay(run),
        loss_caption=plots.loss_caption(run.losses),
        **_pictures(run),
    )


def compare(run: RunReport) -> tuple[Group, ...]:
    """Every question of the eval set once, by outcome: what changed first.

    Raises:
        GateError: a report lacks the answer to a question of the eval set.
    """
    before, after = _answers(run.champion_report, run.evalset), _answers(run.challenger_report, run.evalset)
    slices = {item.item_id: item.slices for item in run.decision.evidence.items}
    rows = [Comparison(item, slices.get(item.id, ()), before[item.id], after[item.id]) for item in run.evalset.items]
    return tuple(
        Group(name, heading, meaning, unfolded, tuple(row for row in rows if row.outcome == name))
        for name, (heading, meaning, unfolded) in _OUTCOMES.items()
    )


def href(uri: str) -> str | None:
    """The URI as a link: paths and file or http addresses; None for what a browser cannot open, such as s3."""
    if Path(uri).is_absolute():
        return "file://" + quote(uri)
    scheme = urlsplit(uri).scheme
    if scheme in {"file", "http", "https"}:
        return uri
    return None if scheme else quote(uri)


def _so_far(cycle: Cycle) -> Cycle:
    """Without the stage that is writing this report."""
    return cycle.model_copy(update={"stages": tuple(stage for stage in cycle.stages if stage.state != "running")})


def _answers(report: EvalReport, evalset: EvalSet) -> dict[str, JudgedAnswer]:
    answers = {answer.item_id: answer for answer in report.answers}
    if missing := [item.id for item in evalset.items if item.id not in answers]:
        raise GateError(f"{report.id} has no answer to {missing[0]} of {evalset.id}; evaluate {report.system_id} again")
    return answers


def _samples(samples: Iterable[Rejection]) -> dict[str, list[Rejection]]:
    by_reason: dict[str, list[Rejection]] = {}
    for sample in sorted(samples, key=lambda sample: sample.reason):
        by_reason.setdefault(sample.reason, []).append(sample)
    return by_reason


def _pictures(run: RunReport) -> dict[str, Markup | None]:
    synthesis = run.dataset.synthesis
    return {
        "difference_plot": _both(lambda name, width: plots.difference_plot(run.decision, name, width), "difference"),
        "loss_plot": _both(lambda name, width: plots.loss_plot(run.losses, name, width), "loss")
        if any(stage.points for stage in run.losses)
        else None,
        "yield_plot": _both(lambda name, width: plots.yield_plot(synthesis, name, width), "yield")
        if synthesis.candidates
        else None,
    }


def _both(draw: Callable[[str, int], str], name: str) -> Markup:
    """The plot for a screen and for a telephone; the stylesheet shows one of them, so that its text is never scaled."""
    parts = (("wide", plots.WIDE), ("narrow", plots.NARROW))
    # plots.svg escapes every text that it draws.
    return Markup("".join(f'<div class="{kind}">{draw(f"{name}-{kind}", width)}</div>' for kind, width in parts))


def _replay(run: RunReport) -> tuple[tuple[str, str], ...]:
    decision, dataset = run.decision, run.dataset
    return (
        ("Decision", decision.id),
        ("Champion", run.champion.id),
        ("Champion's adapter", run.champion.adapter_id or "none"),
        ("Champion's report", run.champion_report.id),
        ("Challenger", run.challenger.id),
        ("Challenger's adapter", run.challenger.adapter_id or "none"),
        ("Challenger's report", run.challenger_report.id),
        ("Base model", f"{run.challenger.base_model} @ {run.challenger.base_revision}"),
        ("Corpus", run.challenger.snapshot_id),
        ("Dataset", dataset.id),
        ("Eval set", run.evalset.id),
        ("Judge", decision.evidence.judge_id),
        ("General questions", run.retention.general_id),
        ("Forgetting", run.retention.id),
        ("Drift report", run.drift.id if run.drift else "none"),
        ("Cycle", run.cycle.id),
    )
