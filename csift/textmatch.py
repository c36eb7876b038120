"""Reading short English answers: quantities with units, dates, part numbers, content words, refusals, yes and no.

Not covered: conversions between °C and °F or between currencies, dates such as 6/11/2016 (day or month first?), rates
(12 l/min reads as 12 l), and numbers spelt out beyond ninety-nine.
"""

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

REFUSAL = "Not stated in the documents."

# --- words ----------------------------------------------------------------------------------------------------------


def _split(words: str) -> list[str]:
    return words.split()


STOP_WORDS = frozenset(
    _split(
        "a an the of in on at to for by with from into inside it its is are be was were and or as that this these those "
        "there you your my we our they i every each once per about around roughly approximately circa up within one"
    )
)
_SPELLINGS = {"gray": "grey", "color": "colour", "aluminum": "aluminium", "counterclockwise": "anticlockwise"}


def normalise(text: str) -> str:
    """Lower case without punctuation and articles, one space between words (Rajpurkar et al., SQuAD, EMNLP 2016).

    Unlike in SQuAD's script, a hyphen or slash parts words ("sage-green" is "sage green"), and 1,200 and .5 keep their
    value.
    """
    text = re.sub(r"(?<=\d),(?=\d{3}\b)", "", text.lower().replace("’", "'"))
    text = re.sub(r"\b(counter|anti)[- ](?=clockwise)", r"\1", text)
    text = re.sub(r"\bcan't\b|\bcannot\b", "can not", text)
    text = re.sub(r"n't\b", " not", text)
    text = re.sub(r"(?<!\d)\.(?=\d)", "0.", text)
    text = re.sub(r"[^\w\s.]|\.(?!\d)", "", re.sub(r"[-–—/]", " ", text))
    return " ".join(_SPELLINGS.get(word, word) for word in text.split() if word not in ("a", "an", "the"))


def tokens(text: str) -> list[str]:
    """The normalised words, plural endings removed."""
    return [_singular(word) for word in normalise(text).split()]


def content_words(text: str) -> list[str]:
    """`tokens` without the words that carry no answer."""
    return [word for word in tokens(text) if word not in STOP_WORDS]


def token_f1(answer: str, gold: str) -> float:
    """Harmonic mean of token precision and recall, in [0, 1] (Rajpurkar et al. 2016)."""
    given, wanted = tokens(answer), tokens(gold)
    common = sum((Counter(given) & Counter(wanted)).values())
    return 2 * common / (len(given) + len(wanted)) if common else 0.0


def recall(wanted: Sequence[str], given: Sequence[str]) -> float:
    """Share of the wanted words that are among those given, repetitions counted; 1.0 when none is wanted."""
    return sum((Counter(wanted) & Counter(given)).values()) / len(wanted) if wanted else 1.0


def _singular(word: str) -> str:
    if len(word) <= 3 or word.endswith(("ss", "us", "is")):
        return word
    return re.sub(r"(?<=x|h)es$|s$", "", re.sub(r"(?<=\w\w)ies$", "y", word))


# --- quantities -----------------------------------------------------------------------------------------------------

