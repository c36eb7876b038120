"""Reading a judge's reply: what is unambiguous becomes a value, everything else raises ParseError, and nothing is assumed.

A reply is read in this order. Sections as DSPy's chat adapter marks them (`[[ ## score ## ]]`): the wanted one alone counts. Else
JSON objects, in fences or in prose: the wanted key counts. Else the text: the whole of it ("True.", "**0.7**"), its first words
before a stop ("false, because ..."), what follows the field's name ("Score: 7/10"), or its last line. All that is found must
agree.

A score is a number in [0, 1], or names its scale: 7/10, 7 out of 10, 70%. A bare 7 or 1.2 is refused.
"""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

T = TypeVar("T")

PARSER_VERSION = 1  # raise it whenever a reply could be read differently: it is part of every asking judge's id

LONGEST_REASON = 300  # characters

_MARKER = re.compile(r"\[\[\s*##\s*(\w+)\s*##\s*\]\]")
_FENCE = re.compile(r"```(?:json|text|python|plaintext)?", re.IGNORECASE)
_WRAP = " \t\r\n*_`\"'()[]<>"
_OPEN, _CLOSE = r"[*_`\"'(\[]*", r"[*_`\"')\]]*"
_NUMBER = r"(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)"
_SCORE = rf"[-+]?{_NUMBER}(?:\s*(?:/|out of|of)\s*{_NUMBER}|\s*(?:%|percent))?"
# What must not follow a value: more of the same number or word, or an alternative.
_END = r"(?![\w%/]|[.,][0-9]|\s*(?:/|%|percent\b|out of\b)|,?\s+(?:or|to)\b|\s*[-–—]\s*[0-9])"
_TRUTH = {"true": True, "yes": True, "false": False, "no": False}
_OPPOSITE = {"true": "false", "false": "true", "yes": "no", "no": "yes"}


class ParseError(Exception):
    """A reply that gives no verdict, or more than one. The message says why."""


@dataclass(frozen=True)
class _Kind(Generic[T]):
    """A kind of verdict: how it is written, what it means, and what a tail after it must not hold."""

    pattern: str
    of_text: Callable[[str], T]
    of_json: Callable[[Any], T]
    denied: Callable[[str, str], bool]


# --- what judges ask for ------------------------------------------------------------------------------------------------------


def parse_bool(reply: str, field: str) -> bool:
    """True or false; yes and no mean the same. Raises ParseError."""
    return _parse(reply, field, _BOOL)


def parse_score(reply: str, field: str) -> float:
    """A value in [0, 1]. Raises ParseError."""
    return _parse(reply, field, _VALUE)


def parse_choice(reply: str, field: str, choices: Sequence[str]) -> str:
    """One of the choices (lower case); "Answer A" and "[[A]]" are "a". Raises ParseError."""

    def of_json(value: Any) -> str:
        raise ParseError(f"{_short(value)} is none of {', '.join(choices)}")

    names = "|".join(re.escape(choice) for choice in choices)
    pattern = rf"(?:(?:answer|assistant|response|option)\s+)?(?:{names})"
    start = re.compile(rf"\W*{pattern}{_END}", re.IGNORECASE)
    kind = _Kind(
        pattern=pattern,
        of_text=lambda text: text.lower().split()[-1],
        of_json=of_json,
        denied=lambda _, tail: start.match(tail) is not None,
    )
    return _parse(reply, field, kind)


def parse_marks(reply: str, field: str, names: Sequence[str]) -> dict[str, float]:
    """A value in [0, 1] for each of the names, no more and no fewer. Raises ParseError."""
    wanted = {name.casefold(): name for name in names}
    found = list(_objects(_section(reply, field)))
    if len(found) != 1:
        raise ParseError(f"{len(found)} JSON objects instead of one with a mark for each of {', '.join(names)}")
    marks = _folded(found[0])
    if isinstance(marks.get(field), dict):
        marks = _folded(marks[field])
    if set(marks) != set(wanted):
        raise ParseError(f"marks for {', '.join(marks) or 'nothing'} instead of {', '.join(names)}")
    return {wanted[key]: _converted(marks[key], _VALUE) for key in wanted}


