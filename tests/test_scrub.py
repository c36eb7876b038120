"""Personal data is replaced by its kind and counted; what only looks like it stays."""

import json
import logging
import socket
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csift.corpus.scrub import KINDS, PIECE, Scrubber
from csift.exceptions import ConfigError

PERSONAL = {
    "EMAIL_ADDRESS": ["ada.moss@tarnbeck.com", "ada@hq.tarnbeck.internal", "o'neil+pumps@müller.de", "x@a-b.co.uk"],
    "PHONE_NUMBER": [
        "(212) 555-2368",
        "+44 20 7946 0958",
        "+45 44 64 15 80",
        "+1 (248) 750-1016",
        "403-689-3901",
        "Tel. 020 7946 0958",
    ],
    "CREDIT_CARD": ["4111 1111 1111 1111", "5500-0000-0000-0004", "378282246310005"],
    "IBAN_CODE": ["GB82 WEST 1234 5698 7654 32", "DE89370400440532013000"],
    "US_SSN": ["219-09-9998", "SSN: 219099998", "social security number is 219 09 9998"],
    "IP_ADDRESS": ["203.0.113.77", "2001:db8:85a3::8a2e:370:7334", "server 12.2.1.3"],
}
IMPERSONAL = [
    "11.1.1.2. The Customer may, under 12.2.1.3, end it.",  # sections
    "See 9.12 Invalid Provisions 16    9.13 Transfer Taxes 17    9.14 Notices",
    "Murray Hill, NJ 07974-0636, or 06460-040 Alphaville, or CS 90119 69361 LYON",  # postcodes
    "Part 730-2210 or 4006381333931, order 2034567890, version 2.10.4.1",
    "Seal kit 4006381333023 fits 4-8231-2217.",  # a bar code that passes the check of cards too
    "Profiles of 250 30 1200 and 310 45 2400 mm; class face:: (abstract)",
    "server 06460-040",
    "VAT number 01655870705, ABA 026009593, routing 325070760",
    "US$ 216,490.00 between 2018-03-12 and 12/31/2023, at 10:30:15",
    "12@3.50 each, or 7 @ 4.25",
    "The phone weighs 1685 g and runs 2000 hours; std::add::begin(x)",
]


@pytest.fixture(scope="module")
def scrubber() -> Scrubber:
    return Scrubber(KINDS)


@pytest.mark.parametrize(("kind", "value"), [(kind, value) for kind, values in PERSONAL.items() for value in values])
def test_personal_data_is_replaced_and_counted(scrubber: Scrubber, kind: str, value: str) -> None:
    text, counts = scrubber.scrub(f"Ask here: {value}. Then wait for 30 days.")
    assert counts == {kind: 1}
    assert text.startswith("Ask here: ")
    assert text.endswith(f"<{kind}>. Then wait for 30 days.")
    assert not any(part in text for part in value.split() if any(c.isdigit() or c == "@" for c in part))


@pytest.mark.parametrize("text", IMPERSONAL)
def test_numbers_that_are_nobodys_stay(scrubber: Scrubber, text: str) -> None:
    assert scrubber.scrub(text) == (text, {})


def test_a_number_beside_a_column_of_others_is_found(scrubber: Scrubber) -> None:
    assert scrubber.scrub("Facsimile: (201) 842-6049   9.03 Failure")[0] == "Facsimile: <PHONE_NUMBER>   9.03 Failure"


def test_only_the_kinds_asked_for_are_replaced() -> None:
    text, counts = Scrubber(("EMAIL_ADDRESS",)).scrub("ada@tarnbeck.com, 403-689-3901")
    assert (text, counts) == ("<EMAIL_ADDRESS>, 403-689-3901", {"EMAIL_ADDRESS": 1})
    assert Scrubber(()).scrub("ada@tarnbeck.com") == ("ada@tarnbeck.com", {})


def test_the_corpus_s_own_addresses_stay() -> None:
    scrubber = Scrubber(KINDS, ("info@tarnbeck.example", "@corrie.example", "403-689-3901"))
    text = "Info@Tarnbeck.example, ada@corrie.example, 403-689-3901, ada@tarnbeck.example, ada@not-corrie.example"
    kept = "Info@Tarnbeck.example, ada@corrie.example, 403-689-3901, <EMAIL_ADDRESS>, <EMAIL_ADDRESS>"
    assert scrubber.scrub(text) == (kept, {"EMAIL_ADDRESS": 2})


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ConfigError, match="SHOE_SIZE; csift knows EMAIL_ADDRESS, PHONE_NUMBER"):
        Scrubber(("EMAIL_ADDRESS", "SHOE_SIZE"))