# (dimension, factor to its base unit, symbols in their own case, words in any case);
# a longer spelling stands before its beginning.
_UNITS: tuple[tuple[str, float, str, str], ...] = (
    ("speed", 1, "m/s", "met(?:re|er)s? per second"),
    ("speed", 1 / 3.6, "km/h|kph|kmh", "kilomet(?:re|er)s? (?:per|an) hour"),
    ("area", 1, "m²|m2|sqm", "(?:square|sq\\.?) (?:met(?:re|er)s?|m)"),
    ("area", 1e-4, "cm²|cm2", "square centimet(?:re|er)s?"),
    ("volume", 1000, "m³|m3", "cubic met(?:re|er)s?"),
    ("volume", 1e-3, "ml|mL", "millilit(?:re|er)s?"),
    ("volume", 1e-2, "cl|cL", "centilit(?:re|er)s?"),
    ("volume", 1, "l|L", "lit(?:re|er)s?"),
    ("length", 1e-3, "mm", "millimet(?:re|er)s?"),
    ("length", 1e-2, "cm", "centimet(?:re|er)s?"),
    ("length", 1e3, "km", "kilomet(?:re|er)s?"),
    ("length", 1, "m", "met(?:re|er)s?"),
    ("length", 0.0254, "″", "inch(?:es)?"),
    ("mass", 1e-3, "mg", "milligram(?:me)?s?"),
    ("mass", 1e3, "kg", "kgs|kilos?|kilogram(?:me)?s?"),
    ("mass", 1, "g", "gram(?:me)?s?"),
    ("mass", 1e6, "t", "tonnes?"),
    ("time", 1, "s", "secs?|seconds?"),
    ("time", 60, "min", "mins|minutes?"),
    ("time", 3600, "h", "hrs?|hours?"),
    ("time", 86400, "d", "days?"),
    ("time", 604800, "wk", "weeks?"),
    ("time", 1209600, "", "fortnights?"),
    ("months", 1, "", "months?"),
    ("months", 12, "yr", "yrs|years?"),
    ("temperature", 1, "° ?C|℃|C", "deg(?:rees?)? (?:celsius|centigrade|c)"),
    ("fahrenheit", 1, "° ?F|F", "deg(?:rees?)? (?:fahrenheit|f)"),
    ("angle", 1, "°", "deg|degrees?"),
    ("pressure", 1, "", "bars?"),
    ("pressure", 1e-3, "mbar", "millibars?"),
    ("pressure", 1e-2, "kPa", "kilopascals?"),
    ("psi", 1, "psi", "psi"),
    ("energy", 1e3, "kWh", "kilowatt[- ]hours?"),
    ("energy", 1, "Wh", "watt[- ]hours?"),
    ("power", 1e3, "kW", "kilowatts?"),
    ("power", 1, "W", "watts?"),
    ("voltage", 1, "V", "volts?"),
    ("charge", 1e-3, "mAh", "milliamp[- ]hours?"),
    ("charge", 1, "Ah", "amp[- ]hours?"),
    ("current", 1e-3, "mA", "milliamp(?:ere)?s?"),
    ("current", 1, "A", "amp(?:ere)?s?"),
    ("sound", 1, "dB ?\\(A\\)|dBA|dB", "decibels?"),
    ("frequency", 1e3, "kHz", "kilohertz"),
    ("frequency", 1, "Hz", "hertz"),
    ("rotation", 1, "rpm", "revolutions per minute"),
    ("torque", 1, "Nm", "newton[- ]met(?:re|er)s?"),
    ("percent", 1, "%", "per ?cent"),
    ("turn", 1, "", "turns?"),
    ("dollars", 1, "", "dollars?|usd"),
    ("pounds sterling", 1, "", "pounds sterling|gbp"),
    ("euros", 1, "", "euros?|eur"),
)
_CURRENCIES = {"$": "dollars", "£": "pounds sterling", "€": "euros"}
# Dimensions that a reader takes for one another: a contradiction in one contradicts the other.
_KIN = {"months": "time", "angle": "temperature", "fahrenheit": "temperature"}

_ONES = _split("one two three four five six seven eight nine")
_TEENS = _split("ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen")
_TENS = _split("twenty thirty forty fifty sixty seventy eighty ninety")
_NUMBER_WORDS = {word: number for number, word in enumerate(["zero", *_ONES, *_TEENS])}
_NUMBER_WORDS |= {word: 10 * tens for tens, word in enumerate(_TENS, start=2)}
_MONTHS = _split("jan feb mar apr may jun jul aug sep oct nov dec")

