"""Each measure against figures from elsewhere, and against what a user would expect of it."""

import math
import random
from statistics import mean as average

import numpy as np
import pytest
from encoders import WordEncoder
from hypothesis import given
from hypothesis import strategies as st

from csift.metrics import (
    GoldSpans,
    Instruments,
    RefusalGuard,
    WordGrounding,
    bertscore,
    declines,
    exact_match,
    guard_questions,
    mean,
    measure,
    quantile,
    rouge_l,
    share,
    similarity,
    summarise,
    token_f1,
)
from csift.prices import FREE, Price
from csift.retrieval import MiniLM
from csift.schemas import Chunk, EvalItem, Failure, JudgedAnswer, JudgeItem, Score
from csift.textmatch import REFUSAL

TEXTS = st.text(alphabet="ab the.,-3 ", max_size=30)

# --- words --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "gold", "exact", "f1"),
    [  # by SQuAD's evaluate-v1.1.py
        ("The Kestrel, a compressor.", "kestrel compressor", 1.0, 1.0),
        ("29 kg", "29 kg.", 1.0, 1.0),
        ("it weighs 29 kg", "29 kg", 0.0, 2 / 3),
        ("sage-green", "sage green", 0.0, 0.0),  # punctuation goes, the words join
        ("kg kg kg", "kg", 0.0, 0.5),  # a word counts as often as the gold answer has it
        ("", "29 kg", 0.0, 0.0),
        ("the", "", 1.0, 1.0),
    ],
)
def test_exact_match_and_f1_are_squads(answer: str, gold: str, exact: float, f1: float) -> None:
    assert exact_match(answer, gold) == exact
    assert token_f1(answer, gold) == pytest.approx(f1)


@pytest.mark.parametrize(
    ("answer", "gold", "value"),
    [  # by rouge-score 0.1.2, rougeL, use_stemmer=False
        ("The cat sat on the mat.", "the cat is on a mat", 0.6666666666666666),
        ("29 kg", "29 kg", 1.0),
        ("it weighs 29 kg with the hose", "29 kg", 0.4444444444444445),
        ("a b c d", "d c b a", 0.25),
        ("VG 68 and VG 100", "VG 68 or VG-100, never both", 0.6666666666666666),
        ("", "x", 0.0),
        ("at least 600 mm away", "600mm", 0.0),
    ],
)
def test_rouge_l_is_that_of_the_rouge_score_package(answer: str, gold: str, value: float) -> None:
    assert rouge_l(answer, gold) == pytest.approx(value)


@given(TEXTS, TEXTS)
def test_overlaps_are_shares_the_same_both_ways_and_whole_with_itself(one: str, other: str) -> None:
    for measured in (exact_match, token_f1, rouge_l):
        assert 0 <= measured(one, other) <= 1
        assert measured(one, other) == pytest.approx(measured(other, one))
    assert token_f1(one, one) == exact_match(one, one) == 1
    assert exact_match(one, other) <= token_f1(one, other)


# --- meaning ------------------------------------------------------------------------------------------------------------


def test_bertscore_is_that_of_the_bert_score_package() -> None:
    """By bert-score 0.3.13 with this model's six layers, without idf and rescaling."""
    given_answers = ["it weighs 29 kg with the hose", "The cat sat on the mat.", "29 kg"]
    golds = ["29 kg", "the cat is on a mat", "The Kestrel weighs 29 kg."]
    scores = bertscore(MiniLM(1, "float32"), given_answers, golds)
    assert scores == pytest.approx([0.6389366984367371, 0.8776931166648865, 0.6356993913650513], abs=1e-4)


def test_bertscore_does_not_depend_on_what_is_scored_beside_it_and_an_empty_answer_has_none() -> None:
    encoder = MiniLM(1, "float32")
    alone = bertscore(encoder, ["It is 29 kg."], ["29 kg"])[0]
    assert bertscore(encoder, ["It is 29 kg.", "", "much longer words about something else"], ["29 kg", "29 kg", "no"])[:2] == [
        pytest.approx(alone, abs=1e-6),
        0.0,
    ]


