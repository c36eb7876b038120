"""`csift evalset show` and `csift evalset refresh`."""

import typer

from csift.config import LoopConfig, load_config
from csift.schemas import EvalSet
from flows.cli import DEFAULT_CONFIG, Config, Debug, app, command

evalset = typer.Typer(no_args_is_help=True, help="The questions that the gate decides on, and what of their budget is left.")
app.add_typer(evalset, name="evalset")


@command(evalset, "show")
def show(config: Config = DEFAULT_CONFIG, debug: Debug = False) -> None:
    """The newest eval set: its questions by style, the decisions made on it, and what the next one can tell."""
    loaded = load_config(config)
    from csift import evalsets
    from csift.db import database

    _tell(loaded, evalsets.newest(database(), loaded.project))


@command(evalset, "refresh")
def refresh(config: Config = DEFAULT_CONFIG, debug: Debug = False) -> None:
    """Swaps in labelled questions that no decision was made on, the golden ones among them, and begins a new budget."""
    loaded = load_config(config)
    from csift import evalsets
    from csift.corpus import ingest
    from csift.db import database
    from csift.labels import register
    from csift.leases import cycle_lease, hold
    from csift.reports import console
    from tasks.collaborators import index

    db = database()
    with hold(db, cycle_lease(loaded.project)), console.ProgressBars() as bars:
        report = ingest(db, index(loaded.project, loaded.retrieval), loaded.project, loaded.corpus, bars)
        labels = register(db, loaded.project, loaded.corpus, report)
        made = evalsets.refresh(db, loaded.project, labels, loaded.gate.min_items)
    _tell(loaded, made)


def _tell(config: LoopConfig, made: EvalSet) -> None:
    from csift import registry
    from csift.db import database
    from csift.reports.evalset import print_evalset
    from tasks.promotion import outlook_of

    history = registry.history(database(), config.project, made.life)
    print_evalset(made, history, outlook_of(config, made))
