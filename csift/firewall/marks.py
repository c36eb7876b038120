"""What a question pins down to the letter: its numbers, dates, units, codes, names and roles.

Two questions that differ in one of them ask for different things, however alike they sound. A mark that only one of the two has
settles nothing: "the Kestrel" and "the Kestrel 40" may well be one thing.

Not covered: names in lower case (drugs, materials), which the scorer weighs as words; abbreviations that are not initials.
"""

import math
import re
import unicodedata
from collections.abc import Set
from dataclasses import dataclass
from functools import lru_cache
from os.path import commonprefix

from csift.textmatch import STOP_WORDS, Quantity, content_words, normalise, read


def _words(text: str) -> list[str]:
    return text.split()


_QUESTION_WORDS = frozenset(
    _words(
        "what which who whom whose when where why how much many long do does did can could may might must should shall will "
        "would has have had if while me us he she them their his her not no also any some than then so but please tell"
    )
)
# Capitalised in contracts and reports without naming anything.
_GENERIC = frozenset(
    _words(
        "agreement contract company corporation party section article clause exhibit annex appendix schedule paragraph board "
        "court group table note figure item part chapter version mr mrs ms dr inc ltd llc corp plc gmbh"
    )
)
_OPPOSED = frozenset(
    frozenset(pair.split("/"))
    for pair in _words(
        "buyer/seller purchaser/seller buyer/vendor landlord/tenant lessor/lessee licensor/licensee franchisor/franchisee "
        "employer/employee lender/borrower creditor/debtor assignor/assignee supplier/customer insurer/insured "
        "mortgagor/mortgagee discloser/recipient asset/liability import/export inflow/outflow increase/decrease left/right "
        "upper/lower maximum/minimum largest/smallest highest/lowest maximum/lowest maximum/smallest minimum/highest "
        "minimum/largest inpatient/outpatient systolic/diastolic arterial/venous hypertension/hypotension "
        "hyperglycaemia/hypoglycaemia hyperglycemia/hypoglycemia male/female mother/father debit/credit revenue/expense "
        "income/expense gain/loss profit/loss domestic/foreign acquisition/disposal receivable/payable"
    )
)
_HAS_OPPOSITE: frozenset[str] = frozenset().union(*_OPPOSED)
_ORDINALS = _words("first second third fourth fifth sixth seventh eighth ninth tenth")
_MONTHS = "january|february|march|april|may|june|july|august|september|october|november|december"
_SCALES = {"thousand": 1e3, "million": 1e6, "billion": 1e9}
_SHORT = {"k": "thousand", "m": "million", "b": "billion"}
_TITLE = re.compile(r"\b(?:mr|mrs|ms|dr|prof|st|no|inc|co|corp|ltd|vs?)\.$", re.IGNORECASE)
NO_NAMES = STOP_WORDS | _QUESTION_WORDS | _GENERIC
_DIGIT = re.compile(r"\d")
_WORD = re.compile(r"[^\W_]+(?:[.&'’-][^\W_]+)*\.?")
_NAME_STEM = 4  # letters that Asia and Asian share
_ENDINGS = frozenset(("", "a", "e", "y", "s", "n", "an", "ian", "ean", "ish", "ese", "oration"))


@dataclass(frozen=True)
class Marks:
    """The marks of one question. `names` are in lower case; `words` are all its words; `terms` carry content and are no marks."""

    quantities: tuple[Quantity, ...]
    names: frozenset[str]
    acronyms: frozenset[str]
    words: frozenset[str]
    terms: tuple[str, ...]


def plain(text: str) -> str:
    """Compatibility forms and accents undone (Unicode NFKD), white space as single spaces."""
    if text.isascii():
        return " ".join(text.split())
    letters = unicodedata.normalize("NFKD", text.replace("½", " 1/2"))
    return " ".join("".join(letter for letter in letters if not unicodedata.combining(letter)).split())


def letter_key(text: str) -> str:
    """Equal for copies: case, white space, accents and punctuation that carries no meaning (not $, %, °, ± ...) undone."""
    text = re.sub(r"(?<=\d),(?=\d{3}\b)", "", plain(text).casefold())
    text = re.sub(r"(?<=\w)['’´`](?=\w)", "", text)
    text = re.sub(r"[^\w\s$£€¥%°±<>=+&.-]|(?<!\d)\.|\.(?!\d)|(?<!\w)-(?!\d)|(?<=\w)-", " ", text)
    return " ".join(text.split())


@lru_cache(maxsize=65536)
def marks(text: str) -> Marks:
    """Reads the marks of a question."""
    text = plain(text)
    counted = _countable(text)
    quantities = tuple(quantity for quantity in read(counted).quantities if not _is_article(quantity, counted))
    names, acronyms = _names(text)
    words = frozenset(re.findall(r"[^\W_]+", normalise(text))) | frozenset(content_words(text))
    terms = tuple(
        word
        for word in dict.fromkeys(content_words(text))
        if word not in _QUESTION_WORDS and not _DIGIT.search(word) and not _known(word, names)
    )
    return Marks(quantities, names, acronyms, words, terms)