_TIME = r"(?:second|minute|hour|day|week|fortnight|month|year)"
_UNIT = "|".join(
    "|".join(part for part in (symbols, f"(?i:{words})" if words else "") if part) for _, _, symbols, words in _UNITS
)
_MONTH = (
    r"(?:(?i:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?|"
    r"nov(?:ember)?|dec(?:ember)?)|May|MAY)\b\.?"
)
_DAY = r"\d{1,2}(?:st|nd|rd|th)?\b"
_SCANNER = re.compile(
    rf"(?P<date>\b\d{{4}}-\d\d-\d\d\b|\b\d{{4}},? {_MONTH} {_DAY}|\b{_MONTH} {_DAY}(?:,? \d{{4}}\b)?"
    rf"|\b{_DAY}(?: day)?(?: of)? {_MONTH}(?:,? \d{{4}}\b)?|\b{_MONTH},? \d{{4}}\b)"
    r"|(?P<clock>\b\d{1,2}:\d\d(?i:\s?[ap]\.?m\b\.?)?|\b\d{1,2}(?i:\s?[ap]\.?m\b\.?))"
    r"|(?P<code>(?<![\w-])(?=[A-Za-z-]*\d)[A-Za-z]\w*(?:-\w+)*)"
    r"|(?P<sign>(?<![\w)])-)?(?:(?P<currency>[$£€])\s?)?"
    r"(?<![\w.])(?P<digits>\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)"
    rf"(?:[\s-]?(?P<unit>{_UNIT})(?!\w)"
    rf"|\s(?!(?:and|or|to|of|in|for|per|an?|the|at)\b)[a-z]+\s(?P<late>{_TIME}s?)\b|(?!\w))"
    r"|(?P<model>(?<![\w.-])\d+(?!(?:st|nd|rd|th)\b)[A-Za-z]\w*(?:-\w+)*)"
)
_JOINED = re.compile(r"\s*(?:,|and|or|to|until|through|-|–|/|&|, and|, or)\s*(?:about |the |an? )?")
_AFTER_ADVERB = r"(?:and|or|to|by|with|in|on|at|for|before|after|if|when)"  # "oil it weekly with ...", not "its weekly clock"
_DENIED = re.compile(r"\b(?:not|never|rather than|instead of)\s+(?:about |exactly |the )?$", re.IGNORECASE)


@dataclass(frozen=True)
class Quantity:
    """A number with its unit, a date, a time of day, or a part number.

    `value` is in the dimension's base unit; a date is "2016-11-06" ("2016-11", "--11-06" when partial), a time of day
    minutes after midnight, a part number its capitals and digits. `dimension` is "" for a number without a unit, and
    `counted` the word after it. `named`: part of a name such as Kestrel 40. `denied`: "not 12 bar".
    """

    value: float | str
    number: float
    dimension: str
    text: str
    start: int
    end: int
    counted: str = ""
    named: bool = False
    denied: bool = False

    @property
    def kind(self) -> str:
        """What it competes with: quantities of one kind in one answer contradict each other."""
        if self.dimension == "code":  # KT-4417 competes with QB-3625, not with the D12 of a product's name
            return re.sub(r"\d+", "9", re.sub(r"[A-Za-z]+", "A", self.text))
        return _KIN.get(self.dimension, self.dimension)

    def agreement(self, given: "Quantity") -> float:
        """How well a given quantity meets this one: 1.0 the same, 0.7 the same number without its unit, else 0.0."""
        if self.dimension == "date" and given.dimension == "date":
            wanted, other = str(self.value), str(given.value)
            return float(other.startswith(wanted) or (wanted.startswith("--") and other.endswith(wanted[1:])))
        if isinstance(self.value, str) or isinstance(given.value, str):
            return float(self.dimension == given.dimension and self.value == given.value)
        if self.dimension == given.dimension or {self.dimension, given.dimension} == {"temperature", "angle"}:
            return float(math.isclose(self.value, given.value, rel_tol=1e-6))
        if not math.isclose(self.number, given.number, rel_tol=1e-6):
            return 0.0
        if self.dimension == "":  # for an age of 16, years are understood
            return float(given.dimension in ("time", "months") and not self.counted)
        alone = given.dimension == "" and not given.counted and not given.named
        return 0.7 if alone and self.dimension != "clock" else 0.0


@dataclass(frozen=True)
class Reading:
    """A text taken apart: its quantities in order of place in `text`, and `rest`, what is left without them."""

    text: str
    quantities: tuple[Quantity, ...]
    rest: str

    def joined(self, one: Quantity, other: Quantity) -> bool:
        """Whether two of its quantities stand in one breath: "11 or 12 bar", "20 to 30 minutes"."""
        first, second = sorted((one, other), key=lambda quantity: quantity.start)
        return _JOINED.fullmatch(self.text[first.end : second.start]) is not None


