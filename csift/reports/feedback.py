"""What `csift feedback` prints."""

from collections.abc import Sequence

from rich.console import Console

from csift.reports.console import block, line, make_console, plain, table
from csift.reports.wording import DELETED, count
from csift.schemas import Deletion, Dispute, HumanFeedback

SHOWN = 60  # characters of an answer in a table
SAID = {"good": "the good side is right", "bad": "the bad side is right", "neither": "neither is used"}


def print_imported(file: str, rows: int, new: int, scrubbed: str, console: Console | None = None) -> None:
    """What of a file is new."""
    line(console or make_console(), f"{count(rows, 'row')} of {file}: {new:,} new, {rows - new:,} known. {scrubbed}")


def print_lessons(
    project: str,
    rows: int,
    taught: HumanFeedback,
    per_rater: int,
    unheard: int,
    open_disputes: Sequence[Dispute],
    console: Console | None = None,
) -> None:
    """What all feedback of a project teaches, and what of it does not count; `unheard`: rows beyond the cap of a rater."""
    out = console or make_console()
    good = sum(rating.desirable for rating in taught.ratings)
    line(
        out,
        f"All feedback of {project}, {count(rows, 'row')}, teaches {count(len(taught.examples), 'training row')}, "
        f"{count(len(taught.preferences), 'preference pair')}, {count(len(taught.ratings), 'rated answer')} ({good:,} good) and "
        f"{count(len(taught.scores), 'scored answer')}.",
    )
    if unheard:
        line(
            out,
            f"{count(unheard, 'row')} beyond the {per_rater:,} answers on which one rater is heard ([feedback] per_rater; all "
            "without a name are one rater).",
        )
    if open_disputes:
        line(out, f"{count(len(open_disputes), 'dispute')} to settle, until then not used: csift feedback disputes")
    line(out, "The next dataset takes what is about its training documents and leaks no evaluation question.")


def print_disputes(project: str, found: Sequence[Dispute], console: Console | None = None) -> None:
    """Each dispute with its sides and comments, open ones first."""
    out = console or make_console()
    if not found:
        line(out, f"Nobody contradicts anybody in the feedback of {project}.")
        return
    rows = [_row(dispute) for dispute in sorted(found, key=lambda dispute: dispute.settled is not None)]
    block(out, table(f"Where raters of {project} disagree", ("Dispute", "Question and answer", "Good", "Bad", "Settled"), rows))
    line(out, "csift feedback settle DISPUTE good|bad|neither")
    line(out, "good: the answer after → is right; bad: it is wrong, or the other one is right; neither: not to be used", "muted")


def _row(dispute: Dispute) -> tuple[str, ...]:
    asked = [plain(dispute.question), f"→ {_short(dispute.answer)}"]
    asked += [f"or {_short(dispute.other)}"] if dispute.other else []
    asked += [f"“{_short(comment)}”" for comment in dispute.comments]
    return dispute.id, "\n".join(asked), str(dispute.good), str(dispute.bad), dispute.settled or "open"


def _short(text: str) -> str:
    flat = " ".join(plain(text).split())
    return flat if len(flat) <= SHOWN else f"{flat[: SHOWN - 1]}…"


def settled_sentence(dispute: Dispute) -> str:
    """What was settled."""
    what = f"{_short(dispute.answer)!r}" + (f" against {_short(dispute.other)!r}" if dispute.other else "")
    return f"{dispute.id}: {SAID[str(dispute.settled)]} on {what}; the next training takes it so"


def print_deletion(project: str, made: Deletion | None, console: Console | None = None) -> None:
    """What was deleted, where it stood, and what is not reached."""
    out = console or make_console()
    if made is None:
        line(out, f"{project} keeps nothing of them.")
        return
    line(
        out,
        f"{made.id}: deleted {count(made.feedback, 'row')} of feedback, {count(made.answers, 'served answer')} and "
        f"{count(len(made.rows), 'training row')} in {count(len(made.datasets), 'dataset')}.",
    )
    for id_ in made.datasets:
        line(out, f"  {id_}: {DELETED}")
    trained = (
        "adapters that were trained on these datasets, exported files, rows that were sent to Bedrock, " if made.datasets else ""
    )
    line(out, f"Decisions replay as before. Not reached, for you to delete: {trained}backups.")
