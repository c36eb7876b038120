"""`csift export`: an adapter for other servers, merged into its base."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from csift.config import LoopConfig, load_config
from csift.exceptions import ConfigError
from flows.cli import DEFAULT_CONFIG, Config, Debug, app, command


@command(app, "export")
def export(
    adapter: Annotated[str, typer.Argument(help="Id of the adapter, as `csift status` shows it.")],
    merged: Annotated[Path | None, typer.Option(metavar="DIR", help="New folder for the model in Hugging Face's layout.")] = None,
    bedrock: Annotated[str | None, typer.Option(metavar="S3", help="s3://bucket/prefix that Bedrock imports it from.")] = None,
    role: Annotated[str | None, typer.Option(metavar="ARN", help="Role in which Bedrock reads it; see docs/serving.md.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Import, with what it costs.")] = False,
    config: Config = DEFAULT_CONFIG,
    debug: Debug = False,
) -> None:
    """Merges an adapter into its base: a folder for any server (--merged), or a model of Amazon Bedrock's (--bedrock)."""
    loaded = load_config(config)
    if (merged is None) == (bedrock is None):
        raise ConfigError("say where it is to go: --merged DIR, or --bedrock s3://bucket/prefix")
    if merged is not None:
        from csift.reports.wording import size
        from tasks.exporting import write

        target = merged.expanduser().absolute()
        written = write(loaded, adapter, target)
        print(f"{adapter} with its base, {size(written)}, in {target}")
        return
    _import(loaded, adapter, str(bedrock), role, yes)


def _import(config: LoopConfig, adapter: str, place: str, role: str | None, yes: bool) -> None:
    from csift.bedrock.imports import NOTICE
    from csift.reports import console
    from tasks.exporting import imported

    told = config.training.bedrock
    if (role_arn := role or (told.role_arn if told else None)) is None:
        raise ConfigError("say with --role in which role Bedrock reads the model")
    if not yes:
        raise ConfigError(f"{NOTICE}; nothing was done, say --yes to import it")
    print(f"{NOTICE[0].upper()}{NOTICE[1:]}.", file=sys.stderr)
    with console.ProgressBars() as bars:
        arn = imported(config, adapter, place, role_arn, bars)
    print(arn)
    print(f"{adapter} is a model of Bedrock's now; ask it there, delete it there when it is no more needed", file=sys.stderr)