@lru_cache(maxsize=4096)
def read(text: str) -> Reading:
    """Takes a text apart. "half an hour" and "30 min" give the same quantity, so do "once a year" and "12 months"."""
    text = _with_digits(text)
    found = _merge_spans(_share_units([_quantity(match, text) for match in _SCANNER.finditer(text)], text), text)
    rest = text
    for quantity in reversed(found):
        rest = f"{rest[: quantity.start]} {rest[quantity.end :]}"
    return Reading(text, tuple(found), rest)


def _with_digits(text: str) -> str:
    """Number words as digits, fractions and frequencies as plain quantities."""
    text = text.replace("−", "-").replace("\u00a0", " ").replace("’", "'")

    def sub(pattern: str, replacement: str) -> None:
        nonlocal text
        text = re.sub(pattern, replacement, text, flags=re.IGNORECASE)

    word = "|".join(_NUMBER_WORDS)
    sub(rf"\b(?:every|each) (?:other|second) ({_TIME})\b", r"2 \1s")
    sub(rf"\b(?:once (?:an?|per|every|each)|every|each) ({_TIME})\b", r"1 \1")
    for adverb, span in (
        ("hourly", "1 hour"),
        ("daily", "1 day"),
        ("weekly", "1 week"),
        ("fortnightly", "2 weeks"),
        ("monthly", "1 month"),
        ("annually|yearly|once yearly", "1 year"),
    ):
        sub(rf"\b(?:{adverb})\b(?=\W*$|[.,;:)]| {_AFTER_ADVERB}\b)", span)
    sub(rf"\b(?:one|an?) ({_TIME}) and a half\b", r"1.5 \1s")
    sub(rf"\b({word}|\d+) and a half\b", r"\1 and 0.5")
    sub(rf"\bhalf[ -](?:an? )?(?={_TIME}|turn)", "0.5 ")
    sub(rf"\b(?:three|3) quarters of an? (?={_TIME}|turn)", "0.75 ")
    sub(rf"\b(?:(?:an?|one) )?quarter(?: of an? |[ -])(?={_TIME}|turn)", "0.25 ")
    sub(r"\bminus (?=\d|" + word + ")", "-")
    # "one" is a number before a unit or alone; elsewhere it stands for a thing
    if len(text.split()) > 2:
        sub(rf"\bone\b(?![ -](?:{_UNIT}|and 0\.5)(?!\w))", "\0")
    text = re.sub(
        rf"\b({'|'.join(_TENS)})[ -]({'|'.join(_ONES)})\b",
        lambda match: str(sum(_NUMBER_WORDS[part.lower()] for part in match.groups())),
        text,
        flags=re.IGNORECASE,
    )
    text = re.sub(rf"\b(?:{word})\b", lambda match: str(_NUMBER_WORDS[match[0].lower()]), text, flags=re.IGNORECASE)
    text = re.sub(r"\b(\d+) and 0\.5\b", r"\1.5", text)
    # "an hour" is one hour, but in "60 cups a day" and "twice an hour" it makes a rate
    rate = r"(?:\d[\d.,]*[\s-]?[a-z]+|times|twice)\s$"
    text = re.sub(
        rf"\ban? (?:full |whole |single |entire )?(?={_TIME}\b)(?!second)",
        lambda match: match[0] if re.search(rate, match.string[: match.start()]) else "1 ",
        text,
        flags=re.IGNORECASE,
    )
    return text.replace("\0", "one")


