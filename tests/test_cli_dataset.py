"""`csift dataset`: what it prints, and what it says of input that it cannot use."""

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from dataset_samples import sample_preferences, sample_ratings, sample_rejections, sample_rows, sample_view, store_corpus
from rich.console import Console
from samples import SCRIPT, sample_toml
from typer.testing import CliRunner, Result

from csift.dataset import save
from csift.db import Database
from csift.exports import Format
from csift.reports import console
from csift.reports import dataset as printed
from csift.schemas import DatasetVersion, SynthesisReport
from flows.cli import app
from flows.cli import dataset as commands

GOLDEN = Path(__file__).parent / "golden"


def drawn(draw: Callable[[Console], None], width: int = 80) -> str:
    """What `draw(console)` prints into a pipe."""
    out = io.StringIO()
    draw(Console(file=out, width=width, theme=console._THEME, highlight=False))
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def later_view() -> printed.DatasetView:
    """The sample dataset one night later: a row gone, two new, one with other chunks, another recipe."""
    view = sample_view()
    first, second, *rest = sorted({row.id: row for row in view.rows}.values(), key=lambda row: row.question)
    new = [first.model_copy(update={"id": f"example-new{n}", "question": f"Is it new, and is it number {n}?"}) for n in range(2)]
    moved = second.model_copy(update={"id": "example-moved", "context_chunk_ids": second.context_chunk_ids[::-1]})
    recipe = {**view.version.recipe, "near_duplicate": 0.9, "refusals": 0.05}
    del recipe["prompt"]
    rows = (*new, moved, *rest)
    sources = {"human": 4, "synthetic": 4}
    update = {"id": "dataset-eccbc87e4b5ce2fe", "recipe": recipe, "example_ids": tuple(r.id for r in rows), "sources": sources}
    return replace(view, version=view.version.model_copy(update=update), rows=rows, made_at=view.made_at.replace(day=21))


# --- what is printed ------------------------------------------------------------------------------------------------------


def test_show_is_the_golden_text_at_80_columns() -> None:
    view = replace(
        sample_view(copies=8), card="/work/long/long/long/long/long/long/long/data-cards/dataset-c81e728d9d4c2f63.html"
    )
    assert drawn(lambda out: printed.print_dataset(view, out)) == (GOLDEN / "dataset_show.txt").read_text("utf-8")


def test_diff_is_the_golden_text_at_80_columns() -> None:
    text = drawn(lambda out: printed.print_diff(printed.compare(sample_view(), later_view()), out))
    assert text == (GOLDEN / "dataset_diff.txt").read_text("utf-8")


def test_a_dataset_does_not_differ_from_itself() -> None:
    same = printed.compare(sample_view(), sample_view())
    assert (same.added, same.removed, same.kept, same.rechunked) == ((), (), 7, 0)
    text = drawn(lambda out: printed.print_diff(same, out))
    assert "The recipe is the same." in text
    assert "Added" not in text


def test_diff_json_has_every_row_and_what_changed() -> None:
    told = printed.diff_json(printed.compare(sample_view(), later_view()))
    assert (told["kept"], told["rechunked"], len(told["added"]), len(told["removed"])) == (6, 1, 2, 1)
    assert told["recipe"] == {
        "near_duplicate": {"before": "0.92", "after": "0.9"},
        "prompt": {"before": "none", "after": ""},
        "refusals": {"before": "", "after": "0.05"},
    }


def test_nothing_but_a_path_is_wider_than_80_columns_or_has_control_codes() -> None:
    view, diff = sample_view(), printed.compare(sample_view(), later_view())
    evil = [sample_rejections()[0].model_copy(update={"question": "\x1b[31mred " * 30, "document_id": "\x07" + "x" * 200})]
    for draw in (
        lambda out: printed.print_dataset(view, out),
        lambda out: printed.print_diff(diff, out),
        lambda out: printed.print_rejections(view, evil, 1, out),
    ):
        text = drawn(draw)
        assert all(len(line) <= 80 for line in text.splitlines())
        assert "\x1b" not in text
        assert "\x07" not in text


def test_rejections_are_grouped_by_reason_and_say_how_many_more_there_are() -> None:
    text = drawn(lambda out: printed.print_rejections(sample_view(), sample_rejections()[:3], 5, out))
    lines = [line for line in text.splitlines() if line]
    assert lines[0] == "tarnbeck, dataset-c81e728d9d4c2f63: 5 candidates refused"
    assert lines[1:4] == ["leak: paraphrase (1)", "  What does the Kestrel weigh?", "    kestrel-40.md"]
    assert lines[4] == "not grounded (2)"
    assert SCRIPT in text
    assert lines[-1] == "2 more: --limit 5"


