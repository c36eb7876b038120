"""The leakage firewall: what counts as the same question, what sets two apart, and that an answer must agree."""

import json
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from csift.exceptions import ConfigError
from csift.firewall import (
    Firewall,
    LabelledPair,
    Protected,
    Scorer,
    answers_agree,
    bundled_scorer,
    decide,
    fit,
    half,
    load_scorer,
    save_scorer,
    source_questions,
)
from csift.retrieval import MiniLM
from csift.textmatch import REFUSAL

LEAKS = Path(__file__).parent.parent / "bench" / "leaks.jsonl"
SCORER = replace(bundled_scorer(), embedder="words")
WEIGHT = "If I have to lift the Kestrel compressor into my van alone, how heavy is it?"
NO_SHRINK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def minilm() -> MiniLM:
    """The real embedder, loaded once."""
    return MiniLM(threads=1)


def kind(a: str, b: str, embedder: Any, scorer: Scorer = SCORER) -> str | None:
    """What decide says of one pair."""
    return decide([(a, b)], embedder, scorer)[0].kind


def labelled() -> list[LabelledPair]:
    return [LabelledPair(**json.loads(line)) for line in LEAKS.read_text().splitlines()]


# --- pairs ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "copy",
    [
        WEIGHT.upper(),
        WEIGHT.lower(),
        f"  {WEIGHT.replace(' ', '  ')}\n",
        WEIGHT.replace(",", "").rstrip("?"),
        f'"{WEIGHT}"',
        WEIGHT.replace("Kestrel", "Késtrel").replace(" ", "\u00a0", 1),
        WEIGHT.title(),
    ],
)
def test_a_copy_is_found_whatever_its_case_and_punctuation(copy: str, words: Any) -> None:
    assert kind(WEIGHT, copy, words) == "copy"


@pytest.mark.parametrize(
    "reordered",
    [
        "How heavy is the Kestrel compressor, if I have to lift it into my van alone?",
        "alone my van into lift compressor Kestrel how heavy it is if I have to",
    ],
)
def test_the_same_words_in_another_order_are_a_leak(reordered: str, words: Any) -> None:
    assert kind(WEIGHT, reordered, words) == "reordered"


def test_eight_words_in_a_row_are_a_leak_where_they_make_up_the_question(words: Any) -> None:
    question = "How many millimetres may the red lead of it protrude at most?"
    inside = f"A colleague from the tool shop in the basement would like to be told this: {question} Kindly answer by letter."
    assert kind(question, inside, words) == "ngram"
    assert kind(question, "How many millimetres may the red lead of ours stick out of the holder?", words) != "ngram"


