"""Windows of traffic: what customers asked in a period, and, where it is known, what they were told and whether it was right."""

import codecs
import json
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from csift.exceptions import CorpusError
from csift.hashing import sha256

MIN_ROWS = 20
MIN_SESSIONS = 2  # one alone has nothing to be compared with on its own side
PERIOD = timedelta(days=7)  # of the current window, where rows say when they were asked
LEAST = 100  # sessions that the current window has at least, reaching further back for them


@dataclass(frozen=True)
class TrafficRow:
    """One question of a session. `answer` is what the champion said, `correct` whether somebody found that right, `at` when it
    was asked, `score` that of the best chunk that was found for it then."""

    session: str
    question: str
    answer: str | None = None
    correct: bool | None = None
    at: datetime | None = None
    score: float | None = None


@dataclass(frozen=True)
class Window:
    """The traffic of one period."""

    rows: tuple[TrafficRow, ...]

    @cached_property
    def hash(self) -> str:
        """Hex SHA-256 of the rows' canonical JSON, in their order."""
        rows = [[value for name, value in asdict(row).items() if name != "score" or value is not None] for row in self.rows]
        return sha256(json.dumps(rows, ensure_ascii=False, separators=(",", ":"), default=datetime.isoformat))

    @property
    def sessions(self) -> list[str]:
        """The session of each row."""
        return [row.session for row in self.rows]

    @property
    def questions(self) -> list[str]:
        """The question of each row."""
        return [row.question for row in self.rows]

    @property
    def lacking(self) -> str | None:
        """Why this is too little to be compared, or None."""
        if len(self.rows) < MIN_ROWS:
            return f"{len(self.rows)} questions, drift needs at least {MIN_ROWS}; take a longer period"
        if len(set(self.sessions)) < MIN_SESSIONS:
            return "one session only; give each conversation its own `session`, or take more of them"
        return None


def latest(window: Window, now: datetime) -> Window:
    """The rows of the last seven days before `now`, and older ones until there are 100 sessions; all rows where some do not say
    when they were asked. Small traffic so accumulates until there is enough to see something."""
    if any(row.at is None for row in window.rows):
        return window
    past = sorted((row for row in window.rows if row.at and row.at <= now), key=lambda row: row.at or now, reverse=True)
    kept: list[TrafficRow] = []
    sessions: set[str] = set()
    for row in past:
        if row.at and row.at < now - PERIOD and len(sessions) >= LEAST:
            break
        kept.append(row)
        sessions.add(row.session)
    return Window(tuple(reversed(kept)))


def read_window(path: Path) -> Window:
    """Reads a JSONL of {"session", "question"} and, where they are known, "answer", "correct" (true or false) and "at" (ISO 8601
    with its zone); other fields and empty lines are ignored.

    Raises:
        CorpusError: the file cannot be read, or has fewer than 20 questions or 2 sessions; or a line, which the message
            names, is not UTF-8, not JSON, lacks a field or has one of another kind.
    """
    try:
        content = path.read_bytes().removeprefix(codecs.BOM_UTF8)
    except OSError as error:
        raise CorpusError(f"cannot read questions from {path}: {error.strerror}; correct its path in [drift]") from None
    return comparable(Window(tuple(_parse_rows(content, path))), str(path))


def comparable(window: Window, where: str) -> Window:
    """The window. Raises CorpusError when it is too little to be compared, naming where it is from."""
    if why := window.lacking:
        raise CorpusError(f"{where} has {why}")
    return window


def _parse_rows(content: bytes, path: Path) -> list[TrafficRow]:
    lines = enumerate(content.splitlines(), start=1)
    return [_parse_row(line, f"{path}, line {number}") for number, line in lines if line.strip()]


@dataclass(frozen=True)
class _Known:
    """The fields that a row may leave out."""

    answer: str | None = None
    correct: bool | None = None
    at: datetime | None = None


KNOWN = TypeAdapter(_Known)


def _parse_row(line: bytes, where: str) -> TrafficRow:
    hint = 'write one {"session": "…", "question": "…"} a line, as UTF-8'
    try:
        row = json.loads(line.decode())
    except UnicodeDecodeError:
        raise CorpusError(f"{where}: not UTF-8; {hint}") from None
    except (ValueError, RecursionError):
        raise CorpusError(f"{where}: not JSON; {hint}") from None
    for field in ("session", "question"):
        value = row.get(field) if isinstance(row, dict) else None
        if not isinstance(value, str) or not value.strip():
            raise CorpusError(f"{where}: `{field}` is missing, empty or not text; {hint}")
        if any("\ud800" <= character <= "\udfff" for character in value):
            raise CorpusError(f"{where}: `{field}` has half of a surrogate pair, which is no character; {hint}")
    try:
        known = KNOWN.validate_json(line, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        what = f"`{first['loc'][0]}` cannot be {first['input']!r}: {first['msg']}"
        raise CorpusError(f"{where}: {what}; mend it or leave it out") from None
    if known.at is not None and known.at.tzinfo is None:
        raise CorpusError(f"{where}: `at` has no time zone; write 2026-11-20T02:00:00Z, or leave it out")
    return TrafficRow(row["session"], row["question"], known.answer, known.correct, known.at)