def _quantity(match: re.Match[str], text: str) -> Quantity:
    start, end = match.span()
    plain = Quantity(
        value=0.0,
        number=0.0,
        dimension="",
        text=match[0],
        start=start,
        end=end,
        named=bool(re.search(r"\b[A-Z][\w'-]*\s$", text[:start])),
        denied=bool(_DENIED.search(text[:start])),
    )
    if match["date"]:
        return replace(plain, value=_date(match["date"]), dimension="date", named=False)
    if match["clock"]:
        minutes = _minutes(match["clock"])
        return replace(plain, value=minutes, number=minutes, dimension="clock", named=False)
    if code := match["code"] or match["model"]:
        return replace(plain, value=re.sub(r"[^A-Z0-9]", "", code.upper()), dimension="code")
    number = float(match["digits"].replace(",", "")) * (-1 if match["sign"] else 1)
    if match["currency"]:
        return replace(plain, value=number, number=number, dimension=_CURRENCIES[match["currency"]], named=False)
    dimension, factor = _unit(match["unit"] or match["late"])
    if dimension:
        return replace(plain, value=number * factor, number=number, dimension=dimension, named=False)
    after = re.match(r"[\s-]([a-z]+)", text[end:])
    counted = after[1] if after and after[1] not in STOP_WORDS else ""
    return replace(plain, value=number, number=number, counted=counted)


@lru_cache(maxsize=256)
def _unit(text: str | None) -> tuple[str, float]:
    for dimension, factor, symbols, words in _UNITS if text else ():
        if (symbols and re.fullmatch(symbols, text or "")) or (words and re.fullmatch(words, text or "", re.IGNORECASE)):
            return dimension, factor
    return "", 1.0


def _date(text: str) -> str:
    if re.fullmatch(r"\d{4}-\d\d-\d\d", text):
        return text
    name = next(word for word in re.findall(r"[a-z]{3,}", text.lower()) if word[:3] in _MONTHS)
    numbers = re.findall(r"\d+", text)
    year = next((number for number in numbers if len(number) == 4), "-")
    day = next((f"-{int(number):02}" for number in numbers if len(number) < 3), "")
    return f"{year}-{_MONTHS.index(name[:3]) + 1:02}{day}"


def _minutes(text: str) -> float:
    hour, minute = (int(part) for part in (*re.findall(r"\d+", text), "0")[:2])
    if re.search(r"[ap]\.?m", text, re.IGNORECASE):
        hour = hour % 12 + (12 if "p" in text.lower() else 0)
    return 60.0 * hour + minute


def _share_units(found: list[Quantity], text: str) -> list[Quantity]:
    """ "25, 32 and 38 mm" are three lengths: a number joined to a quantity takes its unit."""
    shared = list(found)
    for index in range(len(shared) - 2, -1, -1):
        this, after = shared[index], shared[index + 1]
        joined = _JOINED.fullmatch(text[this.end : after.start])
        if joined and this.dimension == "" and not this.named and after.number and isinstance(after.value, float):
            factor = after.value / after.number
            if after.dimension not in ("", "clock"):
                shared[index] = replace(this, value=this.number * factor, dimension=after.dimension, counted="")
    return shared


def _merge_spans(found: list[Quantity], text: str) -> list[Quantity]:
    """ "8 hours and 30 minutes" is one span of time."""
    merged: list[Quantity] = []
    for this in found:
        before = merged[-1] if merged else None
        if before and before.dimension == this.dimension in ("time", "months") and _continues(before, this, text):
            value = float(before.value) + float(this.value)
            merged[-1] = replace(before, value=value, number=value, text=text[before.start : this.end], end=this.end)
        else:
            merged.append(this)
    return merged


def _continues(before: Quantity, this: Quantity, text: str) -> bool:
    gap = text[before.end : this.start]
    smaller = float(this.value) / (this.number or 1) < float(before.value) / (before.number or 1)
    return smaller and re.fullmatch(r"\s*(?:,?\s*and|,)?\s*", gap) is not None


# --- refusals, yes and no -------------------------------------------------------------------------------------------

