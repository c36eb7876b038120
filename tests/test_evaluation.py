"""A System's report on an eval set: what was answered is judged and measured once, what failed is counted apart."""

import json
import os
import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import dspy
import pytest
from encoders import WordEncoder
from samples import sample_retention
from sqlalchemy.dialects.postgresql import insert
from teachers import Model

from csift.config import GateConfig
from csift.db import Database
from csift.db.corpus import SnapshotRow
from csift.db.judging import EvalSetRow
from csift.evalsets import freeze
from csift.evaluation import Outcome, evaluate, judged, require_frozen
from csift.exceptions import GateError
from csift.judges import ReferenceJudge
from csift.ledger import Ledger
from csift.llm import local_model
from csift.metrics import Instruments, guard_questions
from csift.prices import FREE
from csift.promotion import decide, pair
from csift.prompts import answer_signature
from csift.registry import load, save_system
from csift.schemas import (
    Chunk,
    EvalItem,
    EvalReport,
    EvalSet,
    EvalSetHistory,
    Failure,
    Generation,
    GenerationParams,
    JudgeItem,
    Label,
    LabelSet,
    Score,
    System,
    Verdict,
)

CONTEXT = "Of this nobody knows."


class Replies:
    """A judge with one verdict an item, by its question; counts what it is asked."""

    def __init__(self, verdict: Callable[[JudgeItem], Score | Failure], id_: str = "judge-replies") -> None:
        self.id = id_
        self.asked: list[JudgeItem] = []
        self._verdict = verdict

    def judge(self, items: Sequence[JudgeItem]) -> list[Score | Failure]:
        """One an item."""
        self.asked += items
        return [self._verdict(item) for item in items]


def by_gold(item: JudgeItem) -> Score:
    right = item.answer == item.gold
    return Score(value=float(right), correct=right, reason="compared")


def shaky(failing: float, seed: int) -> Replies:
    """Right, and away for a share of the items, whatever their answers."""
    chance = random.Random(seed)
    return Replies(lambda item: Failure(kind="timeout", message="no reply") if chance.random() < failing else by_gold(item))


def eval_set(golds: Sequence[str | None], project: str = "p") -> EvalSet:
    """Questions q0, q1 ... with these answers."""
    items = tuple(
        EvalItem(
            id=f"q{n:03}", question=f"q{n:03}?", answer=gold, document_id=f"d{n % 7}.md", document_sha256="0",
            style="unanswerable" if gold is None else "factoid", guarded=False,
        )
        for n, gold in enumerate(golds)
    )  # fmt: skip
    return EvalSet(id=EvalSet.id_of(project, items), project=project, life=1, items=items, retired=(), previous_id=None)


def system(snapshot_id: str = "corpus-1", k: int = 1) -> System:
    return System.of(
        base_model="m", base_revision="1", adapter_id=None, program="standard", program_hash="p", snapshot_id=snapshot_id,
        embedder="words", k=k, generation=GenerationParams(),
    )  # fmt: skip


def instruments(**changes: Any) -> Instruments:
    return Instruments(WordEncoder(), (Chunk(id="c", document_id="d0.md", ordinal=0, text=CONTEXT),), FREE, **changes)


def said(*texts: str | None) -> list[Outcome | Failure]:
    """What a model gave; None where it gave nothing."""
    spent = [Generation(text="", finish="stop", tokens_in=7, tokens_out=3, seconds=0.2)]
    return [Failure(kind="timeout", message="no reply") if text is None else (text, [CONTEXT], spent) for text in texts]


def report(outcomes: Sequence[Outcome | Failure], evalset: EvalSet, judge: Replies, of: System | None = None) -> EvalReport:
    return judged("eval-1", of or system(), evalset, judge, outcomes, instruments())


def metric(of: EvalReport, name: str) -> tuple[float, int]:
    return next((metric.value.value, metric.n) for metric in of.metrics if metric.name == name)


# --- what fails is counted apart ------------------------------------------------------------------------------------------


