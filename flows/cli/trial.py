"""`csift trial`: a challenger on part of the traffic, as canary or as shadow."""

from typing import Annotated

import typer

from csift.config import load_config
from flows.cli import DEFAULT_CONFIG, Config, Debug, app, command

trial = typer.Typer(no_args_is_help=True, help="A challenger on part of the traffic of `csift serve`, beside the champion.")
app.add_typer(trial, name="trial")

SystemId = Annotated[str, typer.Argument(metavar="SYSTEM", help="Id of the challenger, as its decision names it.")]
Share = Annotated[float, typer.Option(min=0.001, max=1.0, help="Of the sessions, from 0.001 to 1.")]


@command(trial, "canary")
def canary(system: SystemId, share: Share = 0.1, config: Config = DEFAULT_CONFIG, debug: Debug = False) -> None:
    """The challenger answers a share of the sessions, and says so; running servers follow within seconds."""
    project = load_config(config).project
    from csift import trials
    from csift.db import database

    begun = trials.begin(database(), project, "canary", system, share)
    print(
        f"{begun.system_id} answers {begun.share:.1%} of the sessions of {project}, until the champion moves or `csift trial end`"
    )


@command(trial, "shadow")
def shadow(system: SystemId, share: Share = 1.0, config: Config = DEFAULT_CONFIG, debug: Debug = False) -> None:
    """The challenger answers as well, unseen and when the server has time; its answers are kept beside the champion's."""
    project = load_config(config).project
    from csift import trials
    from csift.db import database

    begun = trials.begin(database(), project, "shadow", system, share)
    told = f"{begun.system_id} answers {begun.share:.1%} of the sessions of {project} unseen"
    print(f"{told}, until the champion moves or `csift trial end`")


@command(trial, "show")
def show(
    config: Config = DEFAULT_CONFIG,
    as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False,
    debug: Debug = False,
) -> None:
    """Champion and challenger side by side, of the trial that goes on or the last one."""
    project = load_config(config).project
    from csift import trials
    from csift.db import database
    from csift.exceptions import GateError
    from csift.reports.trial import print_trial

    found = trials.newest(database(), project)
    if found is None:
        raise GateError(f"nothing was tried in {project} yet; see `csift trial canary --help`")
    report = trials.compare(database(), found)
    if as_json:
        print(report.model_dump_json(indent=2))
    else:
        print_trial(report)


@command(trial, "end")
def end(config: Config = DEFAULT_CONFIG, debug: Debug = False) -> None:
    """Ends the trial; the champion answers everybody again within seconds."""
    project = load_config(config).project
    from csift import trials
    from csift.db import database
    from csift.exceptions import GateError

    ended = trials.end(database(), project, "somebody ended it")
    if ended is None:
        raise GateError(f"nothing is tried in {project} at the moment")
    print(f"the {ended.kind} of {ended.system_id} has ended; `csift trial show` compares it with the champion")
