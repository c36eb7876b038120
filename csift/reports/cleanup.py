"""What `csift gc` prints."""

from itertools import groupby

from rich.console import Console

from csift.cleanup import RESULTS_KEPT, Collection
from csift.reports.console import line, make_console, path
from csift.reports.wording import count, size


def print_collection(made: Collection, dry_run: bool, console: Console | None = None) -> None:
    """What goes, by the reason, with its bytes; then what stays."""
    out = console or make_console()
    for why, group in groupby(made.collected, key=lambda one: one.why):
        rows = list(group)
        line(out, f"{why[0].upper()}{why[1:]} ({len(rows):,}, {size(sum(row.size for row in rows))}):", "head")
        for row in rows:
            path(out, f"  {size(row.size):>9}  ", row.key)
    verb = "Would remove" if dry_run else "Removed"
    gone, kept = count(len(made.collected), "thing"), count(made.kept, "thing")
    line(out, f"{verb} {gone}, {size(made.bytes)}. Kept {kept}, {size(made.kept_bytes)}.")
    days = RESULTS_KEPT.days
    line(out, f"{verb} {count(made.results, 'task result')} older than {days} days, {size(made.result_bytes)}.")
    if made.unknown:
        known = "which this database knows nothing of; remove them by hand if no other one does"
        line(out, f"Left alone: {count(made.unknown, 'thing')}, {size(made.unknown_bytes)}, {known}.", "hold")