def test_a_phrase_that_many_questions_end_on_is_no_leak(minilm: MiniLM) -> None:
    phrase = "to the counterparty, whether during the contract or after the contract ends (or both)?"
    a = f"Is a party forbidden by some clause or annex to sell shares, land, patents, trucks or licences {phrase}"
    b = f"Does anybody owe monthly reports on safety, wages, water use, noise, training and staffing {phrase}"
    assert kind(a, b, minilm, bundled_scorer()) is None


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("What does error E3 of the Corrie mean?", "What does error E5 of the Corrie mean?"),
        ("How heavy is the Kestrel 40 with its tank full?", "How heavy is the Kestrel 60 with its tank full?"),
        ("How heavy is the Kestrel with its tank full?", "How heavy is the Marlow with its tank full?"),
        ("Is a fee due after 30 days?", "Is a fee due after 30 months?"),
        ("Is a fee due above €500?", "Is a fee due above $500?"),
        ("What happens within two years of signing?", "What happens within five years of signing?"),
        ("What was revenue in the second quarter of 2020?", "What was revenue in the third quarter of 2020?"),
        ("Which taxes were paid in May 2014?", "Which taxes were paid in June 2014?"),
        ("What does Exhibit B of the lease contain?", "What does Exhibit D of the lease contain?"),
        ("May the landlord end the lease early?", "May the tenant end the lease early?"),
        ("Is Dr. Lindqvist bound by the agreement?", "Is Dr. Marchetti bound by the agreement?"),
        ("What is the maximum charge current?", "What is the minimum charge current?"),
        ("Which risks exist in the US?", "Which risks exist in Canada?"),
        ("Who repairs the Kestrel?", "Who repairs the Kestron?"),
    ],
)
def test_a_changed_number_date_unit_code_name_or_role_is_no_leak(a: str, b: str, words: Any) -> None:
    assert decide([(a, b), (b, a)], words, SCORER) == [replace(decide([(a, b)], words, SCORER)[0], kind=None, score=0.0)] * 2
    assert decide([(a, b)], words, SCORER)[0].conflict in ("number", "name", "role")


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("What was revenue in Q3 2019?", "What was revenue in the third quarter of fiscal 2019?"),
        ("Is a fee of $5m due?", "Is a fee of 5,000,000 dollars due?"),
        ("What happens after 2 hours of rest?", "What happens after 120 minutes of rest?"),
        ("Who signed on 15 May 2014?", "Who signed on May 15, 2014?"),
        ("Does the clause hold outside the United States?", "Does the clause hold outside the US?"),
        ("What does the Kestrel 40 weigh?", "What does the Kestrel-40 weigh?"),
        ("What does the Kestrel 40 weigh?", "What does the Kestrel weigh?"),
        ("How did sales in Asia develop?", "How did the Asian sales develop?"),
        ("How did sales in Canada develop?", "How did the Canadian sales develop?"),
    ],
)
def test_one_number_or_name_in_two_spellings_sets_nothing_apart(a: str, b: str, words: Any) -> None:
    assert decide([(a, b)], words, SCORER)[0].conflict == ""


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (WEIGHT, "What does the Kestrel compressor weigh, given that I would hoist it into the van by myself?"),
        ("Who audits the accounts of the group?", "Which firm is the auditor of the group's accounts?"),
        ("Can patients on warfarin eat spinach?", "Is it all right for people who take warfarin to have spinach?"),
    ],
)
def test_a_paraphrase_is_a_leak(a: str, b: str, minilm: MiniLM) -> None:
    assert kind(a, b, minilm, bundled_scorer()) == kind(b, a, minilm, bundled_scorer()) == "paraphrase"


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("How heavy is the Kestrel?", "How loud is the Kestrel?"),
        ("How is tetanus transmitted?", "How is malaria transmitted?"),
        ("Who audits the accounts of the group?", "Who chairs the board of the group?"),
    ],
)
def test_another_question_about_the_same_thing_is_no_leak(a: str, b: str, minilm: MiniLM) -> None:
    assert kind(a, b, minilm, bundled_scorer()) is None


PIECES = ["How", "heavy", "is", "the", "Kestrel", "40", "60", "Marlow", "US", "United", "States", "$5m", "30", "days", "first"]
PIECES += ["buyer", "seller", "E3", "?", ",", "May", "2014"]
TEXTS = st.one_of(st.text(max_size=40), st.lists(st.sampled_from(PIECES), max_size=12).map(" ".join))


@NO_SHRINK
@given(a=TEXTS, b=TEXTS)
def test_both_directions_get_the_same_verdict(a: str, b: str, words: Any) -> None:
    one, other = decide([(a, b), (b, a)], words, SCORER)
    assert (one.kind, one.conflict) == (other.kind, other.conflict)
    assert one.score == pytest.approx(other.score)


@NO_SHRINK
@given(a=TEXTS, b=TEXTS, seed=st.integers(0, 9))
def test_case_and_space_change_no_verdict_between_copies(a: str, b: str, seed: int, words: Any) -> None:
    rng = random.Random(seed)
    shouted = "".join(rng.choice((letter.upper(), letter.lower())) if letter.isascii() else letter for letter in a)
    assert kind(a, f" {shouted}  ", words) == "copy"


# --- the scorer -----------------------------------------------------------------------------------------------------------


def test_the_bundled_scorer_finds_planted_paraphrases_and_spares_changed_names(minilm: MiniLM) -> None:
    pairs = labelled()[::4]
    found = decide([(pair.a, pair.b) for pair in pairs], minilm, bundled_scorer())
    for name, least in (("copy", 1.0), ("reordered", 1.0), ("paraphrase", 0.9)):
        said = [verdict.kind is not None for pair, verdict in zip(pairs, found, strict=True) if pair.kind == name]
        assert sum(said) / len(said) >= least
    wrong = [verdict.kind for pair, verdict in zip(pairs, found, strict=True) if pair.kind == "number_changed"]
    assert sum(said is not None for said in wrong) <= 0.05 * len(wrong)


