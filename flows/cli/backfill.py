"""`csift backfill`: the loop over windows of a corpus, or what that would take."""

from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import ValidationError

from csift.config import LoopConfig, explain, load_config
from csift.exceptions import ConfigError
from csift.schemas.base import Every
from flows.cli import DEFAULT_CONFIG, Config, Debug, app, command, place
from flows.cli.loop import run_flow

if TYPE_CHECKING:
    from csift.backfill import BackfillRequest

DAY = "as 2024-03-17; a document's date is in its path, else that of its last change"


@command(app, "backfill")
def backfill(
    config: Config = DEFAULT_CONFIG,
    since: Annotated[str | None, typer.Option(help=f"First day, {DAY}.")] = None,
    until: Annotated[str | None, typer.Option(help="Last day.")] = None,
    every: Annotated[Every | None, typer.Option(help="A partition each; month where days are given, else a source each.")] = None,
    corpus: Annotated[
        str | None, typer.Option(help="Folder or s3://bucket/prefix to use in place of the source's location.")
    ] = None,
    parallel: Annotated[int | None, typer.Option(help="Partitions at once, 1 to 16; 4 unless given.")] = None,
    promote: Annotated[bool, typer.Option("--promote", help="Move the champion when the challenger is better.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it would take; write nothing, ask nobody.")] = False,
    debug: Debug = False,
) -> int:
    """The loop over partitions of the corpus, each taught once; the champion stays unless --promote."""
    loaded = load_config(config)
    from csift.backfill import BackfillRequest, over

    given: dict[str, Any] = {"since": since, "until": until, "every": every, "parallel": parallel}
    try:
        request = BackfillRequest(
            corpus=place(corpus) if corpus else corpus,
            promote=promote,
            dry_run=dry_run,
            **{name: value for name, value in given.items() if value is not None},
        )
    except ValidationError as error:
        raise ConfigError(explain(error)) from None
    told = over(loaded, request)
    if request.dry_run:
        return _foretell(told, request)
    from flows.backfill import backfill as flow

    return run_flow(lambda: flow(loaded, request, return_state=True))


def _foretell(config: LoopConfig, request: "BackfillRequest") -> int:
    from csift.backfill import estimate
    from csift.db import database
    from csift.reports import console
    from csift.reports.backfill import print_estimate

    db = database()
    with console.ProgressBars() as bars:
        made = estimate(db, config, request, bars)
    print_estimate(made)
    return 0