def parse_claims(reply: str, field: str) -> list[tuple[str, bool]]:
    """(claim, whether it is supported) for each entry of a JSON list; the list may be empty. Raises ParseError."""
    found = [entries for entries in _found(_section(reply, field), "[") if all(isinstance(entry, dict) for entry in entries)]
    if len(found) != 1:
        raise ParseError(f"{len(found)} JSON lists of claims instead of one")
    return [_claim(entry) for entry in found[0]]


def reason_of(reply: str) -> str:
    """Why, as far as the reply says so: its reason, or else all of it; shortened, on one line."""
    sections = [text for name, text in _sections(reply) if name == "reason"]
    told = [str(found["reason"]) for found in _objects_or_none(reply) if isinstance(found.get("reason"), str)]
    text = " ".join((sections or told or [_MARKER.sub(" ", reply)])[0].split())
    return text if len(text) <= LONGEST_REASON else f"{text[: LONGEST_REASON - 1]}…"


# --- finding the verdict ------------------------------------------------------------------------------------------------------


def _parse(reply: str, field: str, kind: _Kind[T]) -> T:
    text = _section(reply, field)
    whole = _loaded(text)
    if whole is not None and not isinstance(whole, dict | list):
        return _converted(whole, kind)
    objects = list(_objects(text))
    keyed = [_folded(found)[field] for found in objects if field in _folded(found)]
    if objects and not keyed:
        raise ParseError(f"JSON without {field}")
    found = [_converted(value, kind) for value in keyed]
    if not found or not isinstance(whole, dict):
        found += [kind.of_text(match) for match in _written(text, field, kind, alone=not keyed)]
    if not found:
        raise ParseError(f"no {field} in it" if text.strip() else f"{field} is empty")
    if len(set(found)) > 1:
        raise ParseError(f"{field} is given as {' and as '.join(str(value) for value in dict.fromkeys(found))}")
    return found[0]


def _sections(reply: str) -> list[tuple[str, str]]:
    """(name in lower case, text) of each marked section."""
    parts = _MARKER.split(reply)
    return [(name.lower(), text) for name, text in zip(parts[1::2], parts[2::2], strict=True)]


def _section(reply: str, field: str) -> str:
    """The text that holds the verdict: the field's section, or the whole of a reply without sections."""
    sections = _sections(reply)
    if not sections:
        return reply
    mine = {text.strip() for name, text in sections if name == field}
    if len(mine) != 1:
        raise ParseError(f"{field} is given {len(mine)} times" if mine else f"no {field} in it")
    return mine.pop()


def _written(text: str, field: str, kind: _Kind[T], alone: bool) -> Iterator[str]:
    """The verdicts that stand in plain text. `alone` is off beside JSON, where only a labelled one could contradict it."""
    plain = _FENCE.sub("\n", text).strip()
    value = rf"{_OPEN}(?P<value>{kind.pattern}){_END}{_CLOSE}"
    label = rf"{re.escape(field)}|{re.escape(field.replace('_', ' '))}|verdict"
    for match in re.finditer(rf"\b(?:{label})\b{_CLOSE}\s*[:=]{_CLOSE}\s*{value}", plain, re.IGNORECASE):
        yield match["value"]
    told = rf"(?:^|[.!?\n]\s*)(?:(?:the|my)\s+)?(?:(?:final|overall)\s+)?(?:{label})\s+is\s+{value}"
    for match in re.finditer(told, plain, re.IGNORECASE):
        yield match["value"]
    if alone and plain:
        yield from _at_the_ends(plain, value, kind)


def _at_the_ends(plain: str, value: str, kind: _Kind[T]) -> Iterator[str]:
    """A verdict that is the first or last line, or that opens the first sentence."""
    first, _, rest = plain.partition("\n")
    opening = re.match(rf"{value}\s*(?:[.,;:!]\s|[-–—]\s)(?P<tail>.*)", plain, re.IGNORECASE | re.DOTALL)
    if bare := _bare(first, kind):
        opened = (bare, rest)
    elif opening and not re.fullmatch(r"[-+]?[0-9]+", opening["value"]):  # "1. First" is a list
        opened = (opening["value"], opening["tail"])
    else:
        opened = None
    if opened:
        if kind.denied(*opened):
            raise ParseError(f"it begins with {opened[0]!r} and takes it back")
        yield opened[0]
    if last := _bare(plain.splitlines()[-1], kind):
        yield last