def _countable(text: str) -> str:
    """Ordinals, quarters, halves, fiscal years and scales in the form that the reader of quantities knows."""
    text = text.replace("–", "-")
    text = re.sub(rf"\b(?:{_MONTHS})(?=,? \d)|(?<=\d )(?:{_MONTHS})(?=,? \d|\W*$)", lambda m: m[0].capitalize(), text, flags=re.I)
    for digit, word in enumerate(_ORDINALS, start=1):
        text = re.sub(rf"\b{word} (?:fiscal |financial )?(quarter|half)\b", rf"{digit} \1", text, flags=re.I)
        text = re.sub(rf"\b{word}(?=[ -][a-z])", str(digit), text, flags=re.I)
    text = re.sub(r"\b(\d+)(?:st|nd|rd|th)\b", r"\1", text)
    text = re.sub(r"\b(?:([1-4]) quarter|([1-4])q)\b", lambda m: f"Q{m[1] or m[2]}", text, flags=re.I)
    text = re.sub(r"\b(?:([12]) half|([12])h)\b", lambda m: f"H{m[1] or m[2]}", text, flags=re.I)
    text = re.sub(r"\bFY ?['’]?(\d\d)\b", r"20\1", text, flags=re.I)
    text = re.sub(r"\bFY ?(?=\d{4})", "", text, flags=re.I)
    text = re.sub(r"([$£€] ?\d[\d.,]*) ?(k|mn?|bn)\b", lambda m: f"{m[1]} {_SHORT[m[2][0].lower()]}", text, flags=re.I)
    return re.sub(
        r"(\d[\d,]*(?:\.\d+)?) (thousand|million|billion)\b",
        lambda m: f"{float(m[1].replace(',', '')) * _SCALES[m[2].lower()]:.0f}",
        text,
        flags=re.I,
    )


def _is_article(quantity: Quantity, text: str) -> bool:
    """ "an hour", "each year" and "daily" are read as quantities of 1, but pin nothing down."""
    return quantity.number == 1 and quantity.dimension in ("time", "months") and not re.search(r"\b(?:1|one)\b", text, re.I)


def _names(text: str) -> tuple[frozenset[str], frozenset[str]]:
    """Capitalised words in the middle of a sentence, in lower case, and which of them are all capitals."""
    words = list(_WORD.finditer(text))
    capitals = [match[0][0].isupper() for match in words[1:] if match[0][0].isalpha()]
    if len(capitals) > 3 and sum(capitals) > 0.7 * len(capitals):  # a title, or shouting: capitals say nothing
        return frozenset(), frozenset()
    names, acronyms = set(), set()
    for place, match in enumerate(words):
        word = re.sub(r"['’]s?$|\.$", "", match[0])
        lower = word.casefold().replace(".", "")
        all_capitals = sum(letter.isupper() for letter in word) > 1
        common = not all_capitals and bool({lower, lower.removesuffix("s")} & NO_NAMES)
        if not word[:1].isupper() or _DIGIT.search(word) or common:
            continue
        in_a_name = match[0].endswith(("'s", "’s")) or (place + 1 < len(words) and words[place + 1][0][0].isupper())
        if all_capitals or in_a_name or not _starts(text[: match.start()].rstrip(" \"'(“‘-•")):
            names.add(lower)
        if all_capitals:
            acronyms.add(lower.replace("&", ""))
    return frozenset(names), frozenset(acronyms)


def _starts(before: str) -> bool:
    return not before or (before[-1] in ".?!:;" and not _TITLE.search(before))


def _known(name: str, others: frozenset[str]) -> bool:
    """Whether a name is among others, inflection apart: Asia and Asian, Canada and Canadian, Corp and Corporation."""
    if name in others:
        return True
    for other in others:
        stem = len(commonprefix([name, other]))  # noqa: RUF071 - of letters, not of paths
        if stem >= _NAME_STEM and {name[stem:], other[stem:]} <= _ENDINGS:
            return True
    return False


def unmatched_names(one: Marks, other: Marks) -> frozenset[str]:
    """The names of one question that the other has neither as a name nor as a word nor in initials."""
    return frozenset(
        name for name in one.names if not _known(name, other.words | other.names) and not _initials(name, one, other)
    )


def _initials(name: str, one: Marks, other: Marks) -> bool:
    """US and United States, either way round."""
    mine, its = ({word[0] for word in side.names - side.acronyms} for side in (one, other))
    if name in one.acronyms:
        return set(name) <= its
    return any(name[0] in acronym and set(acronym) <= mine for acronym in other.acronyms)


def unmatched_quantities(one: Marks, other: Marks) -> tuple[Quantity, ...]:
    """The numbers, dates and codes of one question that the other has not."""
    return tuple(mine for mine in one.quantities if not any(_same(mine, its) for its in other.quantities))


def _same(one: Quantity, other: Quantity) -> bool:
    if one.agreement(other) or other.agreement(one):
        return True
    if "code" in (one.dimension, other.dimension) and one.dimension != other.dimension:
        return _digits(one) == _digits(other)  # Error 4 and E4, Kestrel-40 and Kestrel 40
    if isinstance(one.value, str) or isinstance(other.value, str):
        return False
    return "" in (one.dimension, other.dimension) and math.isclose(one.number, other.number)


def _digits(quantity: Quantity) -> str:
    return re.sub(r"\D", "", str(quantity.value)) if isinstance(quantity.value, str) else f"{quantity.number:g}"


def conflict(one: Marks, other: Marks) -> str:
    """Why two questions cannot be the same: "number", "name" or "role" where each has one that the other lacks; else ""."""
    if unmatched_quantities(one, other) and unmatched_quantities(other, one):
        return "number"
    if unmatched_names(one, other) and unmatched_names(other, one):
        return "name"
    mine, its = ({*side.terms, *side.names} - against.words for side, against in ((one, other), (other, one)))
    return "role" if opposed(mine, its) else ""


def opposed(mine: Set[str], its: Set[str]) -> bool:
    """Whether one side's own words have the opposite of one of the other's: buyer and seller, maximum and minimum."""
    return any(frozenset((one, other)) in _OPPOSED for one in mine & _HAS_OPPOSITE for other in its & _HAS_OPPOSITE)
