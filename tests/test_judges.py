"""The reference judge against hand-made answers to the bundled catalogue's questions, and against recorded scores."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from csift.judges import ReferenceJudge
from csift.schemas import Failure, JudgeItem, Score
from csift.textmatch import REFUSAL, is_refusal, polarity, read


class TrigramEmbedder:
    """Counts of character trigrams: similar spelling gives a similar vector. Remembers how often it was called."""

    id = "trigrams"
    dim = 512

    def __init__(self) -> None:
        self.calls = 0

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.calls += 1
        vectors = np.zeros((len(texts), self.dim), dtype=np.float32)
        for row, text in enumerate(texts):
            for start in range(len(text) + 1):
                vectors[row, sum(ord(char) * 31**place for place, char in enumerate(f" {text} "[start : start + 3])) % 512] += 1
        return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)


def item(question: str, gold: str | None, answer: str) -> JudgeItem:
    return JudgeItem(question=question, gold=gold, answer=answer, contexts=())


def judge_one(question: str, gold: str | None, answer: str) -> Score:
    (score,) = ReferenceJudge(TrigramEmbedder()).judge([item(question, gold, answer)])
    assert isinstance(score, Score)
    return score


HEAVY = "If I have to lift the Kestrel compressor into my van alone, how heavy is it?"
RESTART = "Does an overheated Kestrel start again without anybody touching it?"
LADDER = "Is it all right to climb a stepladder with the Quillon for the top of the hedge?"
WEAR = "What should I be wearing before I start up the Quillon?"
BOX = "What comes packed in the box along with the Kestrel 40 itself?"
CORD = "How long is the power cable that is attached to the Kestrel 40?"
LAMP = "Which lamp colour tells me the gentle-start feature of the Kestrel has been enabled?"
FINGERS = "How long should I keep my fingers off the Kestrel's cylinder head after switching off?"
HOSES = "Which hose diameters can I connect to the Fenwick?"
QUIET = "Between which hours does the Thistle keep quiet on its own?"
SIDE = "Which way do I turn the Bellamy's metal sleeve to get it off?"
KEYS = "I lost the little drain key of my Kestrel 40; which number should I order?"
BOX_ANSWER = "a 10 m coiled hose, a blow gun and the condensate key"

CASES = [  # question, gold, answer, correct?
    # numbers with units
    (HEAVY, "29 kg", "29 kg", True),
    (HEAVY, "29 kg", "29kg", True),
    (HEAVY, "29 kg", "The Kestrel 40 weighs 29 kg.", True),
    (HEAVY, "29 kg", "It is 29,000 g, so ask somebody to help.", True),
    (HEAVY, "29 kg", "29", True),
    (HEAVY, "29 kg", "31 kg", False),
    (HEAVY, "29 kg", "29 m", False),
    (HEAVY, "29 kg", "It is the Kestrel 29.", False),
    (HEAVY, "29 kg", "It is not 29 kg.", False),
    (HEAVY, "29 kg", "29 kg or 31 kg", False),
    (HEAVY, "29 kg", "not 29 kg but 31 kg", False),
    (HEAVY, "29 kg", "It could be 12 kg, 18 kg, 25 kg, 29 kg or 34 kg, depending on what you bought.", False),
    (HEAVY, "29 kg", "The compressor alone weighs 29 kg, and the whole parcel comes to some 34 kg with wood.", True),
    (FINGERS, "about 20 minutes", "20 min", True),
    (FINGERS, "about 20 minutes", "Leave it alone for twenty minutes.", True),
    (FINGERS, "about 20 minutes", "Wait for at least 20 to 30 minutes before you reach for the cylinder head.", False),
    (FINGERS, "about 20 minutes", "20 seconds", False),
    ("How long is its cable?", "6 m", "The hose is 2.5 m long, and the cable that goes to the wall measures 6 m.", False),
    ("How many floors does the Lindal climb?", "about 30 floors", "One charge climbs about 30 floors.", True),
    ("How many layouts can the Thistle store?", "four floors", "four hours", False),
    ("How many hours should it sit on the dock?", "four hours", "four floors", False),
    ("At what age must the belt be binned?", "six years", "6, 10 and 14", False),
    ("What hangs on the wall?", "two hooks and two rods", "two hooks and rods", False),
    ("How fast can the Caddis go?", "180 km/h", "up to 180 km/h", True),
    ("How long does an Ostrava filled from the cold tap take?", "two and a half hours", "2 hours and 30 minutes", True),
    ("How long does an Ostrava filled from the cold tap take?", "two and a half hours", "two hours", False),
    ("How long does it take?", "two and a half hours", "Its weekly clock gives it two and a half hours.", True),
    ("How long must our Marlow rest now?", "a full day", "Let it stand for 24 hours.", True),
    ("How often do I oil it?", "once a year", "every 12 months", True),
    ("How often do I oil it?", "once a year", "annually", True),
    ("What moisture level does a new Marlow try to reach?", "55 %", "55 percent", True),
    ("How quickly do the Quillon's teeth come to rest?", "within 0.4 seconds", "They stop in .4 s", True),
    ("How much water leaves my cellar in an hour?", "10,500 litres", "10500 l", True),
    ("How cold can my garage get?", "5 °C", "five degrees", True),
    ("How cold can my garage get?", "5 °C", "-5 °C", False),
    ("My daughter wants to help with the Quillon; what age must she be?", "16", "She must be 16 years old.", True),
    ("How many red blinks on the Quillon point to a worn gearbox?", "four", "4", True),
    ("How many red blinks on the Quillon point to a worn gearbox?", "four", "three", False),
    ("How many red blinks point to a worn gearbox?", "four", "The Quillon 2 blinks four times.", True),
    ("What daily number of coffees is the Tamsin built for?", "60 cups", "60 coffees", True),
    (HOSES, "25, 32 and 38 mm", "You can use 38 mm, 32 mm or 25 mm hoses.", True),
    (HOSES, "25, 32 and 38 mm", "25 and 32 mm", False),
    (HOSES, "25, 32 and 38 mm", "25, 32, 38 and 50 mm", False),
    # dates, times, part numbers
    ("What is the date of the contract?", "November 6, 2016", "It is dated the 6th day of November 2016.", True),
    ("What is the date of the contract?", "November 6, 2016", "October 1, 2016", False),
    (QUIET, "from 22:00 to 07:00", "10 pm to 7 am", True),
    (QUIET, "from 22:00 to 07:00", "from 07:00 to 22:00", False),
    (KEYS, "KT-4417", "Please order KT 4417.", True),
    (KEYS, "KT-4417", "The part number is kt-4417.", True),
    (KEYS, "KT-4417", "KT-4471", False),
    (KEYS, "KT-4417", "KT-4417 or QB-3625", False),
    # colours, names, places
    (LAMP, "violet", "The violet lamp comes on.", True),
    (LAMP, "violet", "green", False),
    (LAMP, "violet", "It is not violet.", False),
    (LAMP, "violet", "violet or red", False),
    ("What colour is the metal body of the Larkspur?", "sage green", "sage-green", True),
    (SIDE, "to the left", "Turn it left.", True),
    (SIDE, "to the left", "to the right", False),
    (SIDE, "clockwise", "counter-clockwise", False),
    ("Which button makes the Nimbus Q stop by itself?", "Moon key", "the Moon button", True),
    ("What may I pour into the Averil?", "distilled water", "tap water", False),
    # lists
    (WEAR, "gloves, goggles and closed shoes", "Closed shoes, gloves and goggles.", True),
    (WEAR, "gloves, goggles and closed shoes", "gloves and goggles", False),
    (WEAR, "gloves, goggles and closed shoes", "gloves, goggles, closed shoes, a helmet and ear muffs", False),
    (BOX, BOX_ANSWER, "You get a 10 m coiled hose, the blow gun and a condensate key.", True),
    (BOX, BOX_ANSWER, "a 10 m coiled hose and a blow gun", False),
    # yes and no
    (RESTART, "Yes", "Yes, it does.", True),
    (RESTART, "Yes", "It will start again without your touching it.", False),  # "without" makes its polarity unclear
    (RESTART, "Yes", "The overheated compressor will start again by itself.", True),
    (RESTART, "Yes", "No", False),
    (RESTART, "Yes", "The Kestrel weighs 29 kg.", False),
    (RESTART, "Yes", "Yes or no, it depends.", False),
    (LADDER, "No", "No, keep both feet on the ground.", True),
    (LADDER, "No", "Never climb a stepladder with it.", True),
    (LADDER, "No", "You must not climb a stepladder with the hedge trimmer.", True),
    (LADDER, "No", "You can climb a stepladder with it.", False),
    (LADDER, "No", "Not stated in the documents.", False),
    # the documents do not say
    (CORD, None, REFUSAL, True),
    (CORD, None, "The documents do not say how long the cable of the Kestrel 40 is.", True),
    (CORD, None, "1.8 m", False),
    (CORD, None, "Not stated in the documents, but usually about 1.8 m.", False),
    (HEAVY, "29 kg", REFUSAL, False),
    (HEAVY, "29 kg", "I cannot find its weight.", False),
    # nothing, and everything
    (HEAVY, "29 kg", "  ", False),
    (CORD, None, "", False),
    (LAMP, "violet", "violet " + "and the lamp beside the switch under the hood of the compressor " * 5, False),
]  # fmt: skip


@pytest.mark.parametrize(("question", "gold", "answer", "correct"), CASES)
def test_a_person_would_agree(question: str, gold: str | None, answer: str, correct: bool) -> None:
    score = judge_one(question, gold, answer)
    assert score.correct is correct, score
    assert 0 <= score.value <= 1
    assert score.reason


@pytest.mark.parametrize(
    ("gold", "answer", "reason"),
    [
        ("11 bar", "It stops at 11 bar.", "numbers match"),
        ("11 bar", "12 bar", "wrong number: 12 bar, expected 11 bar"),
        ("11 bar", "a lot", "11 bar is missing"),
        ("11 bar", "I do not know.", "refused, but the documents say"),
        ("11 bar", "", "empty answer"),
        (None, "11 bar", "answered, but the documents do not say"),
        ("Yes", "No.", "says no, expected Yes"),
        ("gloves and goggles", "gloves", "not in it: goggles"),
        ("+", "-", "another symbol"),
    ],
)
def test_the_reason_says_what_was_seen(gold: str | None, answer: str, reason: str) -> None:
    assert judge_one("At what pressure does it stop?", gold, answer).reason == reason


def test_an_empty_answer_is_a_score_of_zero_not_a_failure() -> None:
    assert judge_one(HEAVY, "29 kg", "").value == 0


def test_scores_come_in_order_from_one_batch_of_embeddings() -> None:
    embedder = TrigramEmbedder()
    items = [
        item(HEAVY, "29 kg", "29 kg"),
        item(CORD, None, "1.8 m"),
        item(LAMP, "violet", "violet"),
        item(LAMP, "violet", "red"),
    ]
    scores = ReferenceJudge(embedder).judge(items)
    assert [score.correct for score in scores if isinstance(score, Score)] == [True, False, True, False]
    assert embedder.calls == 1
    assert ReferenceJudge(embedder).judge([]) == []


def test_a_similarity_that_is_no_number_is_a_failure_of_its_item_only() -> None:
    class Broken(TrigramEmbedder):
        def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
            vectors = super().embed(texts)
            vectors[[index for index, text in enumerate(texts) if text == "crimson"]] = np.nan
            return vectors

    scores = ReferenceJudge(Broken()).judge([item(LAMP, "violet", "crimson"), item(LAMP, "violet", "violet")])
    assert isinstance(scores[0], Failure)
    assert "crimson" in scores[0].message
    assert isinstance(scores[1], Score)
    assert scores[1].correct


def test_correct_from_decides_and_is_part_of_the_id() -> None:
    lenient, strict = ReferenceJudge(TrigramEmbedder(), 0.6), ReferenceJudge(TrigramEmbedder(), 0.9)
    without_unit = [item(HEAVY, "29 kg", "29")]
    (kind,), (hard,) = lenient.judge(without_unit), strict.judge(without_unit)
    assert isinstance(kind, Score)
    assert isinstance(hard, Score)
    assert (kind.correct, hard.correct) == (True, False)
    assert kind.value == hard.value
    assert lenient.id != strict.id
    assert lenient.id == ReferenceJudge(TrigramEmbedder(), 0.6).id


def test_the_embedder_is_part_of_the_id() -> None:
    other = TrigramEmbedder()
    other.id = "another"
    assert ReferenceJudge(TrigramEmbedder()).id != ReferenceJudge(other).id


def test_long_golds_are_compared_as_prose() -> None:
    gold = (
        "Unless earlier terminated as provided herein, this Agreement continues in effect for an initial term of seven "
        "(7) years and will automatically renew for one or more annual periods after the initial term."
    )
    near = (
        "This Agreement continues in effect for an initial term of seven (7) years and will automatically renew for "
        "annual periods."
    )
    far = "Either party may terminate it at any time by giving notice in writing."
    near_score, far_score = judge_one("When does it end?", gold, near), judge_one("When does it end?", gold, far)
    assert near_score.correct
    assert near_score.reason.startswith("same wording 0.")
    assert not far_score.correct


QUESTIONS = Path(__file__).parent.parent / "examples"


@pytest.mark.parametrize("edition", ["questions-1.jsonl", "questions-2.jsonl"])
def test_every_bundled_gold_answers_itself_and_no_refusal_does(edition: str) -> None:
    rows = [json.loads(line) for line in (QUESTIONS / edition).read_text(encoding="utf-8").splitlines()]
    answered = [row for row in rows if row["answer"] is not None]
    judge = ReferenceJudge(TrigramEmbedder())

    def correct(answers: list[str]) -> list[bool]:
        items = [item(row["question"], row["answer"], answer) for row, answer in zip(answered, answers, strict=True)]
        return [score.correct for score in judge.judge(items) if isinstance(score, Score)]

    assert all(correct([row["answer"] for row in answered]))
    in_a_sentence = ["Yes, that is so." if row["answer"] == "Yes" else "No, it is not." if row["answer"] == "No"
                     else f"According to the manual it is {row['answer']}." for row in answered]  # fmt: skip
    wrong = [row["answer"] for row, ok in zip(answered, correct(in_a_sentence), strict=True) if not ok]
    assert wrong == []
    assert not any(correct([REFUSAL] * len(answered)))


@pytest.mark.parametrize(
    "text",
    [
        REFUSAL,
        "not stated",
        "Not mentioned in the context",
        "The documents do not say.",
        "The manual doesn't mention the price of a spare remote.",
        "The date of the contract is not explicitly stated in the given context.",
        "This is not covered in the excerpts.",
        "I cannot find this in the documents.",
        "I don't know.",
        "There is no information on that.",
    ],
)
def test_refusals_are_recognised(text: str) -> None:
    assert is_refusal(text)


@pytest.mark.parametrize(
    "text",
    [
        "The charger is not included.",
        "Frost damage is not covered by the guarantee.",
        "Do not use it in the rain.",
        "No",
        "29 kg",
        "",
        "The documents do not say, but it is about 30 kg.",
    ],
)
def test_plain_denials_are_no_refusals(text: str) -> None:
    assert not is_refusal(text)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("half an hour", "30 minutes"),
        ("an hour and a half", "90 min"),
        ("one and a half hours", "90 min"),
        ("every other week", "once a fortnight"),
        ("five to six weeks", "5-6 weeks"),
        ("1,200 g", "1.2 kg"),
        ("twenty-five metres", "25 m"),
        ("80 square metres", "80 m²"),
        ("88 dB(A)", "88 decibels"),
        ("minus five °C", "−5 degrees Celsius"),
        ("a quarter of a turn", "0.25 turns"),
        ("2016-11-06", "6 November 2016"),
        ("£20", "20 pounds sterling"),
    ],
)
def test_spellings_of_one_quantity(one: str, other: str) -> None:
    wanted, given_ = read(one).quantities, read(other).quantities
    assert wanted
    assert [quantity.agreement(match) for quantity, match in zip(wanted, given_, strict=True)] == [1.0] * len(wanted)


def test_a_rate_is_no_span_of_time() -> None:
    assert [quantity.text for quantity in read("10,500 litres an hour").quantities] == ["10,500 litres"]


def test_polarity_needs_a_sentence_on_the_matter() -> None:
    assert polarity("You can climb a stepladder.", LADDER) is True
    assert polarity("You can't climb a stepladder.", LADDER) is False
    assert polarity("The hedge trimmer has a green handle and is light.", LADDER) is None
    assert polarity("", LADDER) is None


@given(st.text(max_size=60), st.text(max_size=60), st.text(max_size=60))
def test_any_text_gets_a_score_in_range(question: str, gold: str, answer: str) -> None:
    (score,) = ReferenceJudge(TrigramEmbedder()).judge([item(question, gold, answer)])
    assert isinstance(score, Score)
    assert 0 <= score.value <= 1


@given(st.integers(1, 9999), st.integers(1, 9999), st.sampled_from(["kg", "mm", "minutes", "bar", "litres", "W", "°C"]))
def test_a_number_is_correct_exactly_when_it_is_the_same(gold: int, given_: int, unit: str) -> None:
    assert judge_one("How much?", f"{gold} {unit}", f"It is {given_} {unit}.").correct is (gold == given_)


def test_holds_on_questions_it_was_not_fitted_on() -> None:
    """Cross-validated by question: the rank correlation with recorded scores, and the order of the recorded methods."""
    folder = os.environ.get("CSIFT_BENCH_DATA")
    if not folder:
        pytest.skip("CSIFT_BENCH_DATA is not set")
    from bench.judge import figures

    found = figures(Path(folder) / "aws" / "judged.jsonl", None, seed=0, resamples=200)
    assert found["spearman"]["value"] >= 0.88
    assert found["gain"]["value"] >= 0.05
    assert found["agreement"] >= 0.88
    assert found["order_share"] == 1
