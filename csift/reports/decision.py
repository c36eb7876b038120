"""The decision page: one verdict of the gate, for who has to answer for it."""

from markupsafe import Markup

from csift.interfaces import ObjectStore
from csift.reports import plots, tables, verdicts, wording
from csift.reports.page import render_page
from csift.reports.tables import Table
from csift.schemas import PromotionDecision


def page_key(decision_id: str) -> str:
    """What the page is under in the store."""
    return f"decisions/{decision_id}.html"


def publish_decision(store: ObjectStore, decision: PromotionDecision) -> str:
    """Writes the page, in place of one from before people answered; returns its address."""
    return store.put(page_key(decision.id), render_decision(decision).encode())


def render_decision(decision: PromotionDecision) -> str:
    """One self-contained HTML page with all that the gate went by; the same decision gives the same bytes."""
    return render_page(
        "decision.html",
        decision=decision,
        headline=verdicts.HEADLINES[decision.verdict],
        numbers=verdicts.numbers_sentence(decision),
        approval=verdicts.approval_sentence(decision),
        budget=verdicts.budget_sentence(decision),
        outcomes=_outcomes(decision),
        guards=tables.guards_table(decision),
        slices=tables.slices_table(decision),
        unguarded=[part.name for part in decision.slices if not part.guarded and not part.blocks],
        difference_plot=_plot(decision),
        replay=_replay(decision),
    )


def _outcomes(decision: PromotionDecision) -> Table:
    rows = (
        ("Champion right", wording.percent_interval(decision.champion_accuracy)),
        ("Challenger right", wording.percent_interval(decision.challenger_accuracy)),
        ("Difference, points", wording.points_interval(decision.difference)),
        ("Only the challenger right", f"{decision.wins:,}"),
        ("Only the champion right", f"{decision.losses:,}"),
        ("Both right, or both wrong", f"{decision.ties:,}"),
        ("Could not be judged", f"{decision.failures:,}"),
    )
    columns = ("On the same questions", f"Value ({wording.level(decision.policy.confidence)} interval)")
    return Table("Outcomes", columns, rows, frozenset(columns[1:]))


def _plot(decision: PromotionDecision) -> Markup:
    parts = (("wide", plots.WIDE), ("narrow", plots.NARROW))
    # plots.svg escapes every text that it draws.
    drawn = (f'<div class="{kind}">{plots.difference_plot(decision, f"difference-{kind}", width)}</div>' for kind, width in parts)
    return Markup("".join(drawn))


def _replay(decision: PromotionDecision) -> tuple[tuple[str, str], ...]:
    evidence = decision.evidence
    return (
        ("Decision", decision.id),
        ("Champion", evidence.champion_system_id),
        ("Champion's report", evidence.champion_report_id),
        ("Challenger", evidence.challenger_system_id),
        ("Challenger's report", evidence.challenger_report_id),
        ("Eval set", evidence.evalset_id),
        ("Judge", evidence.judge_id),
        ("Decisions before", f"{decision.history.decisions} in life {decision.history.life}"),
    )
