"""`csift ingest`: documents into the project's index, with a report of what was skipped, scrubbed and found twice."""

from pathlib import Path
from typing import Annotated, Literal

import typer
from pydantic import TypeAdapter, ValidationError

from csift.config import CorpusConfig, LoopConfig, RetrievalConfig, SourceConfig, load_config
from csift.exceptions import ConfigError
from flows.cli import DEFAULT_CONFIG, Debug, app, command, place

Layout = Literal["files", "cuad"]
WITH = "with a location"


@command(app, "ingest")
def ingest(
    location: Annotated[str | None, typer.Argument(help="Folder, file or s3://bucket/prefix; else those of the TOML.")] = None,
    config: Annotated[
        Path, typer.Option("--config", "-c", envvar="CSIFT_CONFIG", help="The project's TOML; not read with a location.")
    ] = DEFAULT_CONFIG,
    project: Annotated[str | None, typer.Option(help=f"Name of the project; {WITH}.")] = None,
    layout: Annotated[Layout, typer.Option("--format", help=f"cuad: CUAD's own layout; {WITH}.")] = "files",
    licence: Annotated[str, typer.Option(help=f"Licence of the documents; {WITH}.")] = "unstated",
    retrieval_only: Annotated[bool, typer.Option("--retrieval-only", help=f"Never train on them; {WITH}.")] = False,
    debug: Debug = False,
) -> None:
    """Reads, scrubs, chunks and indexes the documents that are new or changed, and says what came of them."""
    retrieval = RetrievalConfig()
    if location is not None:
        name, corpus = _named(project, location, layout, licence, not retrieval_only)
    elif project or retrieval_only or (layout, licence) != ("files", "unstated"):
        raise ConfigError("--project, --format, --licence and --retrieval-only go with a location; name one, or leave them out")
    else:
        loaded = load_config(config)
        name, corpus, retrieval = loaded.project, loaded.corpus, loaded.retrieval
    from csift.corpus import ingest as run
    from csift.db import database
    from csift.reports import console
    from csift.reports.ingest import print_ingest
    from tasks.collaborators import index

    db = database()
    with console.ProgressBars() as bars:
        report = run(db, index(name, retrieval), name, corpus, bars)
    print_ingest(report)


def _named(project: str | None, location: str, layout: Layout, licence: str, may_train: bool) -> tuple[str, CorpusConfig]:
    """The project and the corpus that the command line describes. Raises ConfigError when that is none."""
    if project is None:
        raise ConfigError(f"which project is {location} for? name it with --project")
    try:
        name = TypeAdapter(Annotated[str, LoopConfig.model_fields["project"]]).validate_python(project)
    except ValidationError as error:
        raise ConfigError(f"--project {project}: {error.errors()[0]['msg']}") from None
    source = SourceConfig(location=place(location), format=layout, licence=licence, may_train=may_train)
    return name, CorpusConfig(sources=(source,))
