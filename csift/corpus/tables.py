"""Rows of .csv and .jsonl files: documents, and questions that stand beside them."""

import csv
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from csift.corpus.document import NO_TEXT, Document, Unusable, clean
from csift.corpus.parsers import plain
from csift.hashing import content_id, sha256
from csift.schemas import SkippedDocument, SourceLabel

MAX_LISTED = 100  # bad rows of one file that are listed one by one
DELIMITERS = ",;\t"
JSON_ROW = '{"id": ..., "text": ...} or {"document": ..., "question": ..., "answer": ...}'


@dataclass
class Parsed:
    """What one file holds, before it is scrubbed."""

    documents: list[Document] = field(default_factory=list)
    labels: list[SourceLabel] = field(default_factory=list)
    skipped: list[SkippedDocument] = field(default_factory=list)


@dataclass(frozen=True)
class Row:
    """A row: the text of a document, and perhaps a question on it; no answer: the document does not answer it."""

    text: str
    id: str | None
    title: str | None
    question: str | None
    answer: str | None


def json_lines(content: bytes) -> list[tuple[int, str]]:
    """The lines of a JSON lines file that hold something, with their numbers. Raises Unusable when it is not UTF-8 text."""
    lines = plain(content).split("\n")  # splitlines would also part at U+2028, which JSON allows in a string
    return [(number, line) for number, line in enumerate(lines, 1) if line.strip()]


def csv_table(content: bytes) -> tuple[list[str], Iterator[tuple[int, dict[str, str]]]]:
    """The column names of a CSV file, and its rows with their line numbers, by the names in lower case.

    Commas, semicolons or tabs separate.

    Raises:
        Unusable: not UTF-8 text, or empty; while iterating, a row that is no CSV or has more cells than there are columns.
    """
    text = plain(content)
    if not text.strip():
        raise Unusable("is empty; fill it or remove it")
    csv.field_size_limit(max(len(text), csv.field_size_limit()))  # a whole document may stand in a cell
    header = text.lstrip("\r\n").split("\n", 1)[0]
    delimiter = max(DELIMITERS, key=header.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    columns = next(([name.strip() for name in row] for row in reader if any(row)), [])
    return columns, _records(reader, [name.lower() for name in columns])


def _records(reader: Any, columns: list[str]) -> Iterator[tuple[int, dict[str, str]]]:
    try:
        for cells in reader:
            if len(cells) > len(columns):
                raise Unusable(f"has more cells in line {reader.line_num} than columns; put texts with commas in quotes")
            if any(cells):
                yield reader.line_num, dict(zip(columns, cells, strict=False))
    except csv.Error as error:
        raise Unusable(
            f"is no CSV at line {reader.line_num} ({error}); put quotes around texts and double those inside"
        ) from None


def listed(columns: list[str]) -> str:
    """Column names for a message."""
    return ", ".join(columns)[:200]


def parse_csv(name: str, content: bytes) -> Parsed:
    """Documents of a table with a column `document`, and optionally id, title, question, answer (empty: not answered).

    Raises:
        Unusable: as `csv_table`; or there is no such column, which names those that there are.
    """
    columns, records = csv_table(content)
    if "document" not in {column.lower() for column in columns}:
        raise Unusable(f"has no column `document` with the texts, only {listed(columns)}; rename the column that holds them")
    rows: list[tuple[int, Row | str]] = []
    for line, record in records:
        cell = {key: value.strip() or None for key, value in record.items()}
        rows.append((line, Row(record["document"], *(cell.get(key) for key in ("id", "title", "question", "answer")))))
    return _collect(name, rows)


def parse_jsonl(name: str, content: bytes) -> Parsed:
    """Documents of JSON lines: {id, text}, or {document or context, question, answer} with optional id and title.

    Raises:
        Unusable: not UTF-8 text, or empty. A bad line is listed and the others go on.
    """
    rows = [(number, _json_row(line)) for number, line in json_lines(content)]
    if not rows:
        raise Unusable("is empty; fill it or remove it")
    return _collect(name, rows)


def _json_row(line: str) -> Row | str:
    """The row, or what is wrong with it."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return f"is not JSON; write {JSON_ROW} on each line"
    wrong = f"is not a document; write {JSON_ROW} on each line"
    if not isinstance(row, Mapping):
        return wrong
    text = next((row[key] for key in ("text", "document", "context") if key in row), None)
    values = [row.get(key) for key in ("id", "title", "question", "answer")]
    if not isinstance(text, str) or isinstance(values[0], bool) or not all(isinstance(v, str | int | None) for v in values):
        return wrong
    if ("text" in row and "id" not in row) or ("question" in row and "answer" not in row):
        return wrong
    if NO_TEXT.search(text + "".join(str(value) for value in values)):
        return "holds NUL or half a surrogate pair, which are not text; remove these escapes"
    return Row(text, *(None if value is None else str(value).strip() or None for value in values))


def _collect(name: str, rows: list[tuple[int, Row | str]]) -> Parsed:
    """Rows with the same text are one document, named by the first of them."""
    parsed = Parsed()
    by_text: dict[str, str] = {}
    ids: set[str] = set()
    asked: set[str] = set()
    for line, row in rows:
        problem = row if isinstance(row, str) else _add(parsed, name, row, by_text, ids, asked)
        if problem:
            parsed.skipped.append(SkippedDocument(document_id=f"{name}:{line}", reason=problem))
    if (more := len(parsed.skipped) - MAX_LISTED) > 0:
        first = parsed.skipped[MAX_LISTED].document_id
        summary = SkippedDocument(document_id=first, reason=f"and {more - 1} more rows of this file cannot be used either")
        parsed.skipped[MAX_LISTED:] = [summary]
    return parsed


def _add(parsed: Parsed, name: str, row: Row, by_text: dict[str, str], ids: set[str], asked: set[str]) -> str | None:
    """Takes a row in, or says what is wrong with it."""
    body = clean(row.text)
    if not body:
        return "is empty; fill it or remove it"
    text = f"# {' '.join(row.title.split())}\n\n{body}" if row.title else body
    if text not in by_text:
        identity = f"{name}#{row.id or row.title or sha256(text)[:12]}"
        if identity in ids:
            return f"repeats the id {identity}; give each document its own"
        ids.add(identity)
        by_text[text] = identity
        parsed.documents.append(Document(identity, text))
    elif row.question is None:
        return f"repeats the text of {by_text[text]}; remove one of them"
    if row.question is not None:
        label = content_id("label", [by_text[text], row.question])
        if label in asked:
            return f"asks again what was asked about {by_text[text]}; remove one of them"
        asked.add(label)
        parsed.labels.append(SourceLabel(id=label, document_id=by_text[text], question=row.question, answer=row.answer))
    return None
