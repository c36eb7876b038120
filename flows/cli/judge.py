"""`csift judge calibrate` and `list`."""

from pathlib import Path
from typing import Annotated

import typer

from csift.config import load_config
from flows.cli import DEFAULT_CONFIG, Config, Debug, app, command

judge = typer.Typer(no_args_is_help=True, help="Judges: how well they agree with labels.")
app.add_typer(judge, name="judge")


@command(judge, "calibrate")
def calibrate(
    labels: Annotated[Path, typer.Option("--labels", help="JSONL of judged answers; see docs/judges.md.")],
    config: Config = DEFAULT_CONFIG,
    debug: Debug = False,
) -> None:
    """Has the project's judge score answers that were judged before, and keeps how well it agrees; the gate asks for it."""
    loaded = load_config(config)
    from csift.db import database
    from csift.judges import calibration
    from csift.judges.labelled import read_labelled
    from csift.reports.calibration import print_calibration
    from tasks import collaborators

    rows = read_labelled(labels)
    made = calibration.calibrate(collaborators.judge(loaded), loaded.judge.name, rows)
    print_calibration(calibration.save(database(), made))


@command(judge, "list")
def list_(config: Config = DEFAULT_CONFIG, debug: Debug = False) -> None:
    """The calibrations that are stored and those that come with csift, and whether the project's judge has one."""
    loaded = load_config(config)
    from csift.db import database
    from csift.judges import calibration
    from csift.reports.calibration import print_calibrations, print_present
    from tasks import collaborators

    print_calibrations(calibration.stored(database()), calibration.shipped())
    judge_id = collaborators.judge(loaded).id
    print_present(loaded.judge.name, judge_id, calibration.newest(database(), judge_id))