def test_a_judge_that_fails_for_one_in_ten_leaves_the_accuracy_of_the_others_unbiased() -> None:
    """30 nights of 100 questions, of which 60% are answered rightly."""
    evalset, answers = eval_set(["right"] * 100), said(*["right"] * 60, *["wrong"] * 40)
    accuracies, as_wrong, failed = [], [], []
    for night in range(30):
        found = report(answers, evalset, shaky(0.1, night))
        accuracies.append(found.accuracy.value)
        as_wrong.append(sum(row.score.correct for row in found.answers if row.score) / len(found.answers))
        failed.append(metric(found, "not_judged")[0])
        assert found.failures == sum(row.failure is not None for row in found.answers)
    assert mean(accuracies) == pytest.approx(0.60, abs=0.012)  # four standard errors
    assert mean(failed) == pytest.approx(0.10, abs=0.022)
    assert mean(as_wrong) == pytest.approx(0.54, abs=0.022)  # what counting them as wrong would make of it


def test_a_model_that_gave_no_answer_is_a_failure_and_is_not_measured() -> None:
    found = report(said("right", None, "wrong"), eval_set(["right"] * 3), Replies(by_gold))
    assert (found.accuracy.value, found.failures) == (0.5, 1)
    assert metric(found, "not_judged") == (pytest.approx(1 / 3), 3)
    assert metric(found, "exact_match") == (0.5, 2)
    assert found.answers[1].metrics == {}
    assert found.seconds_per_answer == pytest.approx(0.2)


def test_an_empty_answer_is_wrong_whoever_judges_and_nobody_is_asked() -> None:
    generous = Replies(lambda item: Score(value=1.0, correct=True, reason="fine"))
    found = report(said("right", "", " \n"), eval_set(["right", "right", None]), generous)
    assert [(row.score.correct, row.score.reason) for row in found.answers if row.score] == [
        (True, "fine"),
        (False, "empty answer"),
        (False, "empty answer"),
    ]
    assert len(generous.asked) == 1
    assert metric(found, "token_f1") == (0.5, 2)


def test_not_one_answer_judged_is_an_error() -> None:
    down = Replies(lambda item: Failure(kind="unavailable", message="503 ServiceUnavailableException"))
    with pytest.raises(GateError, match="not one of 2 answers could be judged: 503 ServiceUnavailableException"):
        report(said("a", "b"), eval_set(["a", "b"]), down)


@pytest.mark.parametrize(("failing", "verdict"), [(0.02, Verdict.PROMOTE), (0.3, Verdict.HOLD)])
def test_above_the_limit_the_evaluation_is_inconclusive(failing: float, verdict: Verdict) -> None:
    """A challenger that is better by far, under a judge that is away for a share of its answers."""
    evalset = eval_set(["right"] * 200)
    before = report(said(*["right"] * 60, *["wrong"] * 140), evalset, Replies(by_gold))
    after = report(said(*["right"] * 160, *["wrong"] * 40), evalset, shaky(failing, seed=1), system(k=2))
    policy = GateConfig().policy
    unspent = EvalSetHistory(life=1, held=0, rejected=0, promoted=0)
    decision = decide(pair(before, after, evalset, sample_retention()), unspent, policy)
    assert decision.verdict is verdict
    assert decision.failures == after.failures > 0
    assert after.accuracy.value == pytest.approx(0.8, abs=0.05)
    if verdict is Verdict.HOLD:
        assert "could not be judged" in decision.reason


@pytest.mark.skipif("CSIFT_BENCH_DATA" not in os.environ, reason="CSIFT_BENCH_DATA is not set")
def test_the_ranking_of_a_recorded_run_does_not_flip() -> None:
    """64 scores of two methods by Claude, three of them lost to ServiceUnavailableException, which the original counted as 0."""
    rows = defaultdict(list)
    for line in (Path(os.environ["CSIFT_BENCH_DATA"]) / "aws" / "run0.jsonl").read_text().splitlines():
        row = json.loads(line)
        rows[row["method"]].append(row)
    found, lost = {}, {}
    for method, scores in rows.items():
        recorded = iter(scores)

        def verdict(item: JudgeItem, recorded: Iterator[dict[str, Any]] = recorded) -> Score | Failure:
            row = next(recorded)
            if row["judge_error"]:
                return Failure(kind="unavailable", message=row["judge_error"])
            return Score(value=row["judge_score"], correct=row["judge_score"] >= 0.5, reason="recorded")

        found[method] = report(said(*["-"] * len(scores)), eval_set(["x"] * len(scores)), Replies(verdict))
        lost[method] = sum(row["judge_score"] or 0 for row in scores) / len(scores)
    sft, rag = (next(method for method in rows if name in method) for name in ("sft", "rag"))
    assert (found[sft].mean_score, found[rag].mean_score) == (pytest.approx(0.4862, abs=1e-4), pytest.approx(0.4438, abs=1e-4))
    assert (lost[sft], lost[rag]) == (pytest.approx(0.4406, abs=1e-4), pytest.approx(0.4438, abs=1e-4))
    assert (found[sft].failures, found[rag].failures) == (3, 0)
    assert metric(found[sft], "score") == (pytest.approx(0.4862, abs=1e-4), 29)
    assert metric(found[sft], "not_judged") == (pytest.approx(3 / 32), 32)


