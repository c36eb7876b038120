"""Cuts a document into chunks: at headings, numbered sections, paragraphs and sentences, in characters or tokens.

Cut positions depend on nearby text alone, so that an edit leaves the ids of chunks further away as they are. Titles come from
Markdown headings; numbered headings as in contracts ("2.1 Term.", "ARTICLE IV") are preferred places to cut, but no titles.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from csift.corpus.document import Document
from csift.exceptions import CorpusError
from csift.hashing import content_id, sha256
from csift.schemas import Chunk, Chunking

CHUNKER = "2"  # changes with every change to where documents are cut; part of the key under which chunks are stored

# Local rules alone cut a section into runs of up to this many chunk sizes. Longer runs waste less room at their ends, shorter
# ones keep an edit's effect closer.
RUN = 12
HEADING = re.compile(r"^(#{1,6})\s+(.+?)(?:\s+#+)?$")
PARAGRAPH = re.compile(r"\n\s*\n")
ITEM = re.compile(r"\n(?=\s*(?:[-*•|]|\d{1,3}[.)]|\([a-z\d]{1,4}\))\s)")  # before an item of a list or a row of a table
END = re.compile(r"[.!?;][\"'”’)\]]*\s+(?=\S)")
NUMBER = re.compile(r"\(?(?:\d{1,3}(?:\.\d{1,3})*|[A-Za-z]|[ivxIVX]{1,5})")
SECTION = re.compile(r"(?:ARTICLE|Article|SECTION|Section|§)\s|\d{1,2}(?:\.\d{1,2})*\.?\s+[A-Z]")
ABBREVIATION = re.compile(
    r"al|approx|art|arts|attn|ave|bldg|blvd|b\.v|ca|cf|cl|co|corp|dept|dr|e\.g|ed|eds|eq|esq|est|"
    r"ext|fig|figs|fl|gov|i\.e|inc|incl|jr|ltd|llc|llp|l\.p|max|messrs|min|mr|mrs|ms|mt|n\.a|"
    r"n\.v|no|nos|op|p\.o|para|paras|pg|plc|pp|prof|pt|pty|rd|ref|rep|rev|s\.a|sec|secs|sen|sr|"
    r"st|ste|tel|u\.k|u\.s|u\.s\.a|v|vol|vs",
    re.IGNORECASE,
)
Count = Callable[[str], int]


def chunk(document: Document, chunking: Chunking, count: Count | None = None) -> list[Chunk]:
    """Passages of at most `chunking.size`, each opening with the titles that it stands under, as it is read without the rest.

    Neighbours under one title share whole sentences of up to `chunking.overlap`. Only a sentence longer than a passage is cut
    inside, and only a title longer than half a passage is text instead. Every word is in some chunk. A sentence changed, added or
    removed keeps the ids of all chunks more than 3 · RUN · size away, and as a rule changes two (content-defined chunking, as
    Muthitacharoen et al. 2001, "A Low-bandwidth Network File System", but the strongest boundary nearby in place of a mask).

    Args:
        count: tokens of a text by the base model's tokenizer; needed where the unit is tokens.

    Raises:
        CorpusError: the unit is tokens, and there is no `count`.
    """
    if chunking.unit == "file":
        return _numbered(document.id, [document.text])
    if chunking.unit == "tokens" and count is None:
        raise CorpusError("chunks are measured in tokens and no tokenizer was given; set corpus.chunk_by to characters")
    measure = count if chunking.unit == "tokens" and count is not None else len
    return _numbered(
        document.id,
        [
            passage
            for titles, body in _sections(document.text)
            for passage in _Section.of(titles, body, chunking, measure).passages()
        ],
    )


def _numbered(document_id: str, texts: list[str]) -> list[Chunk]:
    chunks: list[Chunk] = []
    seen: dict[str, int] = {}
    for ordinal, text in enumerate(texts):
        repeat = seen.get(text, 0)
        seen[text] = repeat + 1
        identity = content_id("chunk", [document_id, text, repeat])
        chunks.append(Chunk(id=identity, document_id=document_id, ordinal=ordinal, text=text))
    return chunks


def _sections(text: str) -> Iterator[tuple[list[str], str]]:
    """(titles above, body) in reading order; a text without headings is one section without titles."""
    titles: list[tuple[int, str]] = []
    lines: list[str] = []
    for line in text.split("\n"):
        if heading := HEADING.match(line):
            level = len(heading[1])
            if _filled(lines) or (titles and level <= titles[-1][0]):
                yield _section(titles, lines)
            lines = []
            titles = [(depth, title) for depth, title in titles if depth < level] + [(level, heading[2])]
        else:
            lines.append(line)
    yield _section(titles, lines)


def _section(titles: list[tuple[int, str]], lines: list[str]) -> tuple[list[str], str]:
    """A heading with nothing under it is text itself, so that no word of the document is lost."""
    names = [title for _, title in titles]
    return (names, "\n".join(lines)) if _filled(lines) else (names[:-1], names[-1] if names else "")


def _filled(lines: list[str]) -> bool:
    return any(line.strip() for line in lines)


@dataclass(frozen=True)
class _Piece:
    """A sentence, or part of an over-long one."""

    text: str
    ends_paragraph: bool


@dataclass(frozen=True)
class _Section:
    """What stands under one title, and the rules of cutting it."""

    header: str
    pieces: list[_Piece]
    size: int
    overlap: int
    measure: Count

    @classmethod
    def of(cls, titles: list[str], body: str, chunking: Chunking, measure: Count) -> "_Section":
        """A header that would take more than half of each chunk is text instead."""
        header = f"{' > '.join(titles)}:" if titles else ""
        if measure(header) > chunking.size // 2:
            header, body = "", f"{header}\n\n{body}"
        empty = cls(header, [], chunking.size, chunking.overlap, measure)
        pieces = [piece for paragraph in PARAGRAPH.split(body) for piece in empty._pieces(paragraph)]
        return cls(header, pieces, chunking.size, chunking.overlap, measure)

    def _pieces(self, paragraph: str) -> Iterator[_Piece]:
        parts = [part for sentence in sentences(paragraph) for part in self._cut(sentence)]
        for i, part in enumerate(parts, 1):
            yield _Piece(part, ends_paragraph=i == len(parts))

    def _text(self, passage: str) -> str:
        return f"{self.header} {passage}" if self.header else passage

    def _fits(self, passage: str) -> bool:
        return self.measure(self._text(passage)) <= self.size

    def _cut(self, sentence: str) -> Iterator[str]:
        """Cuts an over-long sentence at spaces, or where it has none, anywhere."""
        while (end := self._longest(sentence)) < len(sentence):
            space = sentence.rfind(" ", 1, end + 1)
            end = space if space > 0 else end
            yield sentence[:end].strip()
            sentence = sentence[end:].strip()
        yield sentence

    def _longest(self, sentence: str) -> int:
        """Length of the longest beginning that fits, by bisection; looks ahead a few sizes only, as texts may be one sentence."""
        low, high = 1, 8 * self.size
        while high < len(sentence) and self._fits(sentence[:high]):
            low, high = high, 2 * high
        if high >= len(sentence):
            if self._fits(sentence):
                return len(sentence)
            high = len(sentence)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self._fits(sentence[:middle]) else (low, middle)
        return low

    @cached_property
    def _weights(self) -> list[int]:
        """What each piece adds to a passage; for tokens nearly, as a tokenizer may join across pieces."""
        return [self.measure(f" {piece.text}") for piece in self.pieces]

    def passages(self) -> list[str]:
        """The chunks' texts. One whose successor repeats all that is new in it, and more, is left out."""
        kept: list[str] = []
        successor = len(self.pieces)
        for first, start, end in reversed(list(self._spans())):
            if successor >= start:
                kept.append(self._text(self._join(first, end)))
                successor = first
        return kept[::-1]

    def _join(self, first: int, end: int) -> str:
        return " ".join(piece.text for piece in self.pieces[first:end])

    def _spans(self) -> Iterator[tuple[int, int, int]]:
        """(first piece, first piece that is new, end) of each passage: as many new pieces as fit and the run holds."""
        # Each weight counts a space before its piece, which the first piece of a passage without header lacks.
        base = self.measure(self.header) if self.header else self.measure("a") - self.measure(" a")
        start = 0
        for run_end in [*self._cuts(), len(self.pieces)]:
            while start < run_end:
                first = self._overlap_start(start, base)
                total, end = base + sum(self._weights[first : start + 1]), start + 1
                while end < run_end and total + self._weights[end] <= self.size:
                    total += self._weights[end]
                    end += 1
                while not self._fits(self._join(first, end)) and end - first > 1:
                    first, end = (first, end - 1) if end - start > 1 else (first + 1, end)
                yield first, start, end
                start = end

    def _overlap_start(self, start: int, base: int) -> int:
        """Where the passage begins whose first new piece is `start`: whole pieces before it, within the overlap and the room."""
        first = start
        room = self.size - base - self._weights[start]
        while first > 0 and self._weights[first - 1] <= room:
            if self.measure(self._join(first - 1, start)) > self.overlap:
                break
            first -= 1
            room -= self._weights[first]
        return first

    def _cuts(self) -> list[int]:
        """Pieces at which a run begins.

        A boundary is cut when the text between the nearest boundaries before and after it that are as strong or stronger is
        longer than a run. Equal boundaries, as between lines that all read the same, cut nothing.
        """
        strengths = [self._strength(left, right) for left, right in pairwise(self.pieces)]
        position = [0]
        for weight in self._weights:
            position.append(position[-1] + weight)
        before = _nearest_as_strong(strengths)
        after = [len(strengths) - 1 - i for i in reversed(_nearest_as_strong(strengths[::-1]))]
        return [i + 1 for i in range(len(strengths)) if position[after[i] + 1] - position[before[i] + 1] > RUN * self.size]

    def _strength(self, left: _Piece, right: _Piece) -> tuple[int, str]:
        """Numbered sections before paragraphs before sentences; among like, by hash, which no text elsewhere can change."""
        level = 2 if SECTION.match(right.text) else int(left.ends_paragraph)
        return level, sha256(f"{left.text}\n{right.text}")