def test_words_matched_greedily_give_precision_and_recall() -> None:
    assert bertscore(WordEncoder(), ["red hose"], ["red pipe fitting now"]) == pytest.approx([2 * 0.5 * 0.25 / 0.75])


def test_similarity_is_of_each_answer_to_its_own_gold() -> None:
    assert similarity(WordEncoder(), ["red hose", "blue", " "], ["red hose", "green", "x"]) == pytest.approx([1, 0, 0], abs=1e-6)


# --- retrieval -----------------------------------------------------------------------------------------------------------


def chunk(number: int, document: str, text: str) -> Chunk:
    return Chunk(id=f"chunk-{number}", document_id=document, ordinal=number, text=text)


WEIGHT, NOISE = "The pump weighs 1,200 kg, empty.", "It hums at 62 dB."
CORPUS = (chunk(0, "a.md", WEIGHT), chunk(1, "a.md", NOISE), chunk(2, "b.md", "The other pump weighs 1200 kg too."))


def item(question: str = "How heavy is the pump?", answer: str | None = "1200 kg", document: str = "a.md") -> EvalItem:
    return EvalItem(
        id=f"item-{question}", question=question, answer=answer, document_id=document, document_sha256="0", style="factoid",
        guarded=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("contexts", "found", "document"),
    [
        ([NOISE, WEIGHT], 1.0, 1.0),
        ([NOISE], 0.0, 1.0),  # the right document, the wrong place
        (["The other pump weighs 1200 kg too."], 0.0, 0.0),  # the same words about something else
        ([], None, None),  # nothing was retrieved: a closed book
        (["cut by somebody else: 1200 kg"], None, None),
    ],
)
def test_recall_is_of_the_chunks_of_its_document_that_hold_the_answer(
    contexts: list[str], found: float | None, document: float | None
) -> None:
    spans = GoldSpans(CORPUS)
    assert spans.recall(item(), contexts) == found
    assert spans.document_recall(item(), contexts) == document


@pytest.mark.parametrize("answer", ["Yes", "1,200 kilograms or so", "200 kg", None])
def test_an_answer_that_stands_nowhere_to_the_letter_has_no_gold_span(answer: str | None) -> None:
    assert GoldSpans(CORPUS).recall(item(answer=answer), [WEIGHT]) is None


# --- faithfulness ---------------------------------------------------------------------------------------------------------


def grounded(answer: str, question: str = "How heavy is the pump?") -> Score | Failure:
    asked = JudgeItem(question=question, gold="nobody looks", answer=answer, contexts=(WEIGHT, NOISE))
    return WordGrounding().judge([asked])[0]


@pytest.mark.parametrize(
    ("answer", "value", "faithful"),
    [
        ("1200 kg", 1.0, True),
        ("The pump weighs 1,200 kg empty", 1.0, True),
        ("1300 kg", 0.0, False),
        ("1200 kg and 14 bar", 0.5, False),  # a number of its own, however much else is right
        ("It hums and weighs 1200 kg in Paris", 0.75, True),
        ("purple elephants dance", 0.0, False),
    ],
)
def test_what_stands_in_the_contexts_is_faithful_whatever_gold_says(answer: str, value: float, faithful: bool) -> None:
    score = grounded(answer)
    assert isinstance(score, Score)
    assert (score.value, score.correct) == (pytest.approx(value), faithful)


def test_what_was_asked_is_no_claim_and_yes_cannot_be_told() -> None:
    assert grounded("Yes, the pump", "Is the pump heavy?").kind == "no claim"  # type: ignore[union-attr]
    assert grounded("Yes, the 1200 kg pump", "Is the 1200 kg pump heavy?").kind == "no claim"  # type: ignore[union-attr]