_SOURCE = (
    r"(?:documents?|documentation|texts?|contexts?|passages?|excerpts?|manuals?|catalogue|information|pages?|sources?|"
    r"sections?|agreement|contract)"
)
_NOT = r"(?:not|n't|never|neither)"
_TOLD = r"(?:stated|mentioned|specified|indicated|disclosed|documented|described|given|known|defined|addressed)"
_HAD = r"(?:provided|included|available|listed|covered|found|contained|present|answered)"
_TELL = (
    r"(?:say|state|mention|specify|provide|contain|give|include|indicate|answer|tell|list|cover|disclose|describe|"
    r"address|explain|define)"
)
_REFUSALS = re.compile(
    rf"^{_NOT} (?:\w+ly )?(?:{_TOLD}|{_HAD})\b(?!.*\b(?:but|with)\b)"
    rf"|\b{_SOURCE}\b[^.]*?(?:do(?:es)?|did) ?{_NOT} (?:\w+ly )?(?:seem to |appear to )?{_TELL}\b"
    rf"|\b(?:is|are|was|were) ?{_NOT} (?:\w+ly )?{_TOLD}\b"
    rf"|\b(?:is|are|was|were) ?{_NOT} (?:\w+ly )?{_HAD} (?:in|by|from|within) (?:the|this|these|any)(?: \w+)? {_SOURCE}"
    r"|\b(?:can ?not|can't|could not|couldn't|unable to|not able to) (?:find|determine|answer|tell|say|locate)\b"
    r"|\b(?:can ?not|could not) be (?:found|determined|answered)\b"
    r"|\b(?:no|not enough|insufficient) (?:\w+ )?(?:information|mention)\b|\bthere is no mention\b"
    r"|\bi (?:do not|don't) know\b|^unknown\b|^n/a\b",
    re.IGNORECASE,
)


def is_refusal(text: str) -> bool:
    """Whether the text says that the documents do not answer: REFUSAL and its plain variants.

    "Not stated, but about 30 kg" is an answer: a refusal gives no quantity after all.
    """
    text = text.strip().replace("’", "'")
    match = _REFUSALS.search(re.split(r"(?<=[.!?])\s", text, maxsplit=1)[0])
    return bool(match) and not any(not quantity.named for quantity in read(text[match.end() :] if match else "").quantities)


_YES = re.compile(r"(?:yes|yeah|yep|correct|certainly|of course|absolutely|indeed|true)\b", re.IGNORECASE)
_NO = re.compile(
    r"(?:no(?=\W*$|[,.;:!]| [-–]| (?:it|you|they|he|she|we|the|this|that|not|because|only)\b)|nope\b|never\b|false\b|"
    r"by no means|under no circumstances|not at all)",
    re.IGNORECASE,
)
_UNCLEAR = re.compile(r"\b(?:yes (?:and|or) no|yes/no|it depends|without|perhaps|maybe|possibly|not sure)\b", re.IGNORECASE)
_NEGATION = re.compile(r"\b(?:not|never|no|neither|nor|forbidden|prohibited|unsuitable|impossible|unsafe|avoid)\b", re.IGNORECASE)
_AUXILIARY = re.compile(
    r"\b(?:can|may|might|will|would|does|do|did|is|are|was|has|have|should|must|allowed|permitted)\b", re.IGNORECASE
)


def polarity(text: str, question: str) -> bool | None:
    """True for a yes, False for a no, else None: it must open with one, or be a sentence on the question's matter."""
    text = re.sub(r"\b(can)(?:not|'t)\b", r"\1 not", text.strip().replace("’", "'"), flags=re.IGNORECASE)
    text = re.sub(r"n't\b", " not", text, flags=re.IGNORECASE)
    first = re.split(r"(?<=[.!?])\s", text, maxsplit=1)[0]
    if not first or _UNCLEAR.search(first):
        return None
    if _YES.match(first):
        return True
    if _NO.match(first):
        return False
    on_the_matter = len(set(content_words(first)) & _lower_words(question)) >= 2 or len(first.split()) <= 4
    denies = bool(_NEGATION.search(first))
    if not on_the_matter or not (denies or _AUXILIARY.search(first)):
        return None
    return not denies


def _lower_words(text: str) -> set[str]:
    """Content words without names, which a question and any sentence on its product share."""
    return set(content_words(" ".join(word for word in text.split() if not word[:1].isupper()))) - {
        "not",
        "can",
        "will",
        "does",
        "do",
    }
