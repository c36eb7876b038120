"""`csift judge`: what it prints and keeps, and what it says of labels that it cannot use."""

import json
from pathlib import Path

import pytest
from samples import sample_toml
from typer.testing import CliRunner, Result

from csift.db import Database
from csift.judges.calibration import newest, stored
from flows.cli import app
from flows.cli import judge as commands

assert commands  # registers the command

ROWS = [
    ("How heavy is it?", "29 kg", "29 kg", 1.0),
    ("How heavy is it?", "29 kg", "31 kg", 0.0),
    ("How long is the cable?", None, "Not stated in the documents.", 1.0),
    ("How long is the cable?", None, "2 m", 0.1),
    ("Which number do I order?", "KT-4417", "KT-4417", 0.9),
    ("Which number do I order?", "KT-4417", "KT-4471", 0.9),
]


@pytest.fixture
def config(tmp_path: Path, project: str) -> Path:
    return write_config(tmp_path, project)


def write_config(folder: Path, project: str, judge: str = "") -> Path:
    (folder / "docs").mkdir(exist_ok=True)
    (folder / "docs" / "a.md").write_text("text")
    (folder / "traffic.jsonl").write_text("")
    path = folder / f"{project}.toml"
    path.write_text(sample_toml(project, judge))
    return path


def labels(folder: Path) -> Path:
    path = folder / "labels.jsonl"
    rows = [dict(zip(("question", "gold", "answer", "score"), row, strict=True)) for row in ROWS]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def run(*args: object) -> Result:
    return CliRunner().invoke(app, [str(arg) for arg in args])


def test_calibrate_prints_the_figures_and_keeps_them(db: Database, tmp_path: Path, config: Path) -> None:
    result = run("judge", "calibrate", "--config", config, "--labels", labels(tmp_path))
    assert result.exit_code == 0, result.output
    made = stored(db)[0]
    assert newest(db, made.judge_id) == made
    assert (made.judged, made.failures, made.groups) == (6, 0, 3)
    assert made.judge_id in result.stdout
    assert made.labels_id in result.stdout
    assert "6 labelled answers to 3 questions" in result.stdout
    assert "83.3% (" in result.stdout  # KT-4471 was recorded as right
    for measure in ("Agreement of verdicts", "Cohen's kappa", "Spearman with the scores", "Failed judgements"):
        assert measure in result.stdout


def test_list_shows_what_is_stored_and_whether_the_present_judge_is_calibrated(
    db: Database, tmp_path: Path, config: Path, project: str
) -> None:
    shipped = run("judge", "list", "--config", config)
    assert shipped.exit_code == 0, shipped.output
    assert "with csift" in shipped.stdout
    assert ": calibrated." in shipped.stdout.replace("\n", " ")
    strict = write_config(tmp_path, project, "[judge]\ncorrect_from = 0.55\n")
    before = run("judge", "list", "--config", strict)
    assert "not calibrated: run `csift judge calibrate" in " ".join(before.stdout.split())
    assert run("judge", "calibrate", "--config", strict, "--labels", labels(tmp_path)).exit_code == 0
    after = run("judge", "list", "--config", strict)
    assert "not calibrated" not in after.stdout
    assert stored(db)[0].judge_id in after.stdout


def test_a_bad_row_is_one_line_with_its_place(tmp_path: Path, config: Path) -> None:
    path = labels(tmp_path)
    path.write_text(path.read_text() + '{"question": "q", "gold": "g", "answer": "a", "score": 7}\n')
    result = run("judge", "calibrate", "--config", config, "--labels", path)
    assert result.exit_code == 1
    assert result.stderr.strip() == f"csift: {path}:7 has the score 7; a score is a number from 0 to 1"