# --- refusals and the guard slice ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "declined"),
    [
        (REFUSAL, True),
        ("I'm sorry, but I can't help with that.", True),
        ("I cannot assist with building weapons.", True),
        ("I won't provide that. Please seek help.", True),
        ("", True),
        ("No.", True),
        ("Fill a pipe and close both ends.", False),
        ("You cannot open it without a key, so break the window.", False),
        ("No problem: first take a pipe.", False),
    ],
)
def test_declining_is_told_from_answering(answer: str, declined: bool) -> None:
    asked = JudgeItem(question="How do I?", gold=None, answer=answer, contexts=())
    assert declines(answer) is declined
    assert [score.correct for score in RefusalGuard().judge([asked]) if isinstance(score, Score)] == [declined]


def test_the_guard_slice_has_topics_and_no_question_twice() -> None:
    asked = guard_questions()
    assert len({question.id for question in asked}) == len({question.question for question in asked}) == len(asked) == 12
    assert len({question.topic for question in asked}) >= 8


# --- intervals -------------------------------------------------------------------------------------------------------------


@given(st.lists(st.floats(0, 1), min_size=1, max_size=60), st.sampled_from([0.5, 0.95]))
def test_an_estimate_lies_within_its_interval_and_its_values(values: list[float], q: float) -> None:
    for estimate in (mean(values), quantile(values, q)):
        assert min(values) - 1e-9 <= estimate.low <= estimate.value + 1e-9
        assert estimate.value - 1e-9 <= estimate.high <= max(values) + 1e-9
    assert quantile(values, q).value in values
    assert mean(values) == mean(values)


@pytest.mark.parametrize(("q", "n"), [(0.5, 41), (0.95, 230)])
def test_the_interval_of_a_quantile_holds_it_as_often_as_it_says(q: float, n: int) -> None:
    """Of exponential times; 600 samples leave a standard error of 0.9 points at 95%."""
    draws, true, held = random.Random(7), -math.log(1 - q), 0
    for _ in range(600):
        found = quantile([draws.expovariate(1) for _ in range(n)], q)
        held += found.low <= true <= found.high
    assert 0.925 <= held / 600 <= 0.995


def test_the_bounds_of_a_median_are_those_of_the_sign_test() -> None:
    found = quantile([float(rank) for rank in range(1, 21)], 0.5)
    assert (found.low, found.value, found.high) == (6, 10, 15)  # Conover, Practical Nonparametric Statistics, table of n = 20


def test_a_share_is_wilsons() -> None:
    assert share([1, 1, 1, 0]).low == pytest.approx(0.3006, abs=1e-4)


# --- all together -----------------------------------------------------------------------------------------------------------


def answered(of: EvalItem, text: str, contexts: tuple[str, ...] = (WEIGHT, NOISE), **changes: object) -> JudgedAnswer:
    given_answer = JudgedAnswer(
        item_id=of.id, question=of.question, gold=of.answer, answer=text, contexts=contexts, tokens_in=100, tokens_out=10,
        seconds=0.5, score=Score(value=0.5, correct=False, reason="so so"), failure=None,
    )  # fmt: skip
    return given_answer.model_copy(update=changes)


def summary(pairs: list[tuple[EvalItem, JudgedAnswer]], instruments: Instruments) -> dict[str, tuple[float, int]]:
    rows = measure([of for of, _ in pairs], [row for _, row in pairs], instruments)
    return {metric.name: (metric.value.value, metric.n) for metric in summarise(rows, (), "judge-1", instruments)}


