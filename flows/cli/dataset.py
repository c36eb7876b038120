"""`csift dataset show`, `diff`, `rejects` and `export`."""

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from csift.config import load_config
from flows.cli import DEFAULT_CONFIG, Config, Debug, app, command

if TYPE_CHECKING:
    from csift.reports.dataset import DatasetView

dataset = typer.Typer(no_args_is_help=True, help="Training sets: what is in them, how they differ, what was refused.")
app.add_typer(dataset, name="dataset")

Version = Annotated[str, typer.Argument(help="Id of a dataset, the beginning of one, or `latest`.")]
AsJson = Annotated[bool, typer.Option("--json", help="For scripts.")]


class Form(StrEnum):
    """The formats of csift.exports, here by name so that `csift --help` loads nothing."""

    CHAT = "chat"
    TRL = "trl"
    TRL_PREFERENCE = "trl-preference"
    TRL_KTO = "trl-kto"
    BEDROCK = "bedrock"
    CSV = "csv"


@command(dataset, "show")
def show(version: Version = "latest", config: Config = DEFAULT_CONFIG, as_json: AsJson = False, debug: Debug = False) -> None:
    """Rows by source and style, documents by split, yields, rejections, lengths, recipe, data card."""
    from csift.reports import dataset as printed

    view = _view(config, version)
    if as_json:
        _print_json(printed.dataset_json(view))
    else:
        printed.print_dataset(view)


@command(dataset, "diff")
def diff(before: Version, after: Version, config: Config = DEFAULT_CONFIG, as_json: AsJson = False, debug: Debug = False) -> None:
    """Rows added, removed and kept, and what changed in the recipe."""
    from csift.reports import dataset as printed

    compared = printed.compare(_view(config, before), _view(config, after))
    if as_json:
        _print_json(printed.diff_json(compared))
    else:
        printed.print_diff(compared)


@command(dataset, "rejects")
def rejects(
    version: Version = "latest",
    reason: Annotated[str | None, typer.Option(help="Only of this reason.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 20,
    config: Config = DEFAULT_CONFIG,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Candidates that were refused for a dataset, and why."""
    view = _view(config, version)
    from csift.dataset import load_rejections
    from csift.db import database
    from csift.exceptions import GateError
    from csift.reports import dataset as printed

    if reason is not None and reason not in view.rejected:
        known = ", ".join(view.rejected) or "none"
        raise GateError(f"nothing was refused for {reason!r} in {view.version.id}; the reasons there: {known}")
    shown = load_rejections(database(), view.version.id, reason, limit)
    if as_json:
        _print_json([entry.model_dump(mode="json") for entry in shown])
    else:
        printed.print_rejections(view, shown, sum(view.rejected.values()) if reason is None else view.rejected[reason])


@command(dataset, "export")
def export(
    version: Version,
    form: Annotated[Form, typer.Option("--format", help="Who is to read it.")],
    out: Annotated[Path, typer.Option("--out", help="File to write.")],
    config: Config = DEFAULT_CONFIG,
    debug: Debug = False,
) -> None:
    """Writes a dataset for another trainer: chat and trl rows, Bedrock customization, CSV."""
    view = _view(config, version)
    from csift import exports
    from csift.dataset import load_preferences, load_ratings, load_texts
    from csift.db import database

    pairs, ratings = load_preferences(database(), view.version), load_ratings(database(), view.version)
    shown = [row.context_chunk_ids for row in view.rows] + [pair.context_chunk_ids for pair in pairs]
    shown += [rating.context_chunk_ids for rating in ratings]
    texts = load_texts(database(), {id_ for ids in shown for id_ in ids})
    written = exports.export(out, exports.Format(form.value), view.rows, pairs, ratings, texts)
    print(f"{written:,} rows of {view.version.id} in {out}")


def _view(config: Path, version: str) -> "DatasetView":
    """The version of the project; its data card, where one was written."""
    project = load_config(config).project
    from csift.dataset import find, read_view
    from csift.db import database
    from tasks.collaborators import store

    found = find(database(), project, version)
    card = f"data-cards/{found.version.id}.html"
    return read_view(database(), project, found, store().uri(card) if store().has(card) else None)


def _print_json(told: Any) -> None:
    print(json.dumps(told, indent=2, ensure_ascii=False))
