"""The `csift` command: bad input gets one clear line and a non-zero exit."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from csift.db import Database

CSIFT = [sys.executable, "-m", "flows.cli"]
GOOD = """
project = "shop"
[corpus]
sources = [{ location = "docs" }]
questions = ["labels.jsonl"]
[drift]
reference = "traffic.jsonl"
current = "traffic.jsonl"
"""


def csift(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*CSIFT, *arguments], cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True)


def one_line(result: subprocess.CompletedProcess[str]) -> str:
    """What the command said, when it is one line on stderr and it failed."""
    assert result.returncode == 1, result
    assert result.stdout == ""
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("csift: ")
    return lines[0]


def test_help_lists_the_commands(tmp_path: Path) -> None:
    result = csift("--help", cwd=tmp_path)

    assert result.returncode == 0
    commands = {
        "run",
        "backfill",
        "ingest",
        "feedback",
        "status",
        "promote",
        "rollback",
        "decide",
        "up",
        "evalset",
        "judge",
        "benchmark",
        "doctor",
        "gc",
        "metrics",
        "serve",
        "keys",
    }
    assert commands <= set(result.stdout.split())


def test_help_loads_nothing_heavy(tmp_path: Path) -> None:
    commands = "app, backfill, champion, doctor, feedback, gc, ingest, loop, metrics, serve, up"
    code = f"import sys; from flows.cli import {commands}; print(sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    for heavy in ("torch", "prefect", "transformers", "sqlalchemy", "numpy", "dspy", "pandas"):
        assert f"'{heavy}'" not in loaded


@pytest.mark.parametrize(
    ("toml", "names"),
    [
        (GOOD + "[retrieval]\nkk = 3\n", "retrieval.kk"),
        (GOOD + "[retrieval]\nk = 0\n", "retrieval.k"),
        (GOOD.replace('project = "shop"', ""), "project"),
        ("project = ", "not a TOML file"),
    ],
)
def test_a_bad_configuration_names_the_key_and_the_file(tmp_path: Path, toml: str, names: str) -> None:
    (tmp_path / "mine.toml").write_text(toml)

    said = one_line(csift("run", "nightly", "--config", "mine.toml", cwd=tmp_path))

    assert names in said
    assert "mine.toml" in said


def test_without_a_configuration_it_says_how_to_name_one(tmp_path: Path) -> None:
    assert "--config" in one_line(csift("status", cwd=tmp_path))


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("postgresql://someone:secret@127.0.0.1:1/none", "127.0.0.1"),
        ("sqlite:///x.db", "Postgres"),
        ("nonsense", "not a URL"),
    ],
)
def test_a_database_that_cannot_be_used_is_told_before_anything_starts(tmp_path: Path, url: str, says: str) -> None:
    (tmp_path / "csift.toml").write_text(GOOD)

    said = one_line(csift("run", "nightly", cwd=tmp_path, CSIFT_DATABASE_URL=url, CSIFT_DATA_DIR=str(tmp_path / "data")))

    assert says in said
    assert "secret" not in said
    assert not (tmp_path / "data").exists()


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    result = csift("status", "--debug", cwd=tmp_path)

    assert result.returncode != 0
    assert "Traceback" in result.stderr


def test_rollback_without_a_promotion_is_refused(tmp_path: Path, db: Database) -> None:
    (tmp_path / "csift.toml").write_text(GOOD)

    assert "no promotion to take back" in one_line(csift("rollback", cwd=tmp_path))


def test_an_unknown_decision_is_refused(tmp_path: Path, db: Database) -> None:
    (tmp_path / "csift.toml").write_text(GOOD)

    assert "decision-none" in one_line(csift("decide", "--replay", "decision-none", cwd=tmp_path))
