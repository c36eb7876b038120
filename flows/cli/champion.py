"""`csift status`, `csift decide --replay`, `csift promote` and `csift rollback`."""

from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from csift.config import load_config
from flows.cli import DEFAULT_CONFIG, Config, Debug, app, command, user


@command(app, "status")
def status(
    config: Config = DEFAULT_CONFIG,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Follow the run that goes on until Ctrl-C.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For scripts; with --watch an object a line, one a change.")] = False,
    debug: Debug = False,
) -> None:
    """The champion, its lineage down to the documents, the last cycles and what they cost."""
    project = load_config(config).project
    from csift import overview
    from csift.db import database
    from csift.reports import status_console
    from csift.reports.watch import print_watch, print_watch_json

    db = database()
    if watch:
        # Ctrl-C is how watching ends, not how it fails: exit code 0, as of watch(1) and htop.
        with suppress(KeyboardInterrupt):
            (print_watch_json if as_json else print_watch)(overview.watch(db, project))
        return
    (status_console.print_status_json if as_json else status_console.print_status)(overview.read_status(db, project))


@command(app, "decide")
def decide(
    replay: Annotated[str, typer.Option(help="Id of the decision.")],
    config: Config = DEFAULT_CONFIG,
    page: Annotated[Path | None, typer.Option(help="Write the decision as a page for people, to this file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The whole record, for scripts.")] = False,
    debug: Debug = False,
) -> int:
    """Decides again from the stored evidence; exit code 1 when anything differs."""
    from csift import promotion, registry
    from csift.db import database
    from csift.schemas import PromotionDecision

    stored = registry.load(database(), PromotionDecision, replay)
    again = promotion.replay(stored)
    same = again == stored
    if page is not None:
        from csift.reports.decision import render_decision

        page.write_text(render_decision(stored), encoding="utf-8")
    if as_json:
        print(stored.model_dump_json(indent=2))
        return 0 if same else 1
    print(f"{stored.id}: {stored.verdict}, replayed {again.verdict}: {'the same in every number' if same else 'NOT the same'}")
    print(again.reason)
    return 0 if same else 1


@command(app, "promote")
def promote(
    decision: Annotated[str, typer.Argument(help="Id of a PROMOTE decision that awaits approval.")],
    by: Annotated[str, typer.Option(help="Who approves, kept with the decision; your name on this machine if not given.")] = "",
    note: Annotated[str, typer.Option(help="Why; likewise.")] = "",
    config: Config = DEFAULT_CONFIG,
    debug: Debug = False,
) -> None:
    """Approves a promotion that the gate found and a person must confirm, and moves the champion."""
    project = load_config(config).project
    from csift import approvals, registry
    from csift.db import database
    from csift.db.base import now
    from csift.reports.decision import page_key
    from csift.schemas import ApprovalAnswer
    from tasks.collaborators import store

    said = ApprovalAnswer(approved=True, by=by.strip() or user(), note=note.strip(), at=now())
    approvals.answer(database(), store(), project, decision, said)
    move = registry.champion_log(database(), project)[0]
    print(f"{project}: champion is {move.to_system_id}, in place of {move.from_system_id} (move {move.version})")
    print(f"Approved by {said.by}; the decision: {store().uri(page_key(decision))}")


@command(app, "rollback")
def rollback(config: Config = DEFAULT_CONFIG, debug: Debug = False) -> None:
    """Moves the champion back to the one before the last promotion."""
    project = load_config(config).project
    from csift import registry
    from csift.db import database

    move = registry.rollback(database(), project)
    print(f"{project}: champion is {move.to_system_id} again, in place of {move.from_system_id} (move {move.version})")