words = st.text(st.sampled_from("abcdéñ#01239@.-+:() <>\n"), max_size=20)
personal = st.sampled_from([value for values in PERSONAL.values() for value in values] + ["<PHONE_NUMBER>", "Tel. "])


@settings(deadline=None, max_examples=200)
@given(st.lists(words | personal, max_size=12), st.sampled_from(["", " ", "/"]))
def test_scrubbing_twice_is_scrubbing_once(scrubber: Scrubber, parts: list[str], joint: str) -> None:
    text, _ = scrubber.scrub(joint.join(parts))
    assert scrubber.scrub(text) == (text, {})


@settings(deadline=None, max_examples=100)
@given(st.lists(st.text(st.sampled_from("abcdéñ,.!?;\n"), max_size=12), max_size=30))
def test_text_without_personal_data_comes_back_as_it_is(scrubber: Scrubber, parts: list[str]) -> None:
    assert scrubber.scrub(" ".join(parts)) == (" ".join(parts), {})


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 60))
def test_long_texts_are_searched_in_pieces_and_no_finding_is_cut(scrubber: Scrubber, shift: int) -> None:
    long = "word " * (PIECE // 5 - 6) + "x" * shift
    text, counts = scrubber.scrub(f"{long} GB82 WEST 1234 5698 7654 32 and +45 44 64 15 80 and ada@tarnbeck.com {long}")
    assert text == f"{long} <IBAN_CODE> and <PHONE_NUMBER> and <EMAIL_ADDRESS> {long}"
    assert counts == {"EMAIL_ADDRESS": 1, "IBAN_CODE": 1, "PHONE_NUMBER": 1}


def test_nothing_found_is_logged_and_nothing_goes_out(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    with caplog.at_level(logging.DEBUG):
        Scrubber(KINDS).scrub("ada@tarnbeck.com, 403-689-3901, 219-09-9998")
    assert not any(part in caplog.text for part in ("ada", "3901", "9998"))


# --- names ----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed spaCy model that knows two people."""
    import spacy

    nlp = spacy.blank("en", meta={"name": "tiny_names", "version": "1.2.0"})
    people = [
        {"label": "PERSON", "pattern": "Ada Moss"},
        {"label": "PERSON", "pattern": "Orrin"},
        {"label": "ORG", "pattern": "Fathom"},
    ]
    nlp.add_pipe("entity_ruler").add_patterns(people)  # type: ignore[attr-defined]
    nlp.to_disk(tmp_path / "en_tiny_names")
    code = "from pathlib import Path\nfrom spacy.util import load_model_from_path\n"
    code += "def load(**options):\n    return load_model_from_path(Path(__file__).parent, **options)\n"
    (tmp_path / "en_tiny_names" / "__init__.py").write_text(code)
    info = tmp_path / "en_tiny_names-1.2.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: en-tiny-names\nVersion: 1.2.0\n")
    (info / "entry_points.txt").write_text("[spacy_models]\nen_tiny_names = en_tiny_names\n")
    assert json.loads((tmp_path / "en_tiny_names" / "meta.json").read_text())["version"] == "1.2.0"
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.mark.usefixtures("model")
def test_names_are_replaced_where_a_model_is_installed() -> None:
    scrubber = Scrubber(("PERSON", "EMAIL_ADDRESS"), ("Orrin",))
    text, counts = scrubber.scrub("Ada Moss (ada@tarnbeck.com) of Fathom repairs the Orrin.")
    assert text == "<PERSON> (<EMAIL_ADDRESS>) of Fathom repairs the Orrin."
    assert counts == {"EMAIL_ADDRESS": 1, "PERSON": 1}
    assert "names of people by the spaCy model en_tiny_names 1.2.0" in scrubber.description
    assert "names of people not covered." in Scrubber(("EMAIL_ADDRESS",)).description


def test_the_description_says_that_names_are_not_covered(request: pytest.FixtureRequest) -> None:
    import spacy.util

    if spacy.util.get_installed_models():
        pytest.skip("a spaCy model is installed here")
    without = Scrubber(KINDS)
    assert "names of people not covered, as no spaCy model" in without.description
    assert "PERSON" not in without.description
    request.getfixturevalue("model")
    assert Scrubber(KINDS).id != without.id


def test_the_id_tells_what_is_found() -> None:
    ids = [Scrubber(KINDS).id, Scrubber(("EMAIL_ADDRESS",)).id, Scrubber(KINDS, ("a@b.example",)).id]
    assert len(set(ids)) == 3
    assert Scrubber(tuple(reversed(KINDS)), ("A@b.example",)).id == ids[2]
