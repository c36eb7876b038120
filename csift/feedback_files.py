"""Files of feedback: JSON lines, or a CSV with the same names as columns. A file is taken whole or not at all.

A row names an answer by `answer_id`, as it was served, or by `question` and `answer`. A ranking has `ranking` in place of an
answer: ids of served answers, best first, or, beside a `question`, the answers themselves; in a CSV as a JSON list.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from csift.corpus.document import NO_TEXT, Unusable
from csift.corpus.tables import csv_table, json_lines, listed
from csift.exceptions import LabelError
from csift.feedback import Said, about
from csift.feedback.keeping import told
from csift.schemas import FeedbackRecord, Ranking, ServedAnswer

FIELDS = (*(name for name in FeedbackRecord.model_fields if name != "id"), "answer_id", "ranking")
TOLD = 10  # bad lines that are told; the others are counted


Find = Callable[[Sequence[str]], Sequence[ServedAnswer]]  # served answers by their ids; raises LabelError


@dataclass(frozen=True)
class Line:
    """What a line of a file says, and the ids of the served answers that it names."""

    record: Said
    answer_ids: tuple[str, ...] = ()


class _Wrong(ValueError):
    """What is wrong with one line."""


def read_feedback(path: Path, find: Find) -> list[Line]:
    """What a file says as it stands there, not yet scrubbed; `find` knows the served answers.

    Raises:
        LabelError: the file is missing, empty, or neither UTF-8 JSON lines nor a CSV with its columns; or lines cannot be used,
            each named with its number and what is wrong with it.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise LabelError(f"cannot read {path}: {error.strerror}; name a .jsonl or .csv file of feedback") from None
    records: list[Line] = []
    wrong: list[str] = []
    try:
        for number, row in (_csv_rows if path.suffix.lower() == ".csv" else _json_rows)(content):
            try:
                records.append(_line(row, find))
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
    named = {column.lower() for column in columns}
    if not ({"question", "answer"} <= named or {"answer_id", "ranking"} & named):
        raise Unusable(f"needs the columns question and answer, or answer_id, or ranking, and has only {listed(columns)}")
    for number, row in rows:
        said: dict[str, Any] = {name: cell.strip() or None for name, cell in row.items()}
        rating, ranking = said.get("rating"), said.get("ranking")
        if rating is not None and rating.isascii() and rating.isdigit():
            said["rating"] = int(rating)
        if ranking is not None:
            try:
                said["ranking"] = json.loads(ranking)
            except (ValueError, RecursionError):
                said["ranking"] = ranking  # refused below
        yield number, said


def _line(row: Any, find: Find) -> Line:
    if not isinstance(row, dict):
        raise _Wrong("is no JSON object; write one object a line")
    if unknown := sorted(row.keys() - set(FIELDS)):
        raise _Wrong(f"has {listed(unknown)}, which no feedback has; its fields are {', '.join(FIELDS)}")
    said = {name: value for name, value in row.items() if value is not None}
    ranking = said.pop("ranking", None)
    if ranking is not None and not (isinstance(ranking, list) and all(isinstance(entry, str) for entry in ranking)):
        raise _Wrong("has a ranking that is no list of texts; write [best, second, ...]")
    texts = [value for value in (*said.values(), *(ranking or ())) if isinstance(value, str)]
    if NO_TEXT.search("".join(texts)):
        raise _Wrong("holds NUL or half a surrogate pair, which are not text; remove these escapes")
    try:
        return _ranked(ranking, said, find) if ranking is not None else _rated(said, find)
    except ValidationError as error:
        raise _Wrong(told(error)) from None
    except LabelError as error:
        raise _Wrong(str(error)) from None


def _ranked(ranking: list[str], said: dict[str, Any], find: Find) -> Line:
    if alone := sorted(said.keys() - {"question", "rater", "comment"}):
        raise _Wrong(f"has {listed(alone)} beside a ranking; say that of one answer, in a line of its own")
    if "question" in said:
        return Line(Ranking.of(answers=tuple(ranking), **said))
    if len(ranking) < 2:
        raise _Wrong("ranks fewer than two answers")
    return Line(about(find(ranking), said.get("rater"), {"comment": said.get("comment")}, ranking=True), tuple(ranking))


def _rated(said: dict[str, Any], find: Find) -> Line:
    id_ = said.pop("answer_id", None)
    if id_ is None:
        return Line(FeedbackRecord.of(**said))
    if twice := sorted(said.keys() & {"question", "answer", "system_id"}):
        raise _Wrong(f"has answer_id and {listed(twice)}; the id alone says what was asked and answered")
    return Line(about(find([str(id_)]), said.pop("rater", None), said), (str(id_),))
