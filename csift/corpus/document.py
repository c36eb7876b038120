"""A document as read: its id and its text."""

import re
from dataclasses import dataclass

from csift.exceptions import CorpusError
from csift.hashing import sha256

NO_TEXT = re.compile("[\x00\ud800-\udfff]")  # what JSON can spell and Postgres cannot hold


class Unusable(CorpusError):
    """One file or row cannot be used and the rest can; the message is the reason alone, it is listed beside the name."""


@dataclass(frozen=True)
class Document:
    """The id is its path in its source, with `#id` for a row of a .jsonl or .csv, after the name of the source if it has one."""

    id: str
    text: str

    @property
    def sha256(self) -> str:
        """Hash of the text."""
        return sha256(self.text)


def clean(text: str) -> str:
    """Unix line ends, no spaces at ends of lines, no more than one empty line in a row, nothing around the text."""
    lines = [line.rstrip() for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n")]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()
