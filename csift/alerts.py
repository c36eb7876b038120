"""What people are told when something happens that cannot wait for somebody to look: what happened, the numbers, where to read
more, what to do. Pure; tasks/events.py sends them, deployments/automations.py says to whom."""

from datetime import datetime
from typing import Literal

from csift.reports.wording import whose
from csift.schemas import AccuracyWatch, Cycle, DriftReport, PromotionDecision
from csift.schemas.base import Record

Event = Literal[
    "csift.accuracy.regressed",
    "csift.drift.detected",
    "csift.cycle.failed",
    "csift.budget.exhausted",
    "csift.promotion.made",
    "csift.approval.asked",
    "csift.evalset.exhausted",
]


class Alert(Record):
    """One event of a project. Every field is filled, since a template that names a missing one fails in silence."""

    event: Event
    project: str
    happened: str
    numbers: str
    link: str
    what_to_do: str


def accuracy_regressed(project: str, watch: AccuracyWatch, rolled_back_to: str | None, link: str) -> Alert:
    """Rated answers are right less often than before."""
    done = (
        f"The last promotion was taken back: {rolled_back_to} answers again. Label some of the wrong answers, so that the next "
        "challenger is judged on them."
        if rolled_back_to
        else "See what changed with `csift status`; `csift rollback` takes the last promotion back."
    )
    return Alert(
        event="csift.accuracy.regressed",
        project=project,
        happened="Rated answers of the champion got worse.",
        numbers=(
            f"{watch.now:.1%} of {watch.sessions} rated sessions since {watch.since:%Y-%m-%d} were right, {watch.before:.1%} "
            f"before; had nothing changed, a month would bring this alarm with a chance of at most {watch.level:.2%}"
            f"{'.' if watch.self_selected else ''}{whose(watch)}"
        ),
        link=link,
        what_to_do=done,
    )


def drift_detected(project: str, report: DriftReport) -> Alert:
    """The traffic differs from the reference."""
    found = [signal for signal in report.signals if signal.drifted]
    return Alert(
        event="csift.drift.detected",
        project=project,
        happened=f"The traffic drifted: {', '.join(signal.name for signal in found)}.",
        numbers="; ".join(
            f"{signal.name}: p = {signal.p_value:.2g} below {signal.level:.2g}, {signal.units} sessions" for signal in found
        ),
        link=report.html_uri,
        what_to_do=(
            "Read the questions that are least like the reference's. Where documents are missing, add them; where answers are, "
            "label questions of the new kind."
        ),
    )


def cycle_failed(cycle: Cycle, budget: bool) -> Alert:
    """A cycle ended with an error, or at its budget."""
    last = next((stage for stage in reversed(cycle.stages) if stage.state == "failed"), None)
    return Alert(
        event="csift.budget.exhausted" if budget else "csift.cycle.failed",
        project=cycle.project,
        happened=f"The {cycle.trigger} cycle {'used up its budget' if budget else 'failed'}: {cycle.reason}",
        numbers=(
            f"{len(cycle.stages)} stages begun, {last.stage if last else 'none'} failed; {cycle.cost.calls} calls, "
            f"${cycle.cost.usd:.2f}"
        ),
        link=cycle.report_uri or cycle.id,
        what_to_do=(
            "Raise [budget] and start it again: it goes on where it stopped, and pays for nothing twice."
            if budget
            else "Mend what the message names and start it again: it goes on where it stopped."
        ),
    )


def cycle_unrecorded(project: str, trigger: str, reason: str) -> Alert:
    """A cycle ended, or could not begin, with nothing said of it in Postgres, which is away."""
    return Alert(
        event="csift.cycle.failed",
        project=project,
        happened=f"The {trigger} cycle failed: {reason}",
        numbers="not known, as Postgres is away",
        link="see the run in Prefect",
        what_to_do="Start Postgres, then the cycle: it goes on where it stopped.",
    )


def promotion_made(project: str, decision: PromotionDecision, link: str) -> Alert:
    """The champion was replaced."""
    return Alert(
        event="csift.promotion.made",
        project=project,
        happened=f"{decision.evidence.challenger_system_id} is the champion now.",
        numbers=_gain(decision),
        link=link,
        what_to_do=f"Nothing. `csift decide --replay {decision.id}` decides again; `csift rollback` takes it back.",
    )


def approval_asked(decision: PromotionDecision, until: datetime, link: str) -> Alert:
    """The gate says PROMOTE, and a person is to say so, too."""
    told = decision.evidence
    return Alert(
        event="csift.approval.asked",
        project=told.project,
        happened=f"{told.challenger_system_id} may become the champion: it awaits approval until {until:%Y-%m-%d %H:%M} UTC.",
        numbers=_gain(decision),
        link=link,
        what_to_do=(
            f"Read the decision, then answer the suspended run “approve {decision.id}” in Prefect, or run "
            f"`csift promote {decision.id}`. Do nothing and the champion stays."
        ),
    )


def _gain(decision: PromotionDecision) -> str:
    gain = decision.difference
    return (
        f"{decision.challenger_accuracy.value:.1%} right on {len(decision.evidence.items)} questions, "
        f"{decision.champion_accuracy.value:.1%} before: {100 * gain.value:+.1f} points "
        f"({100 * gain.low:+.1f} to {100 * gain.high:+.1f})"
    )


def evalset_exhausted(project: str, evalset_id: str, sentence: str) -> Alert:
    """The eval set bears few more decisions; `sentence` has its numbers."""
    return Alert(
        event="csift.evalset.exhausted",
        project=project,
        happened="The eval set's budget against false promotions runs low.",
        numbers=sentence,
        link=evalset_id,
        what_to_do="Label fresh questions and swap them in with `csift evalset refresh`.",
    )
