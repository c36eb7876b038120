"""Exports as their readers read them: datasets and trl, Bedrock's published form, the csv module."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from dataset_samples import sample_preferences, sample_ratings, sample_rows, sample_texts
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from csift.exceptions import LabelError, StorageError
from csift.exports import COLUMNS, Format, export
from csift.models import bundled_tokenizer
from csift.prompts import answer_prompt
from csift.schemas import Example, PreferencePair, RatedAnswer

ODD = 'He said "5,5"\nand <b>\u2028=1+1\r\n{"a": 1}'  # quotes, commas, line ends of three kinds, a formula, JSON


@pytest.fixture(scope="module")
def rows() -> tuple[Example, ...]:
    """The sample rows, one with awkward text, one twice."""
    some = sample_rows()
    return (*some, some[0], some[1].model_copy(update={"id": "example-odd", "question": ODD, "answer": ODD}))


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    """The bundled model's, with its chat template."""
    return bundled_tokenizer()


def read(path: Path) -> list[dict[str, Any]]:
    """The file as `datasets` reads it."""
    from datasets import load_dataset

    return list(load_dataset("json", data_files=str(path), split="train", cache_dir=str(path.parent / "cache")))


def written(form: Format, tmp_path: Path, rows: Sequence[Example | PreferencePair | RatedAnswer]) -> Path:
    """The file with these rows and none of another kind."""
    path = tmp_path / f"{form.value}.out"
    examples = [row for row in rows if isinstance(row, Example)]
    pairs = [row for row in rows if isinstance(row, PreferencePair)]
    rated = [row for row in rows if isinstance(row, RatedAnswer)]
    assert export(path, form, examples, pairs, rated, sample_texts()) == len(rows)
    return path


def prompt(row: Example | PreferencePair | RatedAnswer) -> list[dict[str, str]]:
    texts = sample_texts()
    return list(answer_prompt(row.question, [texts[id_] for id_ in row.context_chunk_ids]))


def test_chat_is_the_prompt_that_is_trained_on_and_the_answer(tmp_path: Path, rows: tuple[Example, ...], tokenizer: Any) -> None:
    from trl.data_utils import apply_chat_template, is_conversational

    found = read(written(Format.CHAT, tmp_path, rows))

    assert [row["messages"] for row in found] == [
        [*prompt(row), {"role": "assistant", "content": row.answer}] for row in rows
    ]  # fmt: skip
    assert all(is_conversational(row) for row in found)
    assert rows[0].answer in apply_chat_template(found[0], tokenizer)["text"]


def test_trl_reads_prompts_and_completions(tmp_path: Path, rows: tuple[Example, ...], tokenizer: Any) -> None:
    from trl.data_utils import apply_chat_template, is_conversational

    found = read(written(Format.TRL, tmp_path, rows))

    assert all(set(row) == {"prompt", "completion"} and is_conversational(row) for row in found)
    for row, example in zip(found, rows, strict=True):
        told = apply_chat_template(row, tokenizer)
        assert example.answer.strip() in told["completion"]
        assert example.question in told["prompt"]
        assert "assistant" not in told["completion"]


def test_trl_reads_preferences_with_their_prompt(tmp_path: Path, tokenizer: Any) -> None:
    from trl.data_utils import apply_chat_template, is_conversational, maybe_extract_prompt

    pairs = sample_preferences()
    found = read(written(Format.TRL_PREFERENCE, tmp_path, pairs))

    for row, pair in zip(found, pairs, strict=True):
        assert is_conversational(row)
        assert maybe_extract_prompt(row) == row  # the prompt is explicit
        told = apply_chat_template(row, tokenizer)
        assert told["chosen"].startswith(pair.chosen)
        assert pair.question in told["prompt"]
        assert row["rejected"] == [{"role": "assistant", "content": pair.rejected}]


