"""`csift gc`: removes what nothing refers to."""

from datetime import timedelta
from typing import Annotated

import typer

from flows.cli import Debug, app, command


@command(app, "gc")
def gc(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go, and remove nothing.")] = False,
    days: Annotated[int, typer.Option(min=1, help="Only what has not changed for so many days.")] = 7,
    debug: Debug = False,
) -> None:
    """Removes artifacts that nothing refers to, of all projects; never the champion's or a decision's evidence."""
    from csift.cleanup import collect
    from csift.db import database
    from csift.reports.cleanup import print_collection
    from tasks.collaborators import store

    print_collection(collect(database(), store(), timedelta(days=days), dry_run), dry_run)
