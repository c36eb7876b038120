"""`csift bedrock orphans` and `csift bedrock release`: throughput that was left behind goes on to cost money."""

import time
from typing import Annotated, Any

import typer

from csift.config import load_config
from csift.exceptions import ConfigError, TrainingError
from csift.settings import settings
from flows.cli import DEFAULT_CONFIG, Config, Debug, app, command

bedrock = typer.Typer(no_args_is_help=True, help="Provisioned throughput of the project on Amazon Bedrock.")
app.add_typer(bedrock, name="bedrock")


@command(bedrock, "orphans")
def orphans(config: Config = DEFAULT_CONFIG, debug: Debug = False) -> None:
    """Lists the project's throughputs, each charged by the hour until it is deleted: what it costs, since when."""
    loaded = load_config(config)
    from csift.bedrock import orphans as find
    from csift.db.base import now
    from csift.reports import console

    told = loaded.training.bedrock
    found = find(_client(), loaded.project)
    if not found:
        print(f"{loaded.project} has no provisioned throughput.")
        return
    rows = [
        (
            one.arn,
            one.status,
            str(one.units),
            f"{one.units * told.usd_per_unit_hour:,.2f}" if told else "unknown",
            f"{(now() - one.since).total_seconds() / 3600:.1f}",
            f"{one.until:%Y-%m-%d}" if one.until else "none",
        )
        for one in found
    ]
    columns = ("Throughput", "Status", "Units", "US$ an hour", "Hours", "Committed until")
    console.make_console().print(console.table("Provisioned throughput", columns, rows, numeric=columns[2:5]))


@command(bedrock, "release")
def release(
    throughput: Annotated[str | None, typer.Argument(help="ARN or name of the throughput.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All of the project that have no commitment.")] = False,
    config: Config = DEFAULT_CONFIG,
    debug: Debug = False,
) -> None:
    """Deletes a throughput, or all of them; a run that goes on and needs one fails."""
    loaded = load_config(config)
    if (throughput is None) != everything:
        raise ConfigError("name one throughput, as `csift bedrock orphans` lists it, or say --all")
    from csift.bedrock import orphans as find
    from csift.bedrock import release as delete

    client = _client()
    found = find(client, loaded.project)
    chosen = [one for one in found if (one.until is None if everything else throughput in {one.arn, one.name})]
    if throughput and not chosen:
        raise TrainingError(f"{loaded.project} has no throughput {throughput}; see `csift bedrock orphans`")
    for one in chosen:
        delete(client, one.name, time.sleep)
        print(f"deleted {one.arn}")
    if not chosen:
        print(f"{loaded.project} has no throughput to delete.")


def _client() -> Any:
    from csift.retrieval.aws import aws_client

    return aws_client("bedrock", settings().aws_region, settings().aws_endpoint_url, 2)
