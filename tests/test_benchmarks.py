"""The parts of the methods benchmark: names of arms, retrieval chosen on training questions, rows, the table and its files."""

import csv
import io
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from encoders import WordEmbedder
from hypothesis import given
from hypothesis import strategies as st
from samples import sample_eval_report, sample_eval_set, sample_system

from csift.benchmarks import (
    REFERENCE,
    Benchmark,
    Cell,
    ExactIndex,
    LexicalIndex,
    Pricing,
    RetrievalTrial,
    TokenF1,
    arm_of,
    arms_of,
    choose,
    choose_people,
    row,
    samples_json,
    summary_csv,
    try_retrieval,
    win_rate,
)
from csift.exceptions import ConfigError, LabelError
from csift.intervals import wilson
from csift.judges import PairByScore
from csift.reports.benchmark import headline, render_benchmark
from csift.schemas import Chunk, EvalReport, Failure, Interval, JudgeItem, Label, Score
from csift.textmatch import REFUSAL

# --- arms -----------------------------------------------------------------------------------------------------------------


def test_the_whole_table_has_every_method_closed_book_and_with_retrieval() -> None:
    names = {arm.name for arm in arms_of(["all"])}
    for adapter in ("cpt", "cpt-sft", "sft", "dpo", "orpo", "kto", "ppo", "grpo"):
        assert {adapter, f"{adapter}+rag"} <= names
        assert arm_of(adapter).closed_book and not arm_of(f"{adapter}+rag").closed_book
        assert arm_of(adapter).stages == arm_of(f"{adapter}+rag").stages != ()
    assert {"base", "rag", "rag-bootstrap", "data:half", "data:all", "data:half+synthetic"} <= names


def test_standard_rag_is_always_there_to_compare_with_and_an_arm_named_twice_is_one() -> None:
    assert [arm.name for arm in arms_of(["sft+rag", "sft+rag"])] == [REFERENCE, "sft+rag"]
    assert [arm.name for arm in arms_of(["base", "rag"])] == ["base", "rag"]


def test_only_closed_book_pre_training_reads_the_whole_corpus() -> None:
    assert [arm.name for arm in arms_of(["all"]) if arm.reads_all] == ["cpt", "cpt-sft"]


def test_names_say_how_much_data_and_which_model() -> None:
    assert (arm_of("data:45+synthetic").people, arm_of("data:45+synthetic").synthetic) == (45, True)
    assert (arm_of("data:half").people, arm_of("data:all").people) == (0.5, None)
    assert arm_of("rag-gepa@bedrock/us.amazon.nova-lite-v1:0").model == "bedrock/us.amazon.nova-lite-v1:0"
    assert arm_of("sft+rag-bootstrap").how == "bootstrap"


@pytest.mark.parametrize(
    "name", ["", "rga", "@x", "sft+", "sft+mipro", "data:", "data:-1", "data:x", "sft@openai/x", "dpo+rag@x", "rag@"]
)
def test_an_unknown_arm_is_refused_by_its_name(name: str) -> None:
    with pytest.raises(ConfigError, match="no benchmark arm"):
        arms_of([name])


def test_no_arm_at_all_is_refused() -> None:
    with pytest.raises(ConfigError, match="names no arm"):
        arms_of([])


# --- people's questions -----------------------------------------------------------------------------------------------------


def label(number: int, answer: str | None = "3 kg", document: str = "a.md", question: str = "") -> Label:
    return Label(
        id=f"q{number}", question=question or f"How heavy is pump {number}?", answer=answer, document_id=document,
        style="factoid", split="train", document_sha256="1",
    )  # fmt: skip


@given(st.integers(0, 20), st.integers(0, 20), st.integers(0, 5))
def test_a_smaller_draw_of_questions_is_part_of_every_larger_one(one: int, other: int, seed: int) -> None:
    labels = [label(number) for number in range(20)]
    few, many = (set(map(id, choose_people(labels, count, seed))) for count in sorted((one, other)))
    assert few <= many and len(few) == min(one, other)


