"""The tables that reports, pages and the command line show: made once, drawn by console.py and by parts.html."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from csift.reports.wording import count, duration, level, money, percent, percent_interval, points, points_interval
from csift.schemas import Cost, Cycle, EvalReport, GuardResult, PromotionDecision, RetiredLabel


@dataclass(frozen=True)
class Table:
    """Caption, column names, rows of text; columns in `numeric` align right, cells in `stressed` stand out."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: frozenset[str] = frozenset()
    stressed: frozenset[str] = frozenset()


def comparison_table(decision: PromotionDecision, champion: EvalReport, challenger: EvalReport) -> Table:
    """Champion against challenger, a measure a row; accuracies as the gate saw them, of questions judged for both."""
    confidence = level(decision.policy.confidence)

    def row(measure: str, left: str, right: str) -> tuple[str, str, str]:
        return measure, left, right

    reports = (champion, challenger)
    accuracies = (decision.champion_accuracy, decision.challenger_accuracy)
    rows = (
        row("System", *(report.system_id for report in reports)),
        row(f"Accuracy, % ({confidence} interval)", *map(percent_interval, accuracies)),
        row(f"Difference, points ({confidence})", "", points_interval(decision.difference)),
        row("Wins, losses, ties", "", f"{decision.wins}, {decision.losses}, {decision.ties}"),
        row("Failed judgements", *(f"{report.failures:,}" for report in reports)),
        row("Seconds per answer", *(f"{report.seconds_per_answer:.2f}" for report in reports)),
        row("Tokens", *(f"{report.tokens:,}" for report in reports)),
        row("Cost", *("n/a" if report.cost_usd is None else money(report.cost_usd) for report in reports)),
    )
    return Table("Champion and challenger", ("Measure", "Champion", "Challenger"), rows, frozenset({"Champion", "Challenger"}))


def slices_table(decision: PromotionDecision) -> Table:
    """The paired difference by slice, its bounds one-sided 95% each, and what the gate makes of it."""
    won, lost = _won_and_lost(decision)
    columns = ("Slice", "Questions", "Won, lost", "Difference, points (90%)", "Gate")
    rows = tuple(
        (
            part.name,
            f"{part.items:,}",
            f"{won[part.name]:,}, {lost[part.name]:,}",
            points_interval(part.difference),
            _BLOCKS if part.blocks else ("passes" if part.guarded else "unguarded"),
        )
        for part in decision.slices
    )
    return Table("Paired difference by slice", columns, rows, frozenset(columns[1:4]), frozenset({_BLOCKS}))


_BLOCKS = "blocks"


def guards_table(decision: PromotionDecision) -> Table:
    """What must not get worse: both Systems, the 95% bound on the bad side, and what the gate allows."""

    def row(guard: GuardResult) -> tuple[str, ...]:
        reading, share = guard.reading, guard.reading.kind == "points"
        values = [percent(value) if share else f"{value:.3g}" for value in (reading.champion, reading.challenger)]
        worst = f"{points(reading.worst)} points" if share else f"{reading.worst:.2f} times"
        limit = f"{points(guard.limit)} points" if share else f"{guard.limit:g} times"
        return reading.name.capitalize(), *values, worst, limit, "holds" if guard.holds else _BLOCKS

    columns = ("What", "Champion", "Challenger", "At worst (95% bound)", "Allowed", "Gate")
    rows = tuple(row(guard) for guard in decision.guards)
    return Table("What must not get worse", columns, rows, frozenset(columns[1:5]), frozenset({_BLOCKS}))


def _won_and_lost(decision: PromotionDecision) -> tuple[Counter[str], Counter[str]]:
    won: Counter[str] = Counter()
    lost: Counter[str] = Counter()
    for item in decision.evidence.items:
        if item.champion is not None and item.challenger is not None and item.champion != item.challenger:
            (won if item.challenger > item.champion else lost).update(item.slices)
    return won, lost


def stages_table(cycle: Cycle) -> Table:
    """What each stage of the cycle took."""
    total = sum(stage.seconds for stage in cycle.stages)
    rows: list[tuple[str, ...]] = [
        (stage.stage, stage.state, duration(stage.seconds), percent(stage.seconds / total) if total else "n/a")
        for stage in cycle.stages
    ]
    rows.append(("all stages", "", duration(total), ""))
    return Table("Time per stage", ("Stage", "State", "Time", "Share"), tuple(rows), frozenset({"Time", "Share"}))


def cost_table(cost: Cost) -> Table:
    """Model calls of a cycle and what they cost."""
    rows = (
        ("Model calls", f"{cost.calls:,}"),
        ("Calls answered from the store", f"{cost.reused_calls:,}"),
        ("Tokens in", f"{cost.tokens_in:,}"),
        ("Tokens out", f"{cost.tokens_out:,}"),
        ("Cost", money(cost.usd)),
    )
    return Table("Model calls and cost", ("What", "Amount"), rows, frozenset({"Amount"}))


def counts_table(title: str, what: str, counts: Mapping[str, int]) -> Table:
    """Counts and their shares, largest first."""
    total = sum(counts.values())
    ordered = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    rows = tuple((name, f"{number:,}", percent(number / total) if total else "n/a") for name, number in ordered)
    return Table(title, (what, "Count", "Share"), rows, frozenset({"Count", "Share"}))


def retired_table(retired: Sequence[RetiredLabel]) -> Table:
    """Retired questions counted by reason and split."""
    counts = Counter((label.reason, label.split) for label in retired)
    rows = tuple((_REASONS[reason], split, f"{number:,}") for (reason, split), number in sorted(counts.items()))
    title = f"{count(len(retired), 'retired question')} by reason"
    return Table(title, ("Reason", "Split", "Questions"), rows, frozenset({"Questions"}))


_REASONS = {"changed": "its document changed", "gone": "its document is gone"}
