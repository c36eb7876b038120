"""What can be asked for in a passage: spans of text that make an answer, each with the few sentences around it.

Answer-aware question generation starts from the answer. Candidates are dates and quantities, names, and key phrases between stop
words (RAKE: Rose, Engel, Cramer and Cowley, 2010). They are proposals; the filters decide.
"""

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from csift.schemas import Chunk

WINDOW = 300  # characters around the answer: small models ask vaguely about long passages
WORDS = (1, 12)
KINDS = 3  # a passage gives at most this many answers, of different kinds where it can

_GAP = re.compile(r"(?<=[.!?;])\s+(?=[A-Z(\"“\d])")
# A full stop behind one of these, behind a single letter or behind a number ends no sentence.
_ABBREVIATION = re.compile(r"(?:\b(?:Inc|Ltd|Co|Corp|LLC|No|Nos|Sec|Art|Mr|Mrs|Ms|Dr|St|vs|approx|Fig|al|[A-Za-z])|\d)\.$")

_MONTH = "January|February|March|April|May|June|July|August|September|October|November|December"
_NUMBER = (
    r"(?:\d[\d,.]*|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|fifteen|eighteen|twenty|thirty|forty|fifty|sixty"
    r"|ninety)"
)
_SPELT = (
    rf"{_NUMBER}(?:[- ](?:one|two|three|four|five|six|seven|eight|nine|hundred|thousand|million|billion))*(?:\s?\([\d,.]+%?\))?"
)
DATE = re.compile(
    rf"\b(?:{_MONTH})\s+\d{{1,2}}(?:st|nd|rd|th)?,?\s+\d{{4}}\b"
    rf"|\b\d{{1,2}}(?:st|nd|rd|th)?\s+(?:day of\s+)?(?:{_MONTH}),?\s+\d{{4}}\b"
    r"|\b\d{1,2}/\d{1,2}/\d{2,4}\b"
)
QUANTITY = re.compile(
    rf"(?:US|U\.S\.\s?)?[$€£]\s?\d[\d,.]*\d(?:\s(?:million|billion|thousand))?(?:\sper\s\w+)?"
    rf"|\b(?i:{_SPELT})\s?(?:%|°C?|(?:additional |calendar |business )?[a-zµ²³/]{{1,15}}|k?Wh?|V|mAh|dB\(A\))(?![\w])"
)
NAME = re.compile(r"(?<=[a-z,] )[A-Z][\w&'’-]+(?:,?\s(?:of\s|and\s|the\s|&\s)?[A-Z][\w&'’.-]*){1,5}")
CODE = re.compile(r"\b[A-Z]{1,5}-?\d+[A-Z]?\b")
PHRASE = re.compile(r"[A-Za-z][\w'’-]*(?: [A-Za-z][\w'’-]*){1,5}")
_STOP = """
    a about above after all also am an and any are as at be because been before being
    below between both but by can could did do does doing down during each either every
    few for forth from further had has have having he her here hereby herein hereof hereto
    hereunder him his how however i if in including into is it its itself just may me
    might more most must my neither no nor not now of off on once only or other
    otherwise our out over own per provided pursuant said same set shall she should so some
    such than that the their them then there thereby therein thereof thereto these they this
    those through to too under unless until up upon us very was we were what when where
    whereas which while who whom why will with within without would you your
"""
STOP = frozenset(_STOP.split())


@dataclass(frozen=True)
class Passage:
    """The sentences around a span of a chunk that is to be asked for; `text` opens with the chunk's titles, where it has any."""

    chunk: Chunk
    text: str
    answer: str

    @property
    def marked(self) -> str:
        """The text with the answer set off (Chan and Fan, A Recurrent BERT-based Model for Question Generation, MRQA 2019)."""
        return mark(self.text, self.answer)


def mark(text: str, answer: str) -> str:
    """The text with the answer's first occurrence between ** and **."""
    return text.replace(answer, f"**{answer}**", 1)


def sentences(text: str) -> list[str]:
    """The sentences of a text; abbreviations, initials and numbered clauses end none."""
    found: list[str] = []
    for piece in _GAP.split(text.strip()):
        if found and _ABBREVIATION.search(found[-1]):
            found[-1] += " " + piece
        elif piece:
            found.append(piece)
    return found


def passages(chunks: Sequence[Chunk], count: int, seed: int) -> list[Passage]:
    """At most `count` passages, spread evenly over the chunks and first over the documents; the same seed draws the same."""
    draw = random.Random(seed)
    pools = [pool for chunk in chunks if (pool := _of_chunk(chunk, draw))]
    draw.shuffle(pools)
    chosen: list[Passage] = []
    while pools and len(chosen) < count:
        chosen += [pool.pop() for pool in pools]
        pools = [pool for pool in pools if pool]
    return chosen[:count]


def titles(chunk: Chunk) -> tuple[str, str]:
    """(titles above the chunk, its own text); the first is empty where the chunk has none."""
    header, separator, body = chunk.text.partition(": ")
    return (header, body) if separator and len(header) <= 120 and not header.endswith(".") else ("", chunk.text)


def _of_chunk(chunk: Chunk, draw: random.Random) -> list[Passage]:
    header, body = titles(chunk)
    parts = sentences(body)
    pool = []
    for number, sentence in enumerate(parts):
        window = _window(parts, number)
        text = f"{header}: {window}" if header else window
        pool += [Passage(chunk, text, span) for span in _spans(sentence, draw) if span.lower() not in header.lower()]
    draw.shuffle(pool)
    return pool


def _window(parts: list[str], number: int) -> str:
    """The sentence with as many of those before and after it as fit, nearest first."""
    first = last = number
    while True:
        grown = False
        for low, high in ((first - 1, last), (first, last + 1)):
            if low >= 0 and high < len(parts) and len(" ".join(parts[low : high + 1])) <= WINDOW:
                first, last, grown = low, high, True
        if not grown:
            return " ".join(parts[first : last + 1])


def _spans(sentence: str, draw: random.Random) -> Iterator[str]:
    """Up to KINDS spans of a sentence, one of each kind."""
    if len(sentence) > 2 * WINDOW:  # a table, or text without sentences: nobody can be asked about all of it
        return
    given = 0
    for kind in (DATE, QUANTITY, CODE, NAME):
        found = [span for match in kind.finditer(sentence) if fit(span := match.group().strip(" ,.;:"))]
        if found and given < KINDS:
            given += 1
            yield draw.choice(found)
    phrases = list(_phrases(sentence))
    if phrases and given < 2:
        yield draw.choice(phrases)


def _phrases(sentence: str) -> Iterator[str]:
    """Longest runs of two to five words that are no stop words."""
    for run in PHRASE.findall(re.sub(r"[^\w\s'’-]", " | ", sentence)):
        kept: list[str] = []
        for word in [*run.split(), "the"]:
            if word.lower() in STOP:
                if 2 <= len(kept) <= 5:
                    yield " ".join(kept)
                kept = []
            else:
                kept.append(word)


def fit(span: str) -> bool:
    """Whether a span can be an answer at all."""
    words = span.split()
    ends = words[0].lower(), words[-1].lower()
    return WORDS[0] <= len(words) <= WORDS[1] and len(span) >= 2 and not STOP.intersection(ends)