def test_half_of_the_questions_is_half_and_none_given_is_all() -> None:
    labels = [label(number) for number in range(20)]
    assert len(choose_people(labels, 0.5, 0)) == 10
    assert choose_people(labels, None, 0) == tuple(labels)


# --- retrieval --------------------------------------------------------------------------------------------------------------


def chunk(id_: str, text: str, document: str = "a.md") -> Chunk:
    return Chunk(id=id_, document_id=document, ordinal=0, text=text)


CHUNKS = [
    chunk("1", "The Alder pump weighs 3 kg."),
    chunk("2", "The Alder pump lifts water 10 m."),
    chunk("3", "The Birch pump weighs 4 kg.", "b.md"),
    chunk("4", "Write to the office about spare parts.", "b.md"),
]


@pytest.mark.parametrize("kind", [ExactIndex, LexicalIndex])
def test_an_index_in_memory_finds_the_nearest_chunk_and_keeps_ties_in_order(kind: Any, words: WordEmbedder) -> None:
    index = kind(CHUNKS[::-1], words) if kind is ExactIndex else kind(CHUNKS[::-1])
    ((best, *rest),) = index.search(["How much water does the Alder lift, 10 m?"], 4)
    assert best.chunk_id == "2" and len(rest) == 3
    assert [hit.score for hit in (best, *rest)] == sorted((hit.score for hit in (best, *rest)), reverse=True)
    assert index.search([], 3) == []
    alike = [chunk(id_, "the same words") for id_ in "cab"]
    ((*hits,),) = (kind(alike, words) if kind is ExactIndex else kind(alike)).search(["the same words"], 3)
    assert [hit.chunk_id for hit in hits] == ["a", "b", "c"]


def test_retrieval_counts_a_chunk_of_the_right_document_that_holds_the_answer(words: WordEmbedder) -> None:
    asked = [
        label(1, "3 kg", "a.md", "What does the Alder pump weigh?"),
        label(2, "4 kg", "a.md", "What does the Birch pump weigh?"),  # its document does not say so: no question of the grid
        label(3, None), label(4, "Yes"),
    ]  # fmt: skip
    choice = try_retrieval(asked, {450: CHUNKS}, (1, 2), ("dense", "tfidf"), words, 1000)
    assert choice.questions == 1
    assert {(trial.retriever, trial.k) for trial in choice.trials} == {(r, k) for r in ("dense", "tfidf") for k in (1, 2)}
    assert choice.chosen.k == 1 and choice.chosen.accuracy.value == 1
    with pytest.raises(LabelError, match="to the letter"):
        try_retrieval(asked[2:], {450: CHUNKS}, (1,), ("dense",), words, 1000)


def trial(right: int, of: int, characters: float, **told: Any) -> RetrievalTrial:
    usual = {"chunk_size": 450, "retriever": "dense", "k": 3}
    return RetrievalTrial(**{**usual, **told}, accuracy=wilson(right, of), characters=characters)


def test_the_shortest_prompt_within_one_standard_error_of_the_best_is_chosen() -> None:
    best, near, short_but_worse = trial(90, 100, 3000), trial(88, 100, 900), trial(80, 100, 300)
    assert choose([best, near, short_but_worse], 100) == near  # the standard error is 3 points
    assert choose([best, short_but_worse], 100) == best
    assert choose([trial(88, 100, 900, k=5), near, trial(89, 100, 900, k=2)], 100).k == 2
    assert choose([best, near, short_but_worse], 100, 500) == short_but_worse
    assert choose([best, near], 100, 500) == near  # all are too long: the shortest


# --- the table --------------------------------------------------------------------------------------------------------------

EVALSET = sample_eval_set()
N = len(EVALSET.items)


def report(correct: Sequence[bool | None], answers: Sequence[str] = ()) -> EvalReport:
    return sample_eval_report(sample_system(), EVALSET, correct, answers)