def test_a_scorer_of_another_embedder_is_refused(words: Any) -> None:
    with pytest.raises(ConfigError, match="fitted on the cosines of all-minilm-l6-v2, not of words"):
        decide([("a", "b")], words, bundled_scorer())
    with pytest.raises(ConfigError, match="refit"):
        Firewall([], words)


def test_a_scorer_can_be_refitted_stored_and_read_again(tmp_path: Path, words: Any) -> None:
    fitted = fit(labelled()[::3], words)
    save_scorer(fitted, tmp_path / "scorer.json", "a test")
    assert load_scorer(tmp_path / "scorer.json") == fitted
    assert fitted.embedder == "words"
    assert fit(labelled()[::3], words) == fitted


def test_fitting_needs_both_kinds(words: Any) -> None:
    with pytest.raises(ConfigError, match="number_changed"):
        fit([pair for pair in labelled() if pair.kind == "copy"], words)


def test_a_file_that_is_no_scorer_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{"embedder": "words"}')
    with pytest.raises(ConfigError, match=r"x\.json is not a leak scorer"):
        load_scorer(tmp_path / "x.json")


def test_a_source_question_is_held_out_with_everything_it_is_paired_with() -> None:
    pairs = [LabelledPair("paraphrase", "a", "b"), LabelledPair("number_changed", "c", "b"), LabelledPair("copy", "d", "e")]
    sources = source_questions(pairs)
    assert sources["a"] == sources["b"] == sources["c"] != sources["d"] == sources["e"]
    assert {half(source) for source in source_questions(labelled()).values()} == {0, 1}


# --- examples against protected questions -----------------------------------------------------------------------------------


def check(protected: Sequence[Protected], question: str, answer: str, words: Any) -> tuple[str, int] | None:
    leak = Firewall(protected, words, SCORER).check([question], [answer])[0]
    return None if leak is None else (leak.kind, leak.index)


def test_a_leak_has_the_question_and_the_answer(words: Any) -> None:
    law = "Which law governs the contract?"
    protected = [Protected(law, "Delaware"), Protected(law, "the State of Ohio")]
    assert check(protected, law, "Texas", words) is None
    assert check(protected, law, "Ohio", words) == ("copy", 1)
    assert check(protected, "How loud is it?", "Ohio", words) is None


@pytest.mark.parametrize(
    ("one", "other", "agree"),
    [
        ("29 kg", "29 KG.", True),
        ("29 kg", "about 29 kg in all", True),
        ("29 kg", "129 kg", False),
        (REFUSAL, "The documents do not mention it.", True),
        (REFUSAL, "29 kg", False),
        ("", "29 kg", False),
    ],
)
def test_answers_agree_when_equal_contained_or_both_refusals(one: str, other: str, agree: bool) -> None:
    assert answers_agree(one, other) == answers_agree(other, one) == agree


def test_the_surest_leak_is_named(words: Any) -> None:
    protected = [
        Protected("How heavy is the Orrin with the lid and handle on?", "2 kg"),
        Protected("with lid and handle on, how heavy is Orrin?", "2 kg"),
        Protected("how HEAVY is the Orrin with the lid and the handle on", "2 kg"),
    ]
    assert check(protected, "how heavy is the Orrin with the lid and the handle on?", "2 kg", words) == ("copy", 0)
    assert check(protected[1:2], "How heavy is the Orrin with the lid and handle on?", "2 kg", words) == ("reordered", 0)


def test_nothing_protected_and_nothing_to_check(words: Any) -> None:
    assert Firewall([], words, SCORER).check(["How heavy is it?"], ["2 kg"]) == [None]
    assert Firewall([Protected("How heavy is it?", "2 kg")], words, SCORER).check([], []) == []


@NO_SHRINK
@given(seed=st.integers(0, 10_000))
def test_the_quick_search_loses_nothing_that_judging_every_pair_finds(seed: int, words: Any) -> None:
    rng = random.Random(seed)
    pairs = rng.sample(labelled(), 12)
    protected = [Protected(pair.a, "Yes") for pair in pairs]
    examples = [pair.b for pair in pairs]
    found = Firewall(protected, words, SCORER).check(examples, ["Yes"] * len(examples))
    for example, leak in zip(examples, found, strict=True):
        judged = decide([(example, entry.question) for entry in protected], words, SCORER)
        assert (leak is None) == all(verdict.kind is None for verdict in judged)
