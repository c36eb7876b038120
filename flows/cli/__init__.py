"""The `csift` command. One file a noun; what a command needs is imported when it runs, so that `csift --help` is quick."""

import os
import sys
import warnings
from collections.abc import Callable
from functools import wraps
from getpass import getuser
from pathlib import Path
from typing import Annotated, Any

import typer

from csift.exceptions import ConfigError, CsiftError
from csift.settings import settings

Config = Annotated[Path, typer.Option("--config", "-c", envvar="CSIFT_CONFIG", help="The project's TOML.", show_default=True)]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
DEFAULT_CONFIG = Path("csift.toml")

INTERRUPTED = 130  # as shells report Ctrl-C

app = typer.Typer(
    name="csift",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Keeps a domain question-answering model good while its world changes.",
)


def command(parent: typer.Typer, name: str) -> Callable[[Callable[..., int | None]], Callable[..., None]]:
    """Registers a command; a CsiftError becomes one line and exit code 1, Ctrl-C exit code 130."""

    def register(run: Callable[..., int | None]) -> Callable[..., None]:
        @parent.command(name)
        @wraps(run)
        def wrapped(*args: Any, debug: bool = False, **kwargs: Any) -> None:
            _environment(debug)
            try:
                code = run(*args, **kwargs)
            except CsiftError as error:
                if debug:
                    raise
                print(f"csift: {' '.join(str(error).split())}", file=sys.stderr)
                code = 1
            except BaseException as error:
                if debug or not _interrupted(error):
                    raise
                print("csift: stopped; run the same command again and it continues", file=sys.stderr)
                code = INTERRUPTED
            raise typer.Exit(code or 0)

        return wrapped

    return register


def _interrupted(error: BaseException | None) -> bool:
    """Ctrl-C reaches Prefect's own server process as well, and what Prefect then fails to tell it hides the KeyboardInterrupt."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return True
        error = error.__cause__ or error.__context__
    return False


def _environment(debug: bool) -> None:
    """What Prefect and the model libraries read when they are imported; whatever the user set stays."""
    for name, value in {
        "PREFECT_HOME": str(settings().root / "prefect-cli"),
        "PREFECT_LOGGING_LEVEL": "INFO" if debug else "CRITICAL",
        "PREFECT_LOGGING_INTERNAL_LEVEL": "INFO" if debug else "CRITICAL",
        "PREFECT_CLIENT_MAX_RETRIES": "1",  # its own server on this machine; after Ctrl-C nobody answers any more
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "60",
        "DO_NOT_TRACK": "1",
        "OMP_WAIT_POLICY": "PASSIVE",  # threads that spin while they wait starve each other on a busy machine
        "TOKENIZERS_PARALLELISM": "false",
        "TQDM_DISABLE": "1",  # bars of DSPy's optimisers, read when tqdm is imported
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    }.items():
        os.environ.setdefault(name, value)
    if not debug:
        warnings.simplefilter("ignore")


def place(location: str) -> str:
    """A folder or file that was named on the command line, absolute; s3:// as it is."""
    return location if "://" in location else str(Path(location).expanduser().resolve())


def user() -> str:
    """The user of this machine, who stands beside what is approved or settled. Raises ConfigError where there is no name."""
    try:
        return getuser()
    except (KeyError, OSError):  # a container's user without a name
        raise ConfigError("this machine has no name for you; say who you are with --by") from None


def main() -> None:
    """Entry point of the console script."""
    from flows.cli import (  # noqa: F401
        advise,
        backfill,
        bedrock,
        benchmark,
        champion,
        dataset,
        deploy,
        doctor,
        evalset,
        export,
        feedback,
        gc,
        ingest,
        judge,
        loop,
        metrics,
        serve,
        trial,
        up,
    )

    app()