def cell(name: str, correct: Sequence[bool | None], second: Sequence[bool | None] | None = None, **told: Any) -> Cell:
    reports = {"reference": report(correct), "token F1": report(second or correct)}
    return Cell(**{"arm": arm_of(name), "system": sample_system(), "reports": reports, "trained_on": 0, "compiled": None, **told})


def half(first: bool) -> list[bool]:
    return [(number < N // 2) == first for number in range(N)]


MONTH = Pricing(questions_per_month=36_000, usd_per_hour=0.5)
RAG = cell("rag", half(True))


def test_an_arm_is_paired_with_standard_rag_question_by_question_by_each_judge() -> None:
    everything = cell("sft+rag", [True] * N, half(True))
    made = row(everything, RAG, MONTH)
    gain = made.improvement["reference"]
    assert gain is not None and gain.value == pytest.approx((N - N // 2) / N) and gain.low > 0
    assert made.improvement["token F1"] == Interval(value=0, low=0, high=0)
    assert (made.wins, made.losses, made.ties) == (N - N // 2, 0, N // 2)
    assert row(RAG, RAG, MONTH).improvement == {"reference": None, "token F1": None}


def test_answers_that_failed_are_in_no_figure_of_either_side() -> None:
    failed = [None, *half(True)[1:]]
    made = row(cell("sft+rag", failed), RAG, MONTH)
    assert (made.failures, made.wins + made.losses + made.ties) == (1, N - 1)
    assert made.improvement["reference"] == Interval(value=0, low=0, high=0)
    assert made.accuracy["reference"].value == pytest.approx((N // 2 - 1) / (N - 1))


def test_a_local_answer_costs_the_machines_time() -> None:
    made = row(RAG, RAG, MONTH)  # 0.41 s each, as the samples have it
    assert made.seconds.value == pytest.approx(0.41)
    assert made.monthly_usd and made.monthly_usd.value == pytest.approx(36_000 * 0.41 / 3600 * 0.5)


def test_a_served_answer_costs_its_tokens_or_nobody_knows() -> None:
    served = sample_system().model_copy(update={"base_model": "openai/some-model"})
    priced = report(half(True))
    answers = tuple(answer.model_copy(update={"metrics": {"cost_usd": 0.002}}) for answer in priced.answers)
    with_price = cell("rag@openai/some-model", half(True), system=served)
    with_price = Cell(**{**vars(with_price), "reports": {"reference": priced.model_copy(update={"answers": answers})}})
    made = row(with_price, with_price, MONTH)
    assert made.monthly_usd and made.monthly_usd.value == pytest.approx(72)
    assert row(cell("rag@openai/some-model", half(True), system=served), RAG, MONTH).monthly_usd is None


def test_answers_are_compared_two_by_two_and_ties_are_in_no_share() -> None:
    gold = [item.answer or REFUSAL for item in EVALSET.items]
    right, wrong = report([True] * N, gold), report([True] * N, [*gold[:2], *(["a pear"] * (N - 2))])
    a, b = (Cell(arm_of(name), sample_system(), {"x": r}, 0, None) for name, r in (("data:all", right), ("data:2", wrong)))
    rate = win_rate("token F1", PairByScore(TokenF1(), 1e-9), a, b)
    assert (rate.a, rate.b, rate.wins, rate.losses, rate.ties, rate.failures) == ("data:all", "data:2", N - 2, 0, 2, 0)
    assert rate.share == wilson(N - 2, N - 2)


def test_token_f1_wants_a_refusal_where_the_documents_do_not_say() -> None:
    def score(gold: str | None, answer: str) -> Score | Failure:
        (verdict,) = TokenF1().judge([JudgeItem(question="?", gold=gold, answer=answer, contexts=())])
        return verdict

    told = {("29 kg", "29 kg"): True, ("29 kg", "It has wheels."): False, (None, REFUSAL): True, (None, "29 kg"): False}
    for (gold, answer), right in {**told, ("29 kg", REFUSAL): False, ("29 kg", ""): False}.items():
        verdict = score(gold, answer)
        assert isinstance(verdict, Score) and verdict.correct == right, (gold, answer)
    assert TokenF1().id != TokenF1(0.7).id


# --- files and page ---------------------------------------------------------------------------------------------------------


def table(*cells: Cell, **told: Any) -> Benchmark:
    reference = next(one for one in cells if one.arm.name == REFERENCE)
    usual = {
        "project": "pumps", "at": datetime(2026, 11, 21, tzinfo=UTC), "golden": False, "evalset_id": EVALSET.id, "questions": N,
        "snapshot_id": "corpus-1", "judges": {"reference": "judge-1", "token F1": TokenF1().id}, "questions_per_month": 36_000,
        "usd_per_hour": 0.5, "retrieval": None, "rows": tuple(row(one, reference, MONTH) for one in cells), "win_rates": (),
    }  # fmt: skip
    return Benchmark.of(**{**usual, **told})


def test_the_summary_has_a_line_an_arm_and_both_bounds_of_every_figure() -> None:
    cells = (RAG, cell("sft+rag", [True] * N))
    lines = list(csv.DictReader(io.StringIO(summary_csv(table(*cells)))))
    assert [line["arm"] for line in lines] == ["rag", "sft+rag"]
    assert lines[0]["improvement by reference"] == ""
    assert float(lines[1]["improvement by reference low"]) > 0
    for name in ("accuracy by reference", "accuracy by token F1", "judge score", "seconds", "monthly US$"):
        low, value, high = (float(lines[1][key]) for key in (f"{name} low", name, f"{name} high"))
        assert low <= value <= high


def test_the_samples_have_every_answer_with_every_verdict() -> None:
    cells = (RAG, cell("sft+rag", [None, *[True] * (N - 1)]))
    told = json.loads(samples_json(table(*cells), cells))
    assert len(told["questions"]) == N
    first = told["questions"][0]["answers"]
    assert set(first) == {"rag", "sft+rag"}
    assert set(first["sft+rag"]["judged"]) == {"reference", "token F1"}
    assert first["sft+rag"]["judged"]["reference"]["kind"] == "timeout"
    assert first["rag"]["judged"]["reference"]["correct"] is True


def test_the_headline_names_the_best_gated_arm_and_whether_its_gain_is_sure() -> None:
    sure = table(RAG, cell("sft+rag", [True] * N), cell("sft", [True] * N))
    assert headline(sure).startswith("sft+rag is right on 100.0%, standard RAG on")
    unsure = table(RAG, cell("sft+rag", [True, *half(True)[1:-1], True]))
    assert "holds zero" in headline(unsure)
    assert headline(table(RAG, cell("sft", [True] * N))).startswith("No arm answers more than standard RAG")


def test_the_page_shows_every_arm_and_escapes_what_models_say() -> None:
    cells: tuple[Cell, ...] = (cell("base", half(False)), RAG, cell("sft+rag", [True] * N, trained_on=180))
    hostile = report([True] * N, ["<script>alert(1)</script>"] * N)
    cells = (*cells, Cell(arm_of("dpo"), sample_system(), {"reference": hostile, "token F1": hostile}, 180, None))
    page = render_benchmark(table(*cells), cells)
    assert "<script>" not in page and "&lt;script&gt;" in page
    for name in ("base *", "rag", "sft+rag", "dpo *"):
        assert f'<th scope="row">{name}</th>' in page
    assert render_benchmark(table(*cells), cells) == page


def test_the_id_of_a_table_does_not_depend_on_when_it_was_made() -> None:
    later = datetime(2027, 1, 1, tzinfo=UTC)
    assert table(RAG).id == table(RAG, at=later).id != table(RAG, golden=True).id
