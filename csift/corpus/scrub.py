"""Personal data replaced by its kind, before anything is stored.

Presidio's pattern recognisers find it, with checks of csift's own for what they take for personal in contracts and catalogues:
section numbers, postcodes, part numbers, bar codes. Not covered: street addresses, dates of birth, numbers written in words.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from csift.exceptions import ConfigError
from csift.hashing import content_id

if TYPE_CHECKING:
    from presidio_analyzer import PatternRecognizer
    from presidio_analyzer.predefined_recognizers import PhoneRecognizer
    from spacy.language import Language

    Recognizer = PatternRecognizer | PhoneRecognizer

KINDS = ("EMAIL_ADDRESS", "PHONE_NUMBER", "CREDIT_CARD", "IBAN_CODE", "US_SSN", "IP_ADDRESS", "PERSON")
RULES = "1"  # changes with every change to what is found
PIECE = 50_000  # characters; what is searched at once, as time and the phone matcher's patience are limited for each text
LABELS = ("PERSON", "PER")  # what spaCy's models call a person
BREAK = re.compile(r"\n|(?<=[^\W\d_]{2}) (?=[a-z]{2})")  # no number or address spans a line, or words in small letters
GAP = re.compile(r"(?<=\d) {2,}(?=\d)")
PLACEHOLDER = re.compile(f"<(?:{'|'.join(KINDS)})>")
# Numbers of one shape are of many kinds. Presidio's score tells how sure the shape alone is; from SURE on it suffices, and below,
# one of these words must lead to the number: "Tel. 020 7946 0958", "SSN: 219099999", "fax no. 327724".
SURE = 0.5
CUES = {
    "PHONE_NUMBER": r"(?:tele?|(?:tele|cell)?phone|telefon|fax|facsimile|mobile|cell)",
    "CREDIT_CARD": r"(?:card|visa|mastercard|amex|american express)",
    "US_SSN": r"(?:ssn|social security)",
    "IP_ADDRESS": r"(?:ip|ipv4|host|server|gateway|dns)",
}
CUE = 60  # characters before a number that are searched for such a word
LEADS = re.compile(
    "|".join(
        rf"(?P<{kind}>\b{words}\b[^a-z]*(?:\b(?:no|nr|number|address|is|at|or|and)\b[^a-z]*)*)$" for kind, words in CUES.items()
    ),
    re.IGNORECASE,
)
# Issuers' prefixes and lengths; without them one bar code in ten passes the check digit.
CARD = re.compile(r"4\d{15}|5[1-5]\d{14}|3[47]\d{13}|3(?:0[0-5]|[68]\d)\d{11}|35\d{14}|6(?:011|[245]\d\d)\d{12}")


@dataclass(frozen=True)
class _Finding:
    start: int
    end: int
    kind: str
    score: float


class Scrubber:
    """Replaces personal data by its kind in angle brackets.

    Args:
        entities: which of `KINDS` to replace. PERSON needs an installed spaCy model with named entities (such as en_core_web_sm)
            and is left out without one; `description` says which it is.
        allow: what stays, case apart: whole findings ("info@tarnbeck.example", "Ada Moss"), and addresses of a domain
            ("@tarnbeck.example").

    Raises:
        ConfigError: an unknown kind.
    """

    def __init__(self, entities: tuple[str, ...], allow: tuple[str, ...] = ()) -> None:
        if unknown := sorted(set(entities) - set(KINDS)):
            raise ConfigError(f"corpus.scrub names {', '.join(unknown)}; csift knows {', '.join(KINDS)}")
        self._model = _installed_model() if "PERSON" in entities else None
        self._kinds = tuple(kind for kind in KINDS if kind in entities and (kind != "PERSON" or self._model))
        self._asked_for_names = "PERSON" in entities
        self._allowed = {entry.casefold() for entry in allow}

    @property
    def id(self) -> str:
        """Changes with everything that changes what is found."""
        versions = [metadata.version(package) for package in ("presidio-analyzer", "phonenumbers")]
        return content_id("scrubber", [RULES, versions, self._kinds, sorted(self._allowed), self._model])

    @property
    def description(self) -> str:
        """One sentence for a data card: what is replaced, by what, and whether that includes names."""
        patterns = [kind for kind in self._kinds if kind != "PERSON"]
        found = (
            f"{', '.join(patterns)} by Presidio {metadata.version('presidio-analyzer')}'s pattern recognisers" if patterns else ""
        )
        if self._model:
            names = f"names of people by the spaCy model {self._model}"
        elif self._asked_for_names:
            names = "names of people not covered, as no spaCy model with named entities is installed"
        else:
            names = "names of people not covered"
        return f"Scrubbed: {'; '.join(filter(None, (found, names)))}."

    def text(self, text: str) -> str:
        """The text with each finding replaced."""
        return self.scrub(text)[0]

    def scrub(self, text: str) -> tuple[str, dict[str, int]]:
        """The text with each finding replaced, and how many of each kind there were. Scrubbing the result changes nothing.

        Of findings that overlap, all that they cover is replaced, as the kind of the longest.
        """
        counts: Counter[str] = Counter()
        while findings := _merged(self._findings(text)):
            parts, end = [], 0
            for finding in findings:
                parts += [text[end : finding.start], f"<{finding.kind}>"]
                end = finding.end
                counts[finding.kind] += 1
            text = "".join([*parts, text[end:]])  # searched again: what stood beside a finding may be one without it
        return text, dict(sorted(counts.items()))

    def _findings(self, text: str) -> list[_Finding]:
        done = [match.span() for match in PLACEHOLDER.finditer(text)]
        found = [f for f in self._search(text) if not any(start < f.end and f.start < end for start, end in done)]
        allowed = [f for f in found if self._is_allowed(text[f.start : f.end])]
        return [f for f in found if not any(a.start <= f.start and f.end <= a.end for a in allowed)]

    def _is_allowed(self, value: str) -> bool:
        value = value.casefold()
        return value in self._allowed or ("@" in value and value[value.rindex("@") :] in self._allowed)

    def _search(self, text: str) -> Iterator[_Finding]:
        for start, end in _pieces(text):
            piece = text[start:end]
            # Also with columns parted, as "842-6049   9.03" is read as one number, and no valid one.
            for version in {piece, GAP.sub(lambda gap: "\n" * len(gap[0]), piece)}:
                yield from self._search_patterns(version, text, start)
            if self._names:
                for entity in self._names(piece).ents:
                    if entity.label_ in LABELS:
                        yield _Finding(start + entity.start_char, start + entity.end_char, "PERSON", SURE)

    def _search_patterns(self, piece: str, text: str, start: int) -> Iterator[_Finding]:
        for recognizer, accept in self._recognizers:
            for result in recognizer.analyze(piece, recognizer.supported_entities):
                at, to, kind = start + result.start, start + result.end, result.entity_type
                if (result.score >= SURE and accept(text[at:to])) or _is_led_to(kind, text, at):
                    yield _Finding(at, to, kind, result.score)

    @cached_property
    def _recognizers(self) -> list[tuple["Recognizer", Callable[[str], bool]]]:
        """With what else must hold of a finding that no word before it tells."""
        from presidio_analyzer.predefined_recognizers import (
            CreditCardRecognizer,
            EmailRecognizer,
            IbanRecognizer,
            IpRecognizer,
            PhoneRecognizer,
            UsSsnRecognizer,
        )

        class Email(EmailRecognizer):
            """Without Presidio's check of the domain, which asks the network for a list and drops a company's internal ones."""

            def validate_result(self, pattern_text: str) -> bool:
                return pattern_text.rpartition(".")[2][0].isalpha()  # no price ("12@3.50")

        class InternationalPhone(PhoneRecognizer):
            """+ and country code, or a number of North America: of 34 found in 71 contracts all were phone numbers."""

            SCORE = 0.75

        recognizers: list[tuple[Recognizer, Callable[[str], bool]]] = [
            (Email(), _anything),
            (InternationalPhone(supported_regions=("US",)), _has_separators),
            # Other countries' national numbers, and local ones, look like postcodes and tax numbers; a word must lead to them.
            (PhoneRecognizer(supported_regions=("GB", "DE", "FR", "IN", "BR", "AU")), _anything),
            (PhoneRecognizer(supported_regions=("US",), leniency=0), _anything),
            (CreditCardRecognizer(), _is_card),
            (IbanRecognizer(), _anything),
            (UsSsnRecognizer(), _is_hyphenated),
            (IpRecognizer(), _is_address),
        ]
        return [(r, accept) for r, accept in recognizers if r.supported_entities[0] in self._kinds]

    @cached_property
    def _names(self) -> "Language | None":
        if not self._model:
            return None
        import spacy

        return spacy.load(self._model.split()[0], exclude=["tagger", "parser", "attribute_ruler", "lemmatizer", "senter"])


def _is_led_to(kind: str, text: str, at: int) -> bool:
    lead = LEADS.search(text, max(0, at - CUE), at) if kind in CUES else None
    return bool(lead and lead[kind])


def _anything(value: str) -> bool:
    return bool(value)


def _is_card(value: str) -> bool:
    return bool(CARD.fullmatch(re.sub(r"\D", "", value)))


def _is_hyphenated(value: str) -> bool:
    return value.count("-") == 2


def _has_separators(value: str) -> bool:
    """Ten digits without any are as well an account or an article."""
    return not value.isdigit()


def _is_address(value: str) -> bool:
    """Four small numbers are a section ("11.1.1.2") or a version sooner than an address; letters alone are a word ("add::")."""
    if ":" in value:
        return any(character.isdigit() for character in value)
    return any(int(part) >= 64 for part in value.partition("/")[0].split("."))


def _installed_model() -> str | None:
    """Name and version of the installed spaCy model to find names with: English before others, then the largest."""
    sizes = ["sm", "md", "lg", "trf"]

    def rank(model: tuple[str, str]) -> tuple[bool, int, tuple[str, str]]:
        size = model[0].rpartition("_")[2]
        return model[0].startswith("en_"), sizes.index(size) if size in sizes else -1, model

    models = sorted(_models_with_names(), key=rank)
    return " ".join(models[-1]) if models else None


def _models_with_names() -> Iterator[tuple[str, str]]:
    """(package, version) of models that find people, as they announce themselves to `spacy.util.get_installed_models`.

    Read from their meta.json: importing spaCy takes seconds, and a corpus without changes needs none of it.
    """
    for point in metadata.entry_points(group="spacy_models"):
        spec = find_spec(point.module)
        if spec and spec.origin:
            meta = json.loads((Path(spec.origin).parent / "meta.json").read_text())
            if any(label in LABELS for labels in meta.get("labels", {}).values() for label in labels):
                yield point.module, meta["version"]


def _pieces(text: str) -> Iterator[tuple[int, int]]:
    """(start, end) of pieces of about `PIECE` characters, parted where no finding can be."""
    start = 0
    while place := BREAK.search(text, start + PIECE):
        yield start, place.end()
        start = place.end()
    yield start, len(text)


def _merged(findings: list[_Finding]) -> list[_Finding]:
    """Disjoint findings in reading order."""
    merged: list[_Finding] = []
    for finding in sorted(findings, key=lambda f: (f.start, f.end, f.kind)):
        if merged and finding.start < merged[-1].end:
            last = merged.pop()
            main = max(last, finding, key=lambda f: (f.end - f.start, f.score, f.kind))
            merged.append(_Finding(last.start, max(last.end, finding.end), main.kind, main.score))
        else:
            merged.append(finding)
    return merged