def test_trl_reads_rated_answers_as_kto_takes_them(tmp_path: Path, tokenizer: Any) -> None:
    from trl.data_utils import apply_chat_template, is_conversational

    ratings = sample_ratings()
    found = read(written(Format.TRL_KTO, tmp_path, ratings))

    assert [row["label"] for row in found] == [True, False, False]
    for row, rating in zip(found, ratings, strict=True):
        assert set(row) == {"prompt", "completion", "label"}
        assert is_conversational(row)
        told = apply_chat_template(row, tokenizer)
        assert told["completion"].startswith(rating.answer)
        assert rating.question in told["prompt"]


def test_bedrock_rows_are_single_turns_of_its_conversation_schema(tmp_path: Path, rows: tuple[Example, ...]) -> None:
    lines = written(Format.BEDROCK, tmp_path, rows).read_text("utf-8").split("\n")
    found = [json.loads(line) for line in lines[:-1]]

    assert lines[-1] == ""
    assert len(found) == len(rows)
    for row, example in zip(found, rows, strict=True):
        assert set(row) == {"schemaVersion", "system", "messages"}
        assert row["schemaVersion"] == "bedrock-conversation-2024"
        assert [message["role"] for message in row["messages"]] == ["user", "assistant"]
        assert row["messages"][1]["content"] == [{"text": example.answer}]
        system, user = prompt(example)
        assert row["system"] == [{"text": system["content"]}]
        assert row["messages"][0]["content"] == [{"text": user["content"]}]


def test_csv_comes_back_as_it_was(tmp_path: Path, rows: tuple[Example, ...]) -> None:
    with written(Format.CSV, tmp_path, rows).open(encoding="utf-8", newline="") as file:
        found = list(csv.DictReader(file))

    assert tuple(found[0]) == COLUMNS
    texts = sample_texts()
    for row, example in zip(found, rows, strict=True):
        assert (row["question"], row["answer"], row["source"]) == (example.question, example.answer, example.source)
        shown = json.loads(row["contexts"])
        assert shown == [texts[id_] for id_ in example.context_chunk_ids]
        assert {shown[i] for i in json.loads(row["gold"])} == {texts[id_] for id_ in example.gold_chunk_ids}


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1))
def test_whatever_the_text_one_row_is_one_line(tmp_path: Path, text: str) -> None:
    row = sample_rows()[0].model_copy(update={"question": text, "answer": text})
    for form in (Format.CHAT, Format.TRL, Format.BEDROCK):
        (line,) = written(form, tmp_path, [row]).read_bytes().decode().removesuffix("\n").split("\n")
        assert text in json.dumps(json.loads(line), ensure_ascii=False) or json.dumps(text, ensure_ascii=False)[1:-1] in line
    with written(Format.CSV, tmp_path, [row]).open(encoding="utf-8", newline="") as file:
        assert [entry["answer"] for entry in csv.DictReader(file)] == [text]


@pytest.mark.parametrize(
    ("form", "says"),
    [
        (Format.TRL_PREFERENCE, "no preference pairs; import feedback, or set synthesis.preferences"),
        (Format.TRL_KTO, "no rated answers; import feedback"),
    ],
)
def test_without_rows_of_a_form_it_says_how_to_get_some(tmp_path: Path, form: Format, says: str) -> None:
    with pytest.raises(LabelError, match=says):
        export(tmp_path / "x", form, sample_rows(), (), (), sample_texts())
    assert not (tmp_path / "x").exists()


def test_a_file_that_cannot_be_written_leaves_the_one_before_as_it_was(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"cannot write .*none/x.jsonl: No such file or directory; create the folder"):
        export(tmp_path / "none" / "x.jsonl", Format.CHAT, sample_rows(), (), (), sample_texts())
    path = written(Format.CHAT, tmp_path, sample_rows())
    before = path.read_bytes()
    with pytest.raises(KeyError):
        export(path, Format.CHAT, sample_rows(), (), (), {})
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
