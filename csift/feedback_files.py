"""Files of feedback: JSON lines, or a CSV with the same names as columns. A file is taken whole or not at all."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from csift.corpus.document import NO_TEXT, Unusable
from csift.corpus.tables import csv_table, json_lines, listed
from csift.exceptions import LabelError
from csift.schemas import FeedbackRecord

FIELDS = tuple(name for name in FeedbackRecord.model_fields if name != "id")
TOLD = 10  # bad lines that are told; the others are counted


class _Wrong(ValueError):
    """What is wrong with one line."""


def read_feedback(path: Path) -> list[FeedbackRecord]:
    """The records of a file as they stand there, not yet scrubbed.

    Raises:
        LabelError: the file is missing, empty, or neither UTF-8 JSON lines nor a CSV with its columns; or lines cannot be used,
            each named with its number and what is wrong with it.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise LabelError(f"cannot read {path}: {error.strerror}; name a .jsonl or .csv file of feedback") from None
    records: list[FeedbackRecord] = []
    wrong: list[str] = []
    try:
        for number, row in (_csv_rows if path.suffix.lower() == ".csv" else _json_rows)(content):
            try:
                records.append(_record(row))
            except _Wrong as problem:
                wrong.append(f"line {number}: {problem}")
    except Unusable as problem:
        raise LabelError(f"{path} {problem}") from None
    if wrong:
        more = f"; and {len(wrong) - TOLD} more" if len(wrong) > TOLD else ""
        raise LabelError(
            f"nothing was imported of {path}, {len(wrong)} of its {len(wrong) + len(records)} rows cannot be used: "
            f"{'; '.join(wrong[:TOLD])}{more}"
        )
    if not records:
        raise LabelError(f"{path} is empty; write one answer and what was said of it a line")
    return records


def _json_rows(content: bytes) -> Iterator[tuple[int, Any]]:
    for number, line in json_lines(content):
        try:
            yield number, json.loads(line)
        except (ValueError, RecursionError):
            yield number, None


def _csv_rows(content: bytes) -> Iterator[tuple[int, dict[str, Any]]]:
    columns, rows = csv_table(content)
    if {"question", "answer"} - {column.lower() for column in columns}:
        raise Unusable(f"needs the columns question and answer, and has only {listed(columns)}; rename its columns")
    for number, row in rows:
        said: dict[str, Any] = {name: cell.strip() or None for name, cell in row.items()}
        rating = said.get("rating")
        if rating is not None and rating.isascii() and rating.isdigit():
            said["rating"] = int(rating)
        yield number, said


def _record(row: Any) -> FeedbackRecord:
    if not isinstance(row, dict):
        raise _Wrong("is no JSON object; write one object a line")
    if unknown := sorted(row.keys() - set(FIELDS)):
        raise _Wrong(f"has {listed(unknown)}, which no feedback has; its fields are {', '.join(FIELDS)}")
    if NO_TEXT.search("".join(value for value in row.values() if isinstance(value, str))):
        raise _Wrong("holds NUL or half a surrogate pair, which are not text; remove these escapes")
    try:
        return FeedbackRecord.of(**row)
    except ValidationError as error:
        raise _Wrong(", ".join(_told(problem) for problem in error.errors())) from None


def _told(problem: Any) -> str:
    """One of pydantic's findings in a few words."""
    plain = {"missing": "is missing", "string_too_short": "is empty"}.get(problem["type"], problem["msg"])
    said = plain.removeprefix("Value error, ").removeprefix("Input ")
    return " ".join([*(str(part) for part in problem["loc"]), said])
