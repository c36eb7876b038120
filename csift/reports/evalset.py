"""An eval set on the command line."""

from collections import Counter

from rich.console import Console

from csift.reports.console import make_console, table
from csift.reports.tables import counts_table
from csift.reports.verdicts import outlook_sentence
from csift.reports.wording import count
from csift.schemas import EvalSet, EvalSetHistory, Outlook


def print_evalset(evalset: EvalSet, history: EvalSetHistory, outlook: Outlook, console: Console | None = None) -> None:
    """What is asked, what was decided, and what the next decision can tell."""
    out = console or make_console()
    documents = len({item.document_id for item in evalset.items})
    out.print(f"{evalset.id}: {count(len(evalset.items), 'question')} about {count(documents, 'document')}")
    styles = counts_table("Questions by style", "Style", Counter(item.style for item in evalset.items))
    out.print(table(styles.title, styles.columns, styles.rows, styles.numeric))
    decided = f"{history.promoted} PROMOTE, {history.held} HOLD, {history.rejected} REJECT"
    out.print(f"\nLife {evalset.life} of the project's eval sets: {count(history.decisions, 'conclusive decision')}, {decided}.")
    out.print(outlook_sentence(outlook))
