"""What `csift trial show` prints: champion and challenger side by side."""

from csift.reports.console import block, line, make_console, table
from csift.reports.wording import percent_interval, when
from csift.schemas import ArmReport, TrialReport


def print_trial(report: TrialReport) -> None:
    """The trial, both Systems' numbers, and what to make of them."""
    out, trial = make_console(), report.trial
    line(out, f"{trial.project}: {trial.kind} on {trial.share:.1%} of the sessions, since {when(trial.began_at)}", "head")
    line(out, f"Ended {when(trial.ended_at)}: {trial.reason}." if trial.ended_at else "It goes on.")
    arms = {"Champion": report.champion, "Challenger": report.challenger}
    for name, arm in arms.items():
        line(out, f"{name}: {arm.system_id}", "muted")
    told = _MEASURED if trial.kind == "shadow" else {**_MEASURED, **_SAID}
    rows = [[name, *(value(arm) for arm in arms.values())] for name, value in told.items()]
    block(out, table("Side by side", ("", *arms), rows, numeric=arms))
    if report.same:
        line(out, f"The same answer, word for word: {percent_interval(report.same)}, 95% interval.")
    if trial.kind == "shadow":
        line(out, f"Left out for want of time: {trial.dropped:,}. Nobody rates a shadow: its answers are for review.")
    else:
        line(out, "Well rated: by more people good than bad, 95% interval.")
    if trial.failed:
        line(out, f"The challenger failed at {trial.failed:,}.", "bad")


def _seconds(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.2f} s"


def _tokens(arm: ArmReport) -> str:
    return f"{arm.tokens_out / arm.answers:.1f}" if arm.answers else "n/a"


_MEASURED = {
    "Answers": lambda arm: f"{arm.answers:,}",
    "Median": lambda arm: _seconds(arm.median_seconds),
    "95th percentile": lambda arm: _seconds(arm.p95_seconds),
    "Tokens an answer": _tokens,
}
_SAID = {
    "Sessions": lambda arm: f"{arm.sessions:,}",
    "Rated": lambda arm: f"{arm.rated:,}",
    "Well rated": lambda arm: percent_interval(arm.good) if arm.good else "n/a",
}
