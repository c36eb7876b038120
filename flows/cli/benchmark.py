"""`csift benchmark`: the methods side by side."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from csift.config import load_config
from csift.exceptions import ConfigError, CycleRunning
from flows.cli import DEFAULT_CONFIG, Config, Debug, app, command

if TYPE_CHECKING:
    from csift.benchmarks import Benchmark

FILES = ("report.html", "summary.csv", "samples.json", "benchmark.json")


@command(app, "benchmark")
def benchmark(
    config: Config = DEFAULT_CONFIG,
    arms: Annotated[
        str | None, typer.Option(help="Arms in place of benchmark.arms, with commas between; all: every one.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder that gets the report, the table and every answer as well.")] = None,
    golden: Annotated[bool, typer.Option("--golden", help="Judge on the golden part, which nothing else looks at.")] = False,
    debug: Debug = False,
) -> int:
    """Every arm on the same held-out questions, with intervals; nothing is promoted. Run again, it does only what is missing."""
    loaded = load_config(config)
    names = [name.strip() for name in arms.split(",") if name.strip()] if arms is not None else []
    if arms is not None and not names:
        raise ConfigError("--arms names no arm; name some, with commas between, or leave it out")
    _writable(out)
    from csift.db import database
    from csift.reports import console
    from csift.schemas import Cycle
    from flows.benchmark import benchmark as flow
    from tasks.progress import show_in
    from tasks.results import result_storage

    database()  # a wrong URL is told before anything starts
    with console.ProgressBars() as bars, show_in(bars):
        result_storage()
        state: Any = flow(loaded, arms=names, golden=golden, return_state=True)
        told: Benchmark | Cycle = state.result()
    if isinstance(told, Cycle):
        raise CycleRunning(f"skipped: {told.reason}")
    _tell(told, out)
    return 0


def _writable(out: Path | None) -> None:
    if out is None:
        return
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot write to {out}: {error.strerror}; name another folder with --out") from None


def _tell(table: "Benchmark", out: Path | None) -> None:
    from csift.reports.benchmark_console import print_benchmark
    from tasks.collaborators import store

    folder = f"benchmarks/{table.id}"
    if out:
        for name in FILES:
            (out / name).write_bytes(store().get(f"{folder}/{name}"))
    print_benchmark(table, str(out / FILES[0]) if out else store().uri(f"{folder}/{FILES[0]}"))