def _nearest_as_strong(strengths: list[tuple[int, str]]) -> list[int]:
    """For each boundary the index of the nearest one before it that is at least as strong, or -1."""
    nearest: list[int] = []
    stack: list[int] = []
    for i, strength in enumerate(strengths):
        while stack and strengths[stack[-1]] < strength:
            stack.pop()
        nearest.append(stack[-1] if stack else -1)
        stack.append(i)
    return nearest


def sentences(paragraph: str) -> Iterator[str]:
    """Sentences, clauses ended by semicolons, and items of lists, with their spaces collapsed.

    No end is seen after an abbreviation, an initial, or a number that opens a sentence ("2.1. Term"), nor before a small letter.
    Own rules, since spaCy's sentencizer ends sentences at "No." and "Sec.", NLTK's Punkt takes a learned model, and both end one
    after a section's number.
    """
    for item in ITEM.split(paragraph):
        text = " ".join(item.split())
        start = 0
        for mark in END.finditer(text):
            if _ends(text, start, mark):
                yield text[start : mark.end()].strip()
                start = mark.end()
        if text[start:]:
            yield text[start:]


def _ends(text: str, start: int, mark: re.Match[str]) -> bool:
    if text[mark.start()] != ".":
        return True
    if text[mark.end()].islower() or NUMBER.fullmatch(text, start, mark.start()):
        return False
    word = text[max(start, text.rfind(" ", start, mark.start()) + 1) : mark.start()].lstrip("(\"'“‘[")
    return not ABBREVIATION.fullmatch(word) and not (len(word) == 1 and word.isupper())