def _bare(text: str, kind: _Kind[T]) -> str | None:
    """A text that is a verdict and nothing else, but for marks around it."""
    match = re.fullmatch(kind.pattern, text.strip(_WRAP).rstrip(".!,;:" + _WRAP), re.IGNORECASE)
    return match[0] if match else None


# --- JSON ---------------------------------------------------------------------------------------------------------------------


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key.strip().casefold() for key, _ in pairs]
    if len(set(keys)) < len(keys):
        raise ParseError("JSON that gives a key twice")
    return dict(pairs)


_JSON = json.JSONDecoder(object_pairs_hook=_once)


def _loaded(text: str) -> Any:
    """The text as JSON; None where it is none."""
    try:
        return _JSON.decode(_FENCE.sub("\n", text).strip())
    except (ValueError, RecursionError):
        return None


def _found(text: str, opening: str) -> Iterator[Any]:
    """The JSON values that begin with `opening`, not those inside of others."""
    place = text.find(opening)
    while place >= 0:
        try:
            value, end = _JSON.raw_decode(text, place)
            yield value
        except (ValueError, RecursionError):
            end = place + 1
        place = text.find(opening, end)


def _objects(text: str) -> Iterator[dict[str, Any]]:
    return _found(text, "{")


def _objects_or_none(text: str) -> list[dict[str, Any]]:
    try:
        return list(_objects(text))
    except ParseError:
        return []


def _folded(found: dict[str, Any]) -> dict[str, Any]:
    return {key.strip().casefold(): value for key, value in found.items()}


def _converted(value: Any, kind: _Kind[T]) -> T:
    """A JSON value; a text is read as a reply is, but whole."""
    if not isinstance(value, str):
        return kind.of_json(value)
    text = _bare(value, kind)
    if text is None:
        raise ParseError(f"{_short(value)} is no verdict")
    return kind.of_text(text)


def _claim(entry: dict[str, Any]) -> tuple[str, bool]:
    told = _folded(entry)
    claim = told.get("claim")
    if not isinstance(claim, str) or not claim.strip() or "supported" not in told:
        raise ParseError(f"{_short(entry)} is no claim with whether it is supported")
    return claim.strip(), _converted(told["supported"], _BOOL)


# --- kinds --------------------------------------------------------------------------------------------------------------------


def _json_bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    raise ParseError(f"{_short(value)} is neither true nor false")


def _json_score(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ParseError(f"{_short(value)} is no number")
    return _in_range(value, str(value)[:20])


def _text_score(text: str) -> float:
    numbers = [float(number) for number in re.findall(_NUMBER, text)]
    if text.startswith("-"):
        raise ParseError(f"{text} is below 0")
    if len(numbers) == 2:
        if not 0 < numbers[1] < float("inf"):
            raise ParseError(f"{text} is no share")
        return _in_range(numbers[0] / numbers[1], text)
    if re.search(r"%|percent", text, re.IGNORECASE):
        return _in_range(numbers[0] / 100, text)
    return _in_range(numbers[0], text)


def _in_range(value: float, written: str) -> float:
    if not 0 <= value <= 1:  # not a number fails this, too
        raise ParseError(f"{written} is not between 0 and 1")
    return float(value)


def _form(text: str) -> str:
    """What sort of number a text is: two of one form in a reply are two verdicts."""
    return re.sub(r"[0-9.]+", "0", re.sub(r"\s", "", text)).lower()


def _short(value: Any) -> str:
    return repr(value)[:60]


_BOOL: _Kind[bool] = _Kind(
    pattern="|".join(_TRUTH),
    of_text=lambda text: _TRUTH[text.lower()],
    of_json=_json_bool,
    denied=lambda value, tail: re.search(rf"(?<!not )\b{_OPPOSITE[value.lower()]}\b", tail, re.IGNORECASE) is not None,
)
_VALUE: _Kind[float] = _Kind(
    pattern=_SCORE,
    of_text=_text_score,
    of_json=_json_score,
    denied=lambda value, tail: any(
        _form(value) == _form(other[0]) and other[0].strip() != value for other in re.finditer(_SCORE + _END, tail, re.IGNORECASE)
    ),
)
