"""Calibration: what agrees counts as agreeing, failures never count as wrong, and the gate refuses a judge that changed."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from csift.db import Database
from csift.exceptions import CsiftError, GateError, LabelError
from csift.judges import ReferenceJudge
from csift.judges.calibration import calibrate, compare, labels_id, newest, require_calibrated, save, shipped, stored
from csift.judges.labelled import read_labelled
from csift.retrieval import MiniLM
from csift.schemas import Failure, JudgeCalibration, JudgeItem, LabelledAnswer, Score

FAST = 50  # resamples


def label(question: str, answer: str = "29 kg", *, score: float | None = None, correct: bool | None = None) -> LabelledAnswer:
    item = JudgeItem(question=question, gold="29 kg", answer=answer, contexts=())
    return LabelledAnswer(item=item, group=question, score=score, correct=correct)


def says(value: float, correct: bool | None = None) -> Score:
    return Score(value=value, correct=value >= 0.6 if correct is None else correct, reason="")


def failed() -> Failure:
    return Failure(kind="parse", message="no verdict in 'maybe'")


def compared(labels: Sequence[LabelledAnswer], said: Sequence[Score | Failure], name: str = "tried") -> JudgeCalibration:
    return compare("judge-1", name, labels, said, resamples=FAST)


SCORES, VALUES = st.sampled_from([0.0, 0.2, 0.5, 0.7, 1.0]), st.sampled_from([0.0, 0.3, 0.8, 1.0])
ROWS = st.lists(st.tuples(st.sampled_from("abcd"), SCORES, VALUES), min_size=4, max_size=30).filter(
    lambda rows: len({group for group, _, _ in rows}) > 1
)


# --- the figures ------------------------------------------------------------------------------------------------------


@given(ROWS)
@settings(max_examples=25, deadline=None)
def test_a_judge_that_says_what_the_labels_say_agrees_wholly(rows: list[tuple[str, float, float]]) -> None:
    labels = [label(group, str(place), score=score) for place, (group, score, _) in enumerate(rows)]
    made = compared(labels, [says(one.score or 0.0) for one in labels])
    assert (made.agreement.value, made.agreement.low, made.agreement.high) == (1, 1, 1)
    assert made.kappa is None or made.kappa.value == 1
    assert (made.kappa is None) == (len({(one.score or 0) >= 0.6 for one in labels}) == 1)
    assert made.spearman is None or made.spearman.value == pytest.approx(1)


@given(ROWS, st.randoms())
@settings(max_examples=25, deadline=None)
def test_the_order_of_the_rows_changes_nothing(rows: list[tuple[str, float, float]], shuffle: object) -> None:
    pairs = [(label(group, str(place), score=score), says(said)) for place, (group, score, said) in enumerate(rows)]
    mixed = pairs.copy()
    shuffle.shuffle(mixed)  # type: ignore[attr-defined]
    made, again = (compared([one for one, _ in order], [said for _, said in order]) for order in (pairs, mixed))
    assert made.id == again.id
    assert made.model_dump(exclude={"at"}) == again.model_dump(exclude={"at"})


@given(ROWS, st.lists(st.tuples(st.sampled_from(["a", "b"]), st.floats(0, 1)), max_size=8))
@settings(max_examples=25, deadline=None)
def test_failures_are_counted_apart_and_change_no_figure(
    rows: list[tuple[str, float, float]], lost: list[tuple[str, float]]
) -> None:
    labels = [label(group, str(place), score=score) for place, (group, score, _) in enumerate(rows)]
    said: list[Score | Failure] = [says(value) for _, _, value in rows]
    extra = [label(rows[0][0], f"lost {place}", score=score) for place, (_, score) in enumerate(lost)]
    whole, partly = compared(labels, said), compared([*labels, *extra], [*said, *(failed() for _ in extra)])
    figures = ("agreement", "kappa", "spearman", "judged")
    assert [getattr(whole, name) for name in figures] == [getattr(partly, name) for name in figures]
    assert (whole.failures, partly.failures) == (0, len(extra))


@given(ROWS)
@settings(max_examples=25, deadline=None)
def test_kappa_is_that_of_scikit_learn(rows: list[tuple[str, float, float]]) -> None:
    labels = [label(group, str(place), score=score) for place, (group, score, _) in enumerate(rows)]
    made = compared(labels, [says(value) for _, _, value in rows])
    said, true = [value >= 0.6 for _, _, value in rows], [score >= 0.6 for _, score, _ in rows]
    assert made.agreement.low <= made.agreement.value <= made.agreement.high
    if made.kappa is None:
        assert len({*said, *true}) == 1
    else:
        assert made.kappa.value == pytest.approx(cohen_kappa_score(said, true), abs=1e-6)


def test_a_recorded_verdict_counts_before_the_score() -> None:
    labels = [label("a", score=0.9, correct=False), label("b", score=0.1, correct=True)]
    assert compared(labels, [says(0.0), says(1.0)]).agreement.value == 1


def test_questions_are_resampled_whole() -> None:
    """Ten copies of a question tell no more than one: its answers are right or wrong together."""
    labels = [label(f"q{n % 4}", str(n), correct=True) for n in range(40)]
    made = compare("j", "tried", labels, [says(float(n % 4 < 2)) for n in range(40)], resamples=400)
    alone = compare("j", "tried", labels[:4], [says(float(n % 4 < 2)) for n in range(4)], resamples=400)
    assert (made.agreement.low, made.agreement.high) == (alone.agreement.low, alone.agreement.high)
    assert made.agreement.high - made.agreement.low >= 0.75


def test_verdicts_without_scores_have_no_rank_correlation() -> None:
    assert compared([label("a", correct=True), label("b", correct=False)], [says(1), says(0)]).spearman is None


def test_labels_are_known_by_their_content() -> None:
    one, other = label("a", score=0.5), label("b", score=0.7)
    assert labels_id([one, other]) == labels_id([other, one])
    assert labels_id([one, other]) != labels_id([one, label("b", score=0.8)])


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(LabelError, match="at least two questions, not 1"):
        compared([label("a", score=1)], [says(1)])
    with pytest.raises(LabelError, match="neither"):
        compared([label("a"), label("b")], [says(1), says(1)])
    with pytest.raises(GateError, match=r"the judge tried failed on all 2 labelled answers: no verdict in 'maybe'"):
        compared([label("a", score=1), label("b", score=1)], [failed(), failed()])


# --- the gate's question ----------------------------------------------------------------------------------------------


class Constant:
    """A judge that says the same of everything."""

    def __init__(self, id_: str, value: float) -> None:
        self.id, self._value = id_, value

    def judge(self, items: Sequence[JudgeItem]) -> list[Score | Failure]:
        return [says(self._value) for _ in items]


HALF = [label("a", correct=True), label("b", correct=False)]


def test_a_calibration_is_found_by_its_judges_id_only(db: Database, project: str) -> None:
    made = save(db, calibrate(Constant(f"judge-{project}", 1.0), project, HALF, resamples=FAST))
    assert newest(db, f"judge-{project}") == made
    assert newest(db, f"judge-{project}x") is None
    assert require_calibrated(db, f"judge-{project}", project, 0.5) == made


def test_the_newest_calibration_of_a_judge_counts(db: Database, project: str) -> None:
    judge = f"judge-{project}"
    good, bad = [label("a", correct=True), label("b", correct=True)], HALF
    for day, labels in enumerate([good, bad, good], start=1):
        said = [says(1.0), says(1.0)]
        save(db, compare(judge, project, labels, said, resamples=FAST, at=datetime(2026, 11, day, tzinfo=UTC)))
    found = newest(db, judge)
    assert found
    assert (found.agreement.value, found.at.day) == (1, 3)
    assert sum(one.judge_id == judge for one in stored(db)) == 2  # the same again is one, with the newer time


def test_a_judge_that_was_never_calibrated_is_refused(db: Database, project: str) -> None:
    with pytest.raises(GateError, match=r"has never been calibrated, .*run `csift judge calibrate --labels FILE.jsonl`"):
        require_calibrated(db, "judge-none", project, 0.5)


def test_a_judge_that_changed_since_is_refused_and_told_so(db: Database, project: str) -> None:
    save(db, calibrate(Constant(f"judge-{project}-old", 1.0), project, HALF, resamples=FAST))
    with pytest.raises(GateError) as refused:
        require_calibrated(db, f"judge-{project}-new", project, 0.5)
    assert f"is now judge-{project}-new" in str(refused.value)
    assert f"is of judge-{project}-old: its prompt, model, parser or settings changed since" in str(refused.value)


def test_a_judge_that_agrees_too_rarely_is_refused_with_both_numbers(db: Database, project: str) -> None:
    save(db, calibrate(Constant(f"judge-{project}", 1.0), project, HALF, resamples=FAST))
    with pytest.raises(GateError, match=r"agrees with 50\.0% of 2 labelled answers, and the gate asks for 80\.0%"):
        require_calibrated(db, f"judge-{project}", project, 0.8)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_shipped_calibration_is_of_the_present_reference_judge(db: Database, dtype: str) -> None:
    """When this fails, the judge has changed: python bench/judge.py --refit csift/resources writes what ships anew."""
    present = ReferenceJudge(MiniLM(1, dtype))
    found = require_calibrated(db, present.id, "reference", 0.85)
    assert found in shipped()
    assert found.out_of_fold
    assert found.spearman
    assert found.spearman.value >= 0.88
    with pytest.raises(GateError, match="is now judge-"):
        require_calibrated(db, ReferenceJudge(MiniLM(1, dtype), correct_from=0.7).id, "reference", 0.5)


# --- files ------------------------------------------------------------------------------------------------------------

GOOD = {"question": "How heavy is it?", "gold": "29 kg", "answer": "29 kg", "score": 1, "correct": True}


def written(folder: Path, *rows: object) -> Path:
    path = folder / "labels.jsonl"
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows), encoding="utf-8")
    return path


def test_rows_of_ours_and_of_the_tutorials_shape_are_read(tmp_path: Path) -> None:
    recorded = {"question": "q", "ground_truth": "g", "predicted_answer": "a", "judge_score": 0.2, "method": "rag",
                "judge_truefalse_evaluate": 0.0}  # fmt: skip
    unanswerable = {"question": "r", "gold": None, "answer": "Not stated.", "correct": True, "contexts": ["c"], "group": "s"}
    first, second, third = read_labelled(written(tmp_path, GOOD, "", recorded, unanswerable))
    assert (first.score, first.correct, first.group) == (1.0, True, "How heavy is it?")
    assert second == LabelledAnswer(
        item=JudgeItem(question="q", gold="g", answer="a", contexts=()), group="q", score=0.2, correct=False
    )
    assert (third.item.gold, third.item.contexts, third.group, third.score) == (None, ("c",), "s", None)


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("{", "is not JSON"),
        ("[]", "is not a JSON object"),
        ({**GOOD, "question": None}, "has no text as its question"),
        ({**GOOD, "answer": 3}, "has no text as its answer"),
        ({name: value for name, value in GOOD.items() if name != "gold"}, "has no gold answer"),
        ({**GOOD, "score": "7/10"}, "has the score '7/10'; a score is a number from 0 to 1"),
        ({**GOOD, "score": 1.2}, "has the score 1.2"),
        ({**GOOD, "score": float("nan")}, "has the score nan"),
        ({**GOOD, "score": True}, "has the score True"),
        ({**GOOD, "correct": "False, because"}, "has correct = 'False, because'; it is true or false"),
        ({**GOOD, "score": None, "correct": None}, "has neither score nor correct"),
        ({**GOOD, "contexts": "text"}, "has contexts that are no list of texts"),
        ({**GOOD, "answer": "a\0b"}, "holds NUL"),
    ],
)
def test_a_bad_row_is_refused_with_file_and_line(tmp_path: Path, row: object, told: str) -> None:
    path = written(tmp_path, GOOD, row)
    with pytest.raises(LabelError) as refused:
        read_labelled(path)
    assert str(refused.value).startswith(f"{path}:2 {told}")


def test_a_file_that_is_not_there_or_empty_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CsiftError, match="cannot read"):
        read_labelled(tmp_path / "none.jsonl")
    with pytest.raises(CsiftError, match="is empty"):
        read_labelled(written(tmp_path, ""))