# --- the commands ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def made(db: Database, project: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[DatasetVersion]:
    """Two datasets of a project, the second without one of the rows."""
    (tmp_path / "csift.toml").write_text(sample_toml(project))
    monkeypatch.chdir(tmp_path)
    snapshot, chunks = store_corpus(db, project, a=["It weighs 29 kg.", "It is red."])
    ids = tuple(chunk.id for chunk in chunks)
    synthesis = SynthesisReport(teacher="t", candidates=9, accepted=4, rejected={}, samples=())
    rows = [row.model_copy(update={"context_chunk_ids": ids, "gold_chunk_ids": ids[:1]}) for row in sample_rows()]
    pairs = [pair.model_copy(update={"context_chunk_ids": ids}) for pair in sample_preferences()]
    ratings = [rating.model_copy(update={"context_chunk_ids": ids}) for rating in sample_ratings()]
    return [
        save(
            db, chosen, snapshot_id=snapshot.id, evalset_id="evalset-1", recipe={"k": k}, synthesis=synthesis,
            rejected=sample_rejections(), preferences=pairs, ratings=ratings, documents={"train": 1},
        )
        for k, chosen in ((2, rows), (3, rows[1:]))
    ]  # fmt: skip


def csift(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["dataset", *arguments])


def refused(*arguments: str) -> str:
    """The one line that the command fails with."""
    result = csift(*arguments)
    assert result.exit_code == 1, result.output
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("csift: ")
    return line


def test_show_is_of_the_latest_dataset_unless_another_is_named(made: list[DatasetVersion]) -> None:
    assert made[1].id in csift("show").stdout
    assert made[1].id in csift("show", "latest").stdout
    assert made[0].id in csift("show", made[0].id[:14]).stdout
    told = json.loads(csift("show", made[0].id, "--json").stdout)
    assert (told["id"], told["rows"], told["styles"]["factoid"]) == (made[0].id, 7, 3)
    assert told["refused"] == {"leak: paraphrase": 1, "near duplicate": 1, "not grounded": 2, "round trip": 1}
    assert told["data_card"] is None


def test_diff_of_two_datasets(made: list[DatasetVersion]) -> None:
    assert "6 rows kept (0 with other chunks), 0 added, 1 removed." in csift("diff", made[0].id, made[1].id).stdout
    told = json.loads(csift("diff", made[0].id, made[1].id, "--json").stdout)
    assert told["recipe"] == {"k": {"before": "2", "after": "3"}}


def test_rejects_by_reason_and_limit(made: list[DatasetVersion]) -> None:
    assert csift("rejects", "--limit", "2").stdout.rstrip().endswith("3 more: --limit 5")
    told = json.loads(csift("rejects", made[0].id, "--reason", "not grounded", "--json").stdout)
    assert [entry["reason"] for entry in told] == ["not grounded"] * 2
    assert "the reasons there: leak: paraphrase, near duplicate, not grounded, round trip" in refused("rejects", "--reason", "x")


@pytest.mark.parametrize("form", ["chat", "trl", "trl-preference", "trl-kto", "bedrock", "csv"])
def test_export_writes_what_it_says(made: list[DatasetVersion], tmp_path: Path, form: str) -> None:
    result = csift("export", made[0].id, "--format", form, "--out", "rows.out")
    number = {"trl-preference": 2, "trl-kto": 3}.get(form, 7)
    assert result.stdout == f"{number} rows of {made[0].id} in rows.out\n"
    assert "It weighs 29 kg." in (tmp_path / "rows.out").read_text("utf-8")


def test_the_command_offers_every_format_there_is() -> None:
    assert [form.value for form in commands.Form] == [form.value for form in Format]


def test_an_unknown_dataset_is_one_line_with_the_nearest_ids(made: list[DatasetVersion]) -> None:
    for arguments in (["show"], ["rejects"], ["export", "--format", "csv", "--out", "x"]):
        said = refused(arguments[0], made[0].id[:-2] + "zz", *arguments[1:])
        assert made[0].id in said
    assert "2 datasets of" in refused("diff", "dataset-", "latest")


def test_a_project_without_datasets_is_told_what_to_do(
    db: Database, project: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "csift.toml").write_text(sample_toml(project))
    monkeypatch.chdir(tmp_path)
    assert "has no dataset yet; run `csift run nightly`" in refused("show")
