"""What a challenger still can, in words and as a table, the same in the report and on the command line."""

from typing import Any

from csift.reports.tables import Table
from csift.reports.wording import count, level, points
from csift.schemas import Retention, SkillRetention


def retention_sentence(made: Retention) -> str:
    """ "Of 120 general questions the challenger got 28 right, the champion 31 and the untrained base model 30: ..."."""
    others = f"the champion, which is the untrained base model, {made.before}"
    if made.untrained is None:
        others = f"the champion {made.before}"
    elif not from_untrained(made):
        others = f"the champion {made.before} and the untrained base model {made.untrained}"
    found = made.difference
    sentence = (
        f"Of {count(made.questions, 'general question')} the challenger got {made.after} right, {others}: "
        f"{points(found.value)} points from the champion, {level(made.confidence)} interval "
        f"{points(found.low)} to {points(found.high)}."
    )
    return f"{sentence} {count(made.failures, 'question')} could not be answered by all of them." if made.failures else sentence


def from_untrained(made: Retention) -> bool:
    """Whether the champion is the challenger's base model itself, as in a new project."""
    return made.before_score_id == made.untrained_score_id


def retention_table(made: Retention) -> Table:
    """Right answers by skill; the untrained model has a column of its own unless it is the champion or was not asked."""

    def row(skill: str, part: SkillRetention | Retention) -> tuple[str, ...]:
        change = f"{part.after - part.before:+d}" if part.after != part.before else "0"
        figures = (f"{part.questions}", f"{part.untrained}", f"{part.before}", f"{part.after}", change)
        return (skill.replace("_", " "), *figures)

    columns: tuple[str, ...] = ("Skill", "Asked", "Untrained", "Champion", "Challenger", "Change")
    rows = [*(row(part.skill, part) for part in made.skills), row("all", made)]
    if made.untrained is None or from_untrained(made):
        columns, rows = columns[:2] + columns[3:], [cells[:2] + cells[3:] for cells in rows]
    return Table("Right answers by skill", columns, tuple(rows), frozenset(columns[1:]))


def retention_json(made: Retention) -> dict[str, Any]:
    """JSON-ready: right answers of the same questions; difference and bounds in shares, not points."""
    return {
        "questions": made.questions,
        "failures": made.failures,
        "untrained": made.untrained,
        "before": made.before,
        "after": made.after,
        "difference": made.difference.value,
        "low": made.difference.low,
        "high": made.difference.high,
    }