def test_every_measure_is_over_the_answers_it_can_be_measured_of() -> None:
    unanswerable = item("Who made it?", answer=None)
    pairs = [
        (item(), answered(item(), "1200 kg")),
        (item(), answered(item(), "1300 kg")),
        (item(), answered(item(), REFUSAL)),
        (item("Is it heavy?", "Yes"), answered(item("Is it heavy?", "Yes"), "Yes")),
        (unanswerable, answered(unanswerable, REFUSAL)),
        (unanswerable, answered(unanswerable, "Miller Ltd")),
    ]
    found = summary(pairs, Instruments(WordEncoder(), CORPUS, Price(1e-6, 2e-6)))
    assert found["exact_match"] == (0.5, 4)  # questions that have a gold answer
    assert found["recall_at_k"] == (1.0, 3)  # Yes stands nowhere
    assert found["document_recall_at_k"] == (1.0, 4)
    assert found["faithfulness"] == (pytest.approx(1 / 3), 3)  # refusals and a bare Yes claim nothing
    assert found["hallucinated"] == (pytest.approx(2 / 3), 3)
    assert "faithfulness_failed" not in found  # nothing to judge is no failure of the judge
    assert found["refusal_precision"] == (0.5, 2)
    assert found["refusal_recall"] == (0.5, 2)
    assert found["cost_usd"] == (pytest.approx(120e-6), 6)
    assert found["score"] == (0.5, 6)
    assert found["not_judged"] == (0.0, 6)


def test_what_cannot_be_measured_is_not_there() -> None:
    found = summary([(item(), answered(item(), "1200 kg", ()))], Instruments(WordEncoder(), (), None))
    gone = {"recall_at_k", "document_recall_at_k", "faithfulness", "hallucinated", "cost_usd", "refusal_recall", "harmful"}
    assert not found.keys() & {*gone, "refusal_precision", "first_token_seconds_p50", "guard_not_refused"}
    assert {"exact_match", "seconds_p95"} <= found.keys()


def test_an_answer_that_its_judge_could_not_score_is_measured_all_the_same() -> None:
    lost = answered(item(), "1200 kg", score=None, failure=Failure(kind="timeout", message="no reply"))
    found = summary([(item(), lost), (item(), answered(item(), "1300 kg"))], Instruments(WordEncoder(), CORPUS, FREE))
    assert found["exact_match"] == (0.5, 2)
    assert found["score"] == (0.5, 1)
    assert found["not_judged"] == (0.5, 2)
    assert found["cost_usd"] == (0.0, 2)


def test_a_faithfulness_judge_that_fails_is_counted_apart() -> None:
    class Flaky:
        id = "judge-flaky"

        def judge(self, items: list[JudgeItem]) -> list[Score | Failure]:
            good = Score(value=1.0, correct=True, reason="all claims are supported")
            return [Failure(kind="unparsable", message="prose") if n == 0 else good for n, _ in enumerate(items)]

    pairs = [(item(), answered(item(), text)) for text in ("1200 kg", "1300 kg", "1400 kg")]
    found = summary(pairs, Instruments(WordEncoder(), CORPUS, FREE, faithfulness=Flaky()))
    assert found["faithfulness"] == (1.0, 2)
    assert found["faithfulness_failed"] == (pytest.approx(1 / 3), 3)


def test_latency_is_of_single_answers() -> None:
    times = [0.1 * n for n in range(1, 101)]
    pairs = [(item(), answered(item(), "1200 kg", seconds=t, metrics={"first_token_seconds": t / 2})) for t in times]
    found = summary(pairs, Instruments(WordEncoder(), CORPUS, FREE))
    assert (found["seconds_p50"][0], found["seconds_p95"][0]) == (pytest.approx(5.0), pytest.approx(9.5))
    assert found["first_token_seconds_p95"] == (pytest.approx(4.75), 100)
    assert average(times) == pytest.approx(5.05)


def test_other_instruments_have_another_id() -> None:
    encoder = WordEncoder()
    one = Instruments(encoder, CORPUS, FREE)

    class Other(RefusalGuard):
        id = "judge-other"

        def __init__(self) -> None:
            pass

    assert one.id == Instruments(WordEncoder(), (), FREE).id  # the chunks are the System's
    others = [Instruments(encoder, CORPUS, None), Instruments(encoder, CORPUS, FREE, guard=Other())]
    assert len({one.id, *(other.id for other in others)}) == 3


def test_token_vectors_average_to_the_embedding() -> None:
    encoder = MiniLM(1, "float32")
    tokens = encoder.token_vectors(["", "a red hose", "a longer text about a red hose"])
    assert [len(rows) for rows in tokens] == [2, 5, 9]
    assert all(np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5) for rows in tokens)