# --- an eval set is as it was frozen ---------------------------------------------------------------------------------------


def labels(*answers: str | None) -> LabelSet:
    shared = {"document_id": "a.md", "style": "factoid", "split": "eval", "document_sha256": "1"}
    rows = [{"id": f"q{n}", "question": f"q{n}?", "answer": answer, **shared} for n, answer in enumerate(answers)]
    return LabelSet(snapshot_id="corpus-1", labels=tuple(Label.model_validate(row) for row in rows), retired=())


def test_what_freeze_makes_is_frozen(db: Database, project: str) -> None:
    frozen = freeze(db, project, labels("29 kg", None), 2)
    require_frozen(frozen)
    again = freeze(db, project, labels("29 kg", None, "3 bar"), 2)  # what is guarded is not in the id
    assert [item.guarded for item in again.items] == [True, True, False]
    require_frozen(again)


@pytest.mark.parametrize("change", [{"answer": "31 kg"}, {"question": "What else?"}, {"document_sha256": "2"}, {"style": "list"}])
def test_a_set_that_was_changed_is_refused_before_anything_is_asked(
    db: Database, project: str, change: dict[str, str], answering: "Answering"
) -> None:
    frozen = freeze(db, project, labels("29 kg", None), 2)
    items = (frozen.items[0].model_copy(update=change), *frozen.items[1:])
    with pytest.raises(GateError, match=f"eval set {frozen.id} was changed after it was frozen"):
        answering.report(frozen.model_copy(update={"items": items}), Replies(by_gold))
    with pytest.raises(GateError, match="was changed"):
        require_frozen(frozen.model_copy(update={"items": frozen.items[1:]}))
    assert answering.model.batches == []


# --- once -----------------------------------------------------------------------------------------------------------------


class Answering:
    """A System over a model in memory that answers in capitals, and keeps what it was asked."""

    def __init__(self, db: Database, name: str) -> None:
        snapshot = f"corpus-{name}"
        with db.session() as session:
            session.execute(insert(SnapshotRow).values(id=snapshot, record={}, project=name).on_conflict_do_nothing())
        self.db, self.model = db, Model(name)
        self.system = save_system(db, system(snapshot))

    def report(self, evalset: EvalSet, judge: Any, with_: Instruments | None = None) -> EvalReport:
        """Evaluated with a model object of its own, as another process would."""
        with self.db.session() as session:
            row = {"id": evalset.id, "project": evalset.project, "record": evalset.model_dump(mode="json")}
            session.execute(insert(EvalSetRow).values(row).on_conflict_do_nothing())
        predict = dspy.Predict(answer_signature())

        class Program:
            hash = "p"

            def __call__(self, *, question: str) -> Any:
                answer = predict(excerpts=CONTEXT, question=question).answer
                return dspy.Prediction(answer=answer, contexts=[CONTEXT])

        model = local_model(self.model, Ledger(self.db), "rag")
        return evaluate(self.db, self.system, evalset, Program(), model, judge, with_ or instruments())

    @property
    def asked(self) -> list[str]:
        return [question for batch in self.model.batches for question in batch]


@pytest.fixture
def answering(db: Database, project: str) -> Answering:
    return Answering(db, project)


def test_a_report_is_made_once(answering: Answering, project: str) -> None:
    evalset, judge = eval_set(["Q000?", "b", None], project), Replies(by_gold)
    first = answering.report(evalset, judge)
    assert first.accuracy.value == pytest.approx(1 / 3)
    assert sorted(answering.asked) == sorted(["q000?", "q001?", "q002?", *(guard.question for guard in guard_questions())])
    assert answering.report(evalset, judge) == first == load(answering.db, EvalReport, first.id)
    assert len(answering.asked) == 3 + len(guard_questions())
    assert len(judge.asked) == 3


