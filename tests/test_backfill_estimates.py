"""`csift backfill --dry-run`: what it tells, that it leaves nothing behind; and bad input of the command."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from months import write_year, year_config
from pumps import toml_of
from rich.console import Console
from scribes import Scribe, booked, teaching
from typer.testing import CliRunner

from csift import backfill
from csift.backfill import BackfillRequest
from csift.config import LoopConfig
from csift.db import Database
from csift.exceptions import ConfigError, CycleRunning
from csift.leases import hold
from csift.reports import console
from csift.reports.backfill import print_estimate
from flows.cli import app
from flows.cli import backfill as _command  # noqa: F401 - registers it

GOLDEN = Path(__file__).parent / "golden"
YEAR = BackfillRequest.model_validate({"since": "2024-01-01", "until": "2024-12-31"})


def told(config: LoopConfig, section: str, **changes: object) -> LoopConfig:
    return config.model_copy(update={section: getattr(config, section).model_copy(update=changes)})


def shown(estimate: Any) -> str:
    out = io.StringIO()
    print_estimate(estimate, Console(file=out, width=80, theme=console._THEME, highlight=False))
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def rows(db: Database) -> dict[str, int]:
    with db.session() as session:
        return {
            name: session.scalar(sa.text(f"SELECT count(*) FROM {name}")) or 0 for name in sa.inspect(db.engine).get_table_names()
        }


@pytest.fixture
def year(tmp_path: Path, project: str) -> Callable[..., LoopConfig]:
    write_year(tmp_path, project)

    def configured(name: str = project, **sections: object) -> LoopConfig:
        price = {"usd_per_million_in": 1.0, "usd_per_million_out": 5.0}
        config = year_config(tmp_path, name, tmp_path / "no-model", f"openai/{name}", **sections)
        return told(config, "teacher", **price)

    return configured


def test_a_dry_run_prints_what_it_would_take_and_writes_nothing(db: Database, year: Callable[..., LoopConfig]) -> None:
    before = rows(db)
    made = backfill.estimate(db, year("almanac", budget={"usd": 0.1}), YEAR)
    assert rows(db) == before
    assert shown(made) == (GOLDEN / "backfill_dry_run.txt").read_text("utf-8")


def test_a_dry_run_tells_what_is_left_by_what_was_measured(db: Database, project: str, year: Callable[..., LoopConfig]) -> None:
    config = year()
    plan = backfill.estimate(db, config, YEAR).plan
    assert plan.partitions[0].name == "2024-01"
    booked(db, project, plan.partitions[0].id, 5)
    with hold(db, f"cycle of {project}") as held:
        teaching(db, project, held, plan.partitions[1], Scribe())

    made = backfill.estimate(db, config, YEAR)
    assert made.plan == plan
    first, second, third = made.partitions[:3]
    assert (first.state.state, first.left) == ("partly", first.calls - 5)
    assert (second.state.state, second.left, second.usd, second.hours) == ("done", 0, 0.0, 0.0)
    assert (third.state.state, third.left) == ("new", third.calls)
    assert third.tokens == third.calls * 120
    assert third.usd == pytest.approx(third.calls * (100 * 1.0 + 20 * 5.0) / 1e6)
    assert third.hours == pytest.approx(third.calls * 0.5 / 2 / 3600)  # two calls in flight
    text = " ".join(shown(made).split())
    assert f"partly: 5 of {first.calls}" in text
    assert f"by the mean of 5 calls of openai/{project}: " in text
    assert "100 tokens in, 20 out and 0.5 s a call, 2 at once" in text


def test_a_teacher_is_asked_at_most_what_the_dry_run_says(db: Database, year: Callable[..., LoopConfig]) -> None:
    made = backfill.estimate(db, year(), YEAR)
    assert {(part.candidates, part.calls) for part in made.partitions} == {(4, 1 + 4 * 4)}
    rich = year(synthesis={"candidates": 30, "pairs_per_document": 4, "rounds": 2})
    found = {(part.candidates, part.calls) for part in backfill.estimate(db, rich, YEAR).partitions}
    assert found == {(8, 2 + 8 * 4)}  # one stretch of text, asked about once a round


def test_an_unknown_price_is_told_and_refused_under_a_budget_in_money(
    db: Database, project: str, year: Callable[..., LoopConfig]
) -> None:
    unknown = told(year(), "teacher", usd_per_million_in=None)
    text = " ".join(shown(backfill.estimate(db, unknown, YEAR)).split())
    assert "unknown" in text
    assert f"Nobody knows what openai/{project} costs: set teacher.usd_per_million_in and usd_per_million_out." in text
    with pytest.raises(ConfigError, match=r"nobody knows what .* costs, and budget\.usd is set"):
        backfill.estimate(db, told(unknown, "budget", usd=1.0), YEAR)


def test_what_is_asked_of_others_afterwards_is_named(db: Database, year: Callable[..., LoopConfig]) -> None:
    judged = told(told(year(), "judge", name="factuality", model="openai/gpt-4o-mini"), "synthesis", preferences=3)
    text = " ".join(shown(backfill.estimate(db, judged, YEAR)).split())
    assert "Not counted: judging by openai/gpt-4o-mini and preference pairs, which the same budget is for." in text


def test_a_local_teacher_is_free(db: Database, year: Callable[..., LoopConfig]) -> None:
    text = " ".join(shown(backfill.estimate(db, told(year(), "teacher", model="smollm2-135m-instruct"), YEAR)).split())
    assert text.count(" free ") == 13
    assert "its calls cost no money" in text
    assert "one after another" in text


def test_a_dry_run_gives_way_to_a_run_that_writes_the_same(db: Database, project: str, year: Callable[..., LoopConfig]) -> None:
    config = year()
    with db.engine.connect() as connection, connection.begin() as other:
        connection.execute(
            sa.text(
                "INSERT INTO documents (project, document_id, split, first_seen) VALUES (:p, '2024-01/pump.md', 'train', now())"
            ),
            {"p": project},
        )
        with pytest.raises(CycleRunning, match="try again when it is over"):
            backfill.estimate(db, config, YEAR)
        other.rollback()
    assert len(backfill.estimate(db, config, YEAR).partitions) == 12


# --- the command -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--since", "2024-13-01"], "`since` = '2024-13-01' is impossible: it is no day; write one as 2024-03-17"),
        (["--since", "2024-05-01", "--until", "2024-04-01"], "it is before since, 2024-05-01; swap them"),
        (["--parallel", "0"], "`parallel` = 0 is impossible"),
        (["--corpus", ""], "`corpus` = '' is impossible"),
        (["--corpus", "nowhere", "--dry-run"], "there is no corpus folder"),
        (["--corpus", "https://x/y", "--dry-run"], "a source is a folder, a file or s3://bucket/prefix"),
        (["--since", "2020-01-01", "--until", "2020-06-30", "--dry-run"], "no document is dated from 2020-01-01 to 2020-06-30"),
    ],
)  # fmt: skip
def test_bad_input_is_told_in_one_line(
    db: Database, tmp_path: Path, year: Callable[..., LoopConfig], arguments: list[str], words: str
) -> None:
    (tmp_path / "csift.toml").write_text(toml_of(year()))
    result = CliRunner().invoke(app, ["backfill", "--config", str(tmp_path / "csift.toml"), *arguments])
    assert result.exit_code == 1
    told = [line for line in result.stderr.strip().splitlines() if not line.startswith("ingest ")]
    assert len(told) == 1 and words in told[0]


def test_a_dry_run_by_the_command(db: Database, tmp_path: Path, year: Callable[..., LoopConfig]) -> None:
    (tmp_path / "csift.toml").write_text(toml_of(year()))
    arguments = ["backfill", "--config", str(tmp_path / "csift.toml"), "--every", "quarter", "--dry-run"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.stderr
    assert "4 partitions: 4 new" in result.stdout and "2024-Q1" in result.stdout
    assert "nothing was written, nobody was asked" in result.stdout