def test_another_judge_scores_the_same_answers_and_none_is_generated_again(answering: Answering, project: str) -> None:
    evalset = eval_set(["Q000?", "b"], project)
    first = answering.report(evalset, Replies(by_gold))
    asked = len(answering.asked)
    other = Replies(lambda item: Score(value=1.0, correct=True, reason="fine"), "judge-other")
    second = answering.report(evalset, other)
    assert second.id != first.id
    assert (first.accuracy.value, second.accuracy.value) == (0.5, 1.0)
    assert [row.answer for row in second.answers] == [row.answer for row in first.answers]
    assert [row.seconds for row in second.answers] == [row.seconds for row in first.answers]
    assert len(answering.asked) == asked


def test_the_reference_judge_and_an_empty_answer_go_together(answering: Answering, project: str) -> None:
    answering.model.generate = lambda prompts, params, adapter_path=None: [  # type: ignore[method-assign]
        Generation(text="", finish="stop", tokens_in=5, tokens_out=0, seconds=0.1) for _ in prompts
    ]
    found = answering.report(eval_set(["29 kg", None], project), ReferenceJudge(WordEncoder()))
    assert [row.score.reason for row in found.answers if row.score] == ["empty answer", "empty answer"]
    assert (found.accuracy.value, found.failures) == (0.0, 0)


# --- the guard slice --------------------------------------------------------------------------------------------------------


def test_the_guard_slice_is_scored_apart_from_everything_else(answering: Answering, project: str) -> None:
    evalset = eval_set(["Q000?"], project)
    found = answering.report(evalset, Replies(by_gold))
    assert [row.question for row in found.guard] == [guard.question for guard in guard_questions()]
    assert metric(found, "guard_not_refused") == (
        1.0,
        len(guard_questions()),
    )  # it says all in capitals
    assert (len(found.answers), found.accuracy.value, found.tokens) == (1, 1.0, 7)


def test_a_harm_judge_tells_harm_where_there_is_one(answering: Answering, project: str) -> None:
    half = Replies(lambda item: Score(value=0.0, correct=len(item.question) % 2 == 0, reason="-"), "judge-harm")
    found = answering.report(eval_set(["Q000?"], project), Replies(by_gold), instruments(guard=half))
    share, n = metric(found, "harmful")
    assert share == pytest.approx(sum(len(guard.question) % 2 for guard in guard_questions()) / n)
    assert "guard_not_refused" not in {metric.name for metric in found.metrics}


def test_a_service_that_will_not_answer_a_guard_question_has_refused_it() -> None:
    outcomes = [Failure(kind="refused", message="content filter") for _ in guard_questions()]
    found = judged("eval-1", system(), eval_set(["a"]), Replies(by_gold), said("a"), instruments(), outcomes)
    assert metric(found, "guard_not_refused") == (0.0, len(guard_questions()))
    away = [Failure(kind="timeout", message="no reply") for _ in guard_questions()]
    found = judged("eval-1", system(), eval_set(["a"]), Replies(by_gold), said("a"), instruments(), away)
    assert "guard_not_refused" not in {metric.name for metric in found.metrics}
    assert found.failures == 0


# --- time and money -----------------------------------------------------------------------------------------------------------


def test_the_first_token_comes_after_all_calls_but_the_last() -> None:
    spent = [
        Generation(text="", finish="stop", tokens_in=5, tokens_out=2, seconds=1.0, first_token_seconds=0.4),
        Generation(text="", finish="stop", tokens_in=5, tokens_out=2, seconds=2.0, first_token_seconds=0.7),
    ]
    found = judged("eval-1", system(), eval_set(["a", "b"]), Replies(by_gold), [("a", [], spent), *said("b")], instruments())
    assert metric(found, "first_token_seconds_p50") == (pytest.approx(1.7), 1)
    assert metric(found, "seconds_p95") == (pytest.approx(3.0), 2)


def test_a_model_without_a_price_has_no_cost() -> None:
    unknown = Instruments(WordEncoder(), (), None)
    found = judged("eval-1", system(), eval_set(["a"]), Replies(by_gold), said("a"), unknown)
    assert found.cost_usd is None
    assert report(said("a"), eval_set(["a"]), Replies(by_gold)).cost_usd == 0
