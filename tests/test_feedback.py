"""What people say of answers: read from files, kept once, learnt from by rule, taken into datasets and trained on."""

import json
import math
from itertools import combinations, permutations
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st
from pumps import configure
from pydantic import ValidationError
from sqlalchemy.dialects.postgresql import insert
from test_dataset import DOCUMENTS, LABELS, SPLITS, ByWords, Team, label
from typer.testing import CliRunner, Result

from csift import feedback
from csift.config import DatasetConfig, TrainingConfig
from csift.dataset import load_examples, load_preferences, load_ratings, load_rejections
from csift.db import Database
from csift.db.corpus import DocumentRow
from csift.db.feedback import FeedbackRow
from csift.db.judging import EvalSetRow
from csift.exceptions import LabelError
from csift.feedback import Said, heard, learn
from csift.feedback.voices import answers_of, by_question, contradictions
from csift.feedback_files import read_feedback
from csift.models import BaseModel
from csift.schemas import Dispute, EvalSet, FeedbackRecord, HumanFeedback, LabelSet, Ranking, ServedAnswer
from csift.storage import LocalStore
from csift.training import Run, train
from flows.cli import app
from flows.cli import feedback as command  # noqa: F401 - registers it
from tasks.advice import _inventory
from tasks.training import learned_from

ORRIN = "What weighs the Orrin in kg?"


def said(answer: str = "28 kg", question: str = ORRIN, **what: Any) -> FeedbackRecord:
    """Feedback on one answer."""
    return FeedbackRecord.of(question=question, answer=answer, **what)


def taught(*records: Said) -> HumanFeedback:
    return learn(records)


def rated(*records: Said) -> dict[str, tuple[bool, int]]:
    """Answer → whether it is one to give, by how many people."""
    return {row.answer: (row.desirable, row.raters) for row in learn(records).ratings}


def contradicting(*records: Said) -> list[Dispute]:
    return [dispute for asked in by_question(records) for dispute in contradictions(asked)]


def ranking(*answers: str, **what: Any) -> Ranking:
    """An order of answers to one question."""
    return Ranking.of(question=ORRIN, answers=answers, **what)


def spoken_of(records: list[Said]) -> set[tuple[str, str]]:
    return {(record.question, answer) for record in records for answer in answers_of(record)}


def preferred(*records: Said) -> list[tuple[str, str, float, str]]:
    return [(pair.chosen, pair.rejected, pair.margin, pair.judged_by) for pair in learn(records).preferences]


# --- the record -----------------------------------------------------------------------------------------------------------


def test_the_same_words_are_the_same_record_and_any_other_is_another() -> None:
    first = said(thumb="up", rater="ada")
    assert first == said(thumb="up", rater="ada", comment=None)
    others = [said(thumb="down", rater="ada"), said(thumb="up"), said(thumb="up", rater="ada", comment="!"), said("9", rating=4)]
    assert len({first.id, *(other.id for other in others)}) == 5


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ({}, "it says nothing of the answer"),
        ({"comment": "nice"}, "it says nothing of the answer"),
        ({"thumb": "up", "rating": 2}, "contradict each other"),
        ({"thumb": "down", "rating": 4}, "contradict each other"),
        ({"rating": 0}, "greater than or equal to 1"),
        ({"rating": 6}, "less than or equal to 5"),
        ({"thumb": "sideways"}, "'up' or 'down'"),
        ({"edited_answer": "  "}, "at least 1 character"),
    ],
)
def test_what_says_nothing_or_two_things_is_refused(what: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        said(**what)


def test_a_middling_rating_goes_with_either_thumb() -> None:
    assert said(rating=3, thumb="up").rating == said(rating=3, thumb="down").rating == 3


# --- what it teaches ------------------------------------------------------------------------------------------------------


def test_an_edit_is_preferred_to_its_original_and_is_a_training_row() -> None:
    told = taught(said("28 kg", edited_answer="29 kg"))
    (pair,), (row,) = told.preferences, told.examples
    assert (pair.chosen, pair.rejected, pair.source, pair.judged_by, pair.margin) == ("29 kg", "28 kg", "human", "edit", 1.0)
    assert (row.question, row.answer, row.source, row.style) == (ORRIN, "29 kg", "feedback", "factoid")
    assert told.ratings == ()


def test_an_edit_to_a_refusal_teaches_that_it_is_unanswerable() -> None:
    (row,) = taught(said("28 kg", edited_answer="The documents do not say.")).examples
    assert (row.answer, row.style) == ("The documents do not say.", "unanswerable")


def test_an_edit_that_changes_nothing_teaches_nothing() -> None:
    assert taught(said("29 kg", edited_answer=" 29 kg ")) == HumanFeedback()


def test_of_several_edits_that_of_most_people_is_the_row_unless_it_was_edited_further() -> None:
    records = [
        said(edited_answer="29 kg", rater="a"),
        said(edited_answer="29 kg", rater="b"),
        said(edited_answer="29", rater="c"),
    ]
    assert [row.answer for row in learn(records).examples] == ["29 kg"]
    assert len(learn(records).preferences) == 2
    further = [*records, said("29 kg", edited_answer="29.0 kg with its stand", rater="d")]
    assert [row.answer for row in learn(further).examples] == ["29"]


def test_opposite_edits_teach_nothing_until_they_are_settled() -> None:
    there, back = said("28 kg", edited_answer="29 kg", rater="a"), said("29 kg", edited_answer="28 kg", rater="b")
    also = said("28 kg", edited_answer="29 kg", rater="c")
    assert taught(there, back, also) == HumanFeedback()
    (dispute,) = contradicting(there, back, also)
    assert (dispute.answer, dispute.other, dispute.good, dispute.bad) == ("28 kg", "29 kg", 1, 2)
    settled = learn([there, back, also], {dispute.id: "bad"})
    assert [(pair.chosen, pair.rejected) for pair in settled.preferences] == [("29 kg", "28 kg")]
    assert [row.answer for row in settled.examples] == ["29 kg"]
    assert learn([there, back, also], {dispute.id: "neither"}) == HumanFeedback()


@pytest.mark.parametrize(
    ("what", "desirable"),
    [({"thumb": "up"}, True), ({"rating": 5}, True), ({"rating": 4}, True), ({"rating": 3}, None), ({"rating": 2}, False),
     ({"rating": 1}, False), ({"thumb": "down"}, False), ({"thumb": "up", "rating": 3}, True)],
)  # fmt: skip
def test_thumbs_and_ratings_say_whether_an_answer_is_one_to_give(what: dict[str, Any], desirable: bool | None) -> None:
    assert rated(said(**what)) == ({} if desirable is None else {"28 kg": (desirable, 1)})


def test_raters_who_contradict_each_other_are_not_used_until_it_is_settled() -> None:
    told = [said(thumb="up", rater="a"), said(rating=1, rater="b"), said(thumb="down", rater="c"), said(rating=3, rater="d")]
    assert taught(*told) == HumanFeedback()
    (dispute,) = contradicting(*told)
    assert (dispute.question, dispute.answer, dispute.other, dispute.good, dispute.bad) == (ORRIN, "28 kg", None, 1, 2)
    good, bad, neither = (learn(told, {dispute.id: verdict}) for verdict in ("good", "bad", "neither"))
    assert [(row.desirable, row.raters) for row in good.ratings] == [(True, 1)]
    assert [(row.desirable, row.raters) for row in bad.ratings] == [(False, 2)]
    assert [row.score for row in good.scores] == [0.5]  # the 3 goes with either side
    assert [row.score for row in bad.scores] == [0.25]
    assert neither == HumanFeedback()


def test_one_person_has_one_voice_and_the_last_word_holds() -> None:
    loud = [said(thumb="up", rater="a", comment=str(n)) for n in range(9)]
    assert rated(*loud, said(thumb="up", rater="b")) == {"28 kg": (True, 2)}
    up, down = said(thumb="up", rater="a"), said(thumb="down", rater="a")
    assert rated(up, down) == {"28 kg": (False, 1)}
    assert rated(down, up) == {"28 kg": (True, 1)}
    assert contradicting(up, down) == []
    first, second = said(edited_answer="29 kg", rater="a"), said(edited_answer="30 kg", rater="a")
    assert preferred(first, second) == [("30 kg", "28 kg", 1.0, "edit")]
    taken_back = said("29 kg", edited_answer="28 kg", rater="a")
    assert preferred(first, taken_back) == [("28 kg", "29 kg", 1.0, "edit")]
    assert rated(said(thumb="up", rater="a"), second) == {"28 kg": (True, 1)}  # an edit says nothing of the thumb
    many = [said("29 kg", rating=5, rater="a", comment=str(n)) for n in range(9)]
    pair = ("29 kg", "28 kg", (4.5 - 2.0) / 4, "ratings")  # a gives 5 and b 4, whatever a repeats
    assert preferred(*many, said("29 kg", rating=4, rater="b"), said("28 kg", rating=2, rater="c")) == [pair]


def test_a_mean_rating_is_a_score_from_0_to_1() -> None:
    told = taught(said(rating=5, rater="a"), said(rating=4, rater="b"), said("3 kg", rating=1, rater="a"), said("8", thumb="up"))
    assert {(row.answer, row.score, row.raters, row.source) for row in told.scores} == {
        ("28 kg", 0.875, 2, "human"), ("3 kg", 0.0, 1, "human"),
    }  # fmt: skip


def test_every_answer_of_a_ranking_is_preferred_to_those_behind_it() -> None:
    ranked = ranking("29 kg", "29", "3 kg", rater="a")
    assert sorted(preferred(ranked)) == [
        ("29", "3 kg", 1.0, "ranking"), ("29 kg", "29", 1.0, "ranking"), ("29 kg", "3 kg", 1.0, "ranking"),
    ]  # fmt: skip
    better = said("29 kg", rating=1, rater="b"), said("29", rating=5, rater="c")
    assert ("29 kg", "29", 1.0, "ranking") in preferred(ranked, *better)  # told directly, whatever the mean ratings
    assert preferred(ranking("29", "29 kg", rater="a"), ranking("29 kg", "29", rater="a")) == [("29 kg", "29", 1.0, "ranking")]


def test_rankings_and_edits_that_contradict_each_other_are_disputed() -> None:
    ranked, edited = ranking("28 kg", "29 kg", "3 kg", rater="a"), said("28 kg", edited_answer="29 kg", rater="b")
    (dispute,) = contradicting(ranked, edited)
    assert {dispute.answer, dispute.other} == {"28 kg", "29 kg"}
    assert {pair[:2] for pair in preferred(ranked, edited)} == {("28 kg", "3 kg"), ("29 kg", "3 kg")}
    assert taught(ranked, edited).examples == ()


@pytest.mark.parametrize("answers", [("29 kg",), ("29 kg", " 29 kg"), ("29 kg", " ")])
def test_a_ranking_names_two_or_more_different_answers(answers: tuple[str, ...]) -> None:
    with pytest.raises(ValidationError):
        ranking(*answers)


def test_each_lesson_names_the_feedback_that_it_was_made_of() -> None:
    edit, also = said(edited_answer="29 kg", rater="a"), said(edited_answer="29 kg", rater="b")
    low, high, ranked = said("3 kg", rating=1), said("29 kg", rating=5), ranking("29 kg", "8 kg")
    told = taught(edit, also, low, high, ranked)
    made_of = {
        (type(row).__name__, getattr(row, "chosen", None) or getattr(row, "answer", "")): set(told.origins[row.id])
        for row in told.rows
        if getattr(row, "rejected", "") != "8 kg"
    }
    assert made_of["Example", "29 kg"] == {edit.id, also.id}
    assert made_of["RatedAnswer", "3 kg"] == made_of["ScoredAnswer", "3 kg"] == {low.id}
    pairs = {(pair.judged_by, pair.rejected): set(told.origins[pair.id]) for pair in told.preferences}
    assert pairs == {
        ("edit", "28 kg"): {edit.id, also.id}, ("ratings", "3 kg"): {low.id, high.id}, ("ranking", "8 kg"): {ranked.id},
    }  # fmt: skip


def test_of_two_answers_the_better_rated_is_preferred_the_more_clearly_the_further_they_are_apart() -> None:
    best, middle, worst = said("29 kg", rating=5), said("29", rating=3), said("3 kg", rating=1)
    assert sorted(preferred(best, middle, worst)) == [
        ("29", "3 kg", 0.5, "ratings"), ("29 kg", "29", 0.5, "ratings"), ("29 kg", "3 kg", 1.0, "ratings"),
    ]  # fmt: skip
    assert preferred(best, said("29", rating=5)) == []
    assert preferred(best, said("3 kg", question="And the Caddis?", rating=1)) == []


def test_questions_that_differ_in_case_and_spaces_are_one() -> None:
    assert len(preferred(said("29 kg", rating=5), said("3 kg", question=f" {ORRIN.upper()}  ", rating=1))) == 1


def test_what_one_edited_into_the_other_is_told_by_the_edit_not_by_ratings() -> None:
    records = said("28 kg", edited_answer="29 kg", rating=4, rater="a"), said("29 kg", rating=1, rater="b")
    assert preferred(*records) == [("29 kg", "28 kg", 1.0, "edit")]


answers = st.sampled_from(["29 kg", "28 kg", "29", "heavy"])
one_said = st.builds(
    lambda **what: what,
    question=st.sampled_from([ORRIN, "Which colour?"]),
    answer=answers,
    rater=st.sampled_from([None, "a", "b", "c"]),
    edited_answer=st.none() | answers,
    opinion=st.sampled_from([{"thumb": "up"}, {"thumb": "down"}, {"rating": 1}, {"rating": 3}, {"rating": 4}, {"rating": 5}, {}]),
).filter(lambda what: what["opinion"] or what["edited_answer"])
rankings = st.builds(
    lambda answers, **what: Ranking.of(answers=tuple(answers), **what),
    answers=st.lists(answers, min_size=2, max_size=4, unique=True),
    question=st.sampled_from([ORRIN, "Which colour?"]),
    rater=st.sampled_from([None, "a", "b", "c"]),
)
many = st.lists(
    rankings | one_said.map(lambda what: said(**{k: v for k, v in what.items() if k != "opinion"}, **what["opinion"])),
    max_size=12,
    unique_by=lambda record: record.id,
)


@settings(deadline=None)
@given(many, st.randoms())
def test_the_order_makes_no_difference_but_of_what_one_person_said(told: list[Said], random: Any) -> None:
    turn: dict[Any, list[Said]] = {}
    for record in told:
        turn.setdefault(record.rater, []).append(record)
    mixed = [rater for rater, own in turn.items() for _ in own]
    random.shuffle(mixed)
    waiting = {rater: iter(own) for rater, own in turn.items()}
    assert learn([next(waiting[rater]) for rater in mixed]) == learn(told)


@settings(deadline=None)
@given(many, st.integers(1, 6))
def test_nobody_is_heard_on_more_answers_than_the_cap_and_the_others_are_heard_as_before(told: list[Said], cap: int) -> None:
    kept = heard(told, cap)
    assert [record for record in told if record in kept] == kept
    for rater in {record.rater for record in told}:
        own = [record for record in kept if record.rater == rater]
        assert len(spoken_of(own)) <= cap
        if len(spoken_of([record for record in told if record.rater == rater])) <= cap:
            assert own == [record for record in told if record.rater == rater]
    others = [record for record in told if record.rater != "a"]
    assert [record for record in kept if record.rater != "a"] == heard(others, cap)
    lessons = learn(kept)
    for rater in ("a", "b", "c"):  # however much they say, so many rows of each kind rest on it
        mine = {record.id for record in kept if record.rater == rater}
        for rows in (lessons.examples, lessons.ratings, lessons.scores):
            assert sum(bool(mine & set(lessons.origins[row.id])) for row in rows) <= cap


@settings(deadline=None)
@given(many)
def test_what_is_disputed_teaches_nothing_and_what_is_settled_teaches_one_side(told: list[Said]) -> None:
    disputes = contradicting(*told)
    lessons = learn(told)
    judged: list[Any] = [*lessons.ratings, *lessons.scores]
    rated_ = {(row.question, row.answer) for row in judged}
    pairs = {
        (pair.question, frozenset((pair.chosen, pair.rejected))) for pair in lessons.preferences if pair.judged_by != "ratings"
    }
    for dispute in disputes:
        assert dispute.good and dispute.bad
        if dispute.other is None:
            assert (dispute.question, dispute.answer) not in rated_
            (row,) = [
                r
                for r in learn(told, {dispute.id: "bad"}).ratings
                if (r.question, r.answer) == (dispute.question, dispute.answer)
            ]
            assert (row.desirable, row.raters) == (False, dispute.bad)
        else:
            assert (dispute.question, frozenset((dispute.answer, dispute.other))) not in pairs
            sides = learn(told, {dispute.id: "good"}).preferences
            assert (dispute.answer, dispute.other) in {
                (pair.chosen, pair.rejected) for pair in sides if pair.question == dispute.question
            }
    assert len({dispute.id for dispute in disputes}) == len(disputes)


@settings(deadline=None)
@given(many)
def test_no_lesson_contradicts_another_and_each_rests_on_somebody(told: list[Said]) -> None:
    lessons = learn(told)
    ordered = {(pair.question, pair.chosen, pair.rejected) for pair in lessons.preferences}
    assert len(ordered) == len(lessons.preferences)
    assert not {(question, worse, better) for question, better, worse in ordered} & ordered
    for pair in lessons.preferences:
        assert pair.chosen != pair.rejected
        assert 0 < pair.margin <= 1
        about = [record for record in told if record.question == pair.question]
        opinions = [record for record in about if isinstance(record, FeedbackRecord)]
        ranked = {two for record in about if isinstance(record, Ranking) for two in combinations(record.answers, 2)}
        edits = {(record.edited_answer, record.answer) for record in opinions}
        scored = {record.answer for record in opinions if record.rating is not None}
        if pair.judged_by == "ratings":
            assert {pair.chosen, pair.rejected} <= scored
        else:
            assert (pair.chosen, pair.rejected) in (edits if pair.judged_by == "edit" else ranked)
    assert len({(row.question, row.answer) for row in lessons.ratings}) == len(lessons.ratings)
    assert len({row.question for row in lessons.examples}) == len(lessons.examples)
    edited = {getattr(record, "edited_answer", None) for record in told}
    assert all(row.answer in edited for row in lessons.examples)
    assert len({row.id for row in lessons.rows}) == len(lessons.rows)
    ids = {record.id for record in told}
    assert all(lessons.origins[row.id] and ids.issuperset(lessons.origins[row.id]) for row in lessons.rows)


@settings(deadline=None)
@given(st.lists(st.tuples(answers, st.integers(1, 5)), max_size=12))
def test_ratings_of_different_people_are_counted_and_averaged(given_: list[tuple[str, int]]) -> None:
    told = [said(answer, rating=rating, rater=f"r{n}") for n, (answer, rating) in enumerate(given_)]
    scores = {answer: [rating for other, rating in given_ if other == answer] for answer, _ in given_}
    counts = {answer: (sum(s >= 4 for s in own), sum(s <= 2 for s in own)) for answer, own in scores.items()}
    agreed = {answer: both for answer, both in counts.items() if not all(both)}
    assert rated(*told) == {answer: (good > 0, good + bad) for answer, (good, bad) in agreed.items() if good or bad}
    means = {answer: math.fsum(own) / len(own) for answer, own in scores.items() if answer in agreed}
    apart = {
        (one, other): pytest.approx((means[one] - means[other]) / 4)
        for one, other in permutations(means, 2)
        if means[one] - means[other] > 1e-9
    }
    assert {(chosen, rejected): margin for chosen, rejected, margin, _ in preferred(*told)} == apart


words = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20).filter(str.strip)


@settings(deadline=None)
@given(words, words, words)
def test_every_edit_that_differs_gives_its_pair_and_its_row(question: str, answer: str, edit: str) -> None:
    told = taught(said(answer, question, edited_answer=edit))
    differs = answer.strip() != edit.strip()
    assert [(pair.chosen, pair.rejected) for pair in told.preferences] == ([(edit.strip(), answer.strip())] if differs else [])
    assert [row.answer for row in told.examples] == ([edit.strip()] if differs else [])


# --- kept -----------------------------------------------------------------------------------------------------------------


def test_what_is_known_is_kept_once_and_every_project_has_its_own(db: Database, project: str) -> None:
    one, other = said(thumb="up"), said(rating=2, rater="a")
    assert feedback.save(db, project, [one, one]) == 1
    assert feedback.save(db, project, [other, one]) == 1
    assert feedback.save(db, project, []) == 0
    assert feedback.load(db, project) == [one, other]  # in the order in which it was said
    assert feedback.load(db, f"{project}-2") == []
    assert feedback.save(db, f"{project}-2", [one]) == 1


def test_personal_data_is_replaced_and_the_rater_is_a_hash(db: Database, project: str) -> None:
    told = said("Ask ada@x.example", question="Who?", edited_answer="Ask Bo", comment="Bo knows", rater="ada@x.example")
    kept = feedback.private(told, lambda text: text.replace("ada@x.example", "<EMAIL_ADDRESS>").replace("Bo", "<PERSON>"))
    assert (kept.answer, kept.edited_answer, kept.comment) == ("Ask <EMAIL_ADDRESS>", "Ask <PERSON>", "<PERSON> knows")
    assert kept.id != told.id
    assert kept.rater == feedback.private(said(thumb="up", rater="ada@x.example"), str).rater  # all that one person said is found
    assert "ada" not in kept.model_dump_json()
    feedback.save(db, project, [kept])
    with db.session() as session:
        assert session.scalars(sa.select(FeedbackRow.rater).where(FeedbackRow.project == project)).all() == [kept.rater]


def nobody(ids: Any) -> list[ServedAnswer]:
    raise LabelError(f"no answer {ids[0]!r} was given")


def read_lines(path: Path) -> list[Any]:
    return [line.record for line in read_feedback(path, nobody)]


# --- files ----------------------------------------------------------------------------------------------------------------


def test_jsonl_and_csv_hold_the_same(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"question": ORRIN, "answer": "28 kg", "edited_answer": "29 kg", "rater": "ada", "comment": 'It says "29", no?'},
        {"question": ORRIN, "answer": "29 kg", "rating": 5, "system_id": "system-1"},
        {"question": ORRIN, "answer": "3 kg", "thumb": "down"},
    ]
    (tmp_path / "f.jsonl").write_text("\n".join(json.dumps(row) for row in rows) + "\n\n")
    columns = ["Question", "answer", "edited_answer", "rater", "comment", "rating", "system_id", "thumb"]
    quoted = [['"' + str(row.get(c.lower(), "")).replace('"', '""') + '"' for c in columns] for row in rows]
    (tmp_path / "f.csv").write_text("\n".join(";".join(cells) for cells in [columns, *quoted]))
    read = read_lines(tmp_path / "f.jsonl")
    assert read == [FeedbackRecord.of(**row) for row in rows]
    assert read_lines(tmp_path / "f.csv") == read


BAD = {
    '{"question": "Q", "answer": "a", "rating": 6}': "rating should be less than or equal to 5",
    '{"question": "Q", "answer": "a", "rating": true}': "rating should be a valid integer",
    '{"question": "Q", "answer": "a", "raing": 3}': "has raing, which no feedback has; its fields are question, answer, ",
    '{"question": " ", "answer": "a", "thumb": "up"}': "question is empty",
    '{"question": "Q", "thumb": "up"}': "answer is missing",
    '{"question": "Q", "answer": "a"}': "it says nothing of the answer",
    '{"question": "Q", "answer": "a\\u0000", "thumb": "up"}': "holds NUL",
    '["Q", "a", "up"]': "is no JSON object",
    "Q, a, up": "is no JSON object",
}


def test_every_bad_line_is_told_with_its_number_and_what_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "f.jsonl"
    path.write_text("\n".join(['{"question": "Q", "answer": "a", "thumb": "up"}', "", *BAD]))
    with pytest.raises(LabelError) as refused:
        read_lines(path)
    message = str(refused.value)
    assert message.startswith(f"nothing was imported of {path}, {len(BAD)} of its {len(BAD) + 1} rows cannot be used: ")
    for number, says in enumerate(BAD.values(), 3):
        assert f"line {number}: {says}" in message
    path.write_text("x\n" * 30)
    with pytest.raises(LabelError, match=r"line 10: is no JSON object; write one object a line; and 20 more$"):
        read_lines(path)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        (
            "f.csv",
            b"question,answer,rating\nQ,a,5\nQ,a,four\n",
            "1 of its 2 rows cannot be used: line 3: rating should be a valid",
        ),
        (
            "f.csv",
            b"question,thumb\nQ,up\n",
            "needs the columns question and answer, or answer_id, or ranking, and has only question",
        ),
        ("f.csv", b"", "is empty"),
        ("f.jsonl", b"\n\n", "is empty"),
        ("f.jsonl", b"\xff\xfe", "is UTF-16, not UTF-8; convert it"),
    ],
)
def test_a_file_that_cannot_be_used_says_why(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(LabelError, match=says):
        read_lines(tmp_path / name)


# --- the command ----------------------------------------------------------------------------------------------------------


def csift(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["feedback", "import", *arguments])


def flat(result: Result) -> str:
    return " ".join(result.stdout.split())


@pytest.fixture
def shop(db: Database, project: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the project's configuration."""
    traffic = '[drift]\nreference = "traffic.jsonl"\ncurrent = "traffic.jsonl"\n'
    (tmp_path / "csift.toml").write_text(
        f'project = "{project}"\n[corpus]\nsources = [{{location = "docs"}}]\nscrub = ["EMAIL_ADDRESS"]\n{traffic}'
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_import_says_what_is_new_and_what_it_becomes(db: Database, project: str, shop: Path) -> None:
    rows = [
        {"question": ORRIN, "answer": "28 kg", "edited_answer": "29 kg"},
        {"question": ORRIN, "answer": "Mail ada@tarnbeck.example", "thumb": "down", "rater": "bo"},
        {"question": ORRIN, "answer": "29 kg", "rating": 5},
    ]
    (shop / "f.jsonl").write_text("\n".join(json.dumps(row) for row in rows[:2]))
    first = csift("f.jsonl")
    assert first.exit_code == 0, first.stderr
    assert "2 rows of f.jsonl: 2 new, 0 known. Scrubbed: " in flat(first)
    assert (
        f"All feedback of {project}, 2 rows, teaches 1 training row, 1 preference pair, 1 rated answer (0 good) and 0 "
        "scored answers." in flat(first)
    )
    (shop / "f.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    again = flat(csift("f.jsonl"))
    assert "3 rows of f.jsonl: 1 new, 2 known." in again
    assert "3 rows, teaches 1 training row, 1 preference pair, 2 rated answers (1 good) and 1 scored answer." in again
    kept = feedback.load(db, project)
    assert {record.answer for record in kept} == {"28 kg", "Mail <EMAIL_ADDRESS>", "29 kg"}
    assert [str(record.rater)[:6] for record in kept if record.rater] == ["rater-"]


def test_nothing_of_a_file_with_a_bad_line_is_imported(db: Database, project: str, shop: Path) -> None:
    (shop / "f.jsonl").write_text(
        '{"question": "Q", "answer": "a", "thumb": "up"}\n{"question": "Q", "answer": "a", "rating": 9}'
    )
    result = csift("f.jsonl")
    assert (result.exit_code, result.stdout) == (1, "")
    (line,) = result.stderr.splitlines()
    assert "1 of its 2 rows cannot be used: line 2: rating should be less than or equal to 5" in line
    assert feedback.load(db, project) == []
    assert "cannot read none.jsonl: No such file" in csift("none.jsonl").stderr


# --- in a dataset ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def team(db: Database, project: str, words: Any) -> Team:
    """The project of the test."""
    return Team(db, project, words)


CADDIS = "What weighs the Caddis in kg?"
SAID = [
    said("28 kg", edited_answer="29 kg", rater="a"),
    said("28 kg", thumb="down", rater="b"),
    said("heavy", CADDIS, rating=2),
    said("8 kg", CADDIS, rating=5),
    said("grey", "Of which colour is the grey Petrel?", thumb="up"),  # c.md is judged on
    said("29 kg", "What asks the standard for, 29 kg at most?", edited_answer="at most 29 kg"),  # may not be trained on
    said("6 kg", "How heavy is the Petrel?", edited_answer="5 kg"),  # retrieves a training document, and is an eval question
    said("5 kg", "How heavy is the Petrel?", thumb="up"),
]


def test_feedback_goes_into_a_dataset_with_documents_and_chunks_and_what_may_not_is_refused(team: Team) -> None:
    made = team.build([], feedback=learn(SAID))
    texts = {chunk.id: chunk.text for chunk in team.chunks}

    (row,) = [row for row in load_examples(team.db, made) if row.source == "feedback"]
    assert (row.question, row.answer, row.document_id) == (ORRIN, "29 kg", "a.md")
    assert [texts[id_] for id_ in row.gold_chunk_ids] == ["The Orrin weighs 29 kg."]
    pairs = {(pair.question, pair.chosen, pair.rejected): pair for pair in load_preferences(team.db, made)}
    assert pairs.keys() == {(ORRIN, "29 kg", "28 kg"), (CADDIS, "8 kg", "heavy")}
    assert pairs[ORRIN, "29 kg", "28 kg"].document_id == "a.md"
    assert pairs[CADDIS, "8 kg", "heavy"].margin == 0.75
    ratings = {(row.question, row.answer): row for row in load_ratings(team.db, made)}
    assert {key: row.desirable for key, row in ratings.items()} == {
        (ORRIN, "28 kg"): False, (CADDIS, "heavy"): False, (CADDIS, "8 kg"): True,
    }  # fmt: skip
    documents = {chunk.id: chunk.document_id for chunk in team.chunks}
    opinions: list[Any] = [*pairs.values(), *ratings.values()]
    for opinion in opinions:
        assert len(opinion.context_chunk_ids) == 2
        assert {documents[id_] for id_ in opinion.context_chunk_ids} <= {"a.md", "b.md"}
    assert ratings[CADDIS, "8 kg"].document_id == "b.md"
    assert "The Caddis weighs 8 kg." in [texts[id_] for id_ in ratings[CADDIS, "8 kg"].context_chunk_ids]
    assert made.sources["feedback"] == 1
    assert (set(made.preference_ids), set(made.rating_ids)) == (
        {pair.id for pair in pairs.values()}, {row.id for row in ratings.values()},
    )  # fmt: skip

    refused = load_rejections(team.db, made.id)
    assert sorted((entry.reason, entry.document_id) for entry in refused) == [
        ("leak: copy", "b.md"), ("leak: copy", "b.md"), ("leak: copy", "b.md"), ("may not be trained on", "bought.md"),
        ("may not be trained on", "bought.md"), ("may not be trained on", "c.md"),
    ]  # fmt: skip
    assert {entry.answer for entry in refused} == {""}
    assert made.decontaminated == {"leak: copy": 3}


def test_an_answer_that_is_preferred_can_be_read_from_the_chunks_beside_it(team: Team) -> None:
    asked = "Is the Orrin red?"  # what is retrieved does not hold the answer
    made = team.build([], feedback=taught(said("blue", asked, edited_answer="a lid"), said("a lid", asked, thumb="up")))
    texts = {chunk.id: chunk.text for chunk in team.chunks}
    (pair,), (rating,) = load_preferences(team.db, made), load_ratings(team.db, made)
    assert "It has a lid." in [texts[id_] for id_ in pair.context_chunk_ids]
    hits = [hit.chunk_id for hit in ByWords(team.chunks).search([asked], 8)[0] if hit.document_id in ("a.md", "b.md")]
    assert list(rating.context_chunk_ids) == hits[:2]
    assert "It has a lid." not in [texts[id_] for id_ in rating.context_chunk_ids]


def test_any_change_of_what_people_said_is_another_version_and_the_order_is_none(team: Team) -> None:
    first = team.build([], feedback=learn(SAID))
    assert team.build([], feedback=learn(SAID[::-1])) == first
    assert team.build([], feedback=learn(SAID[:4])) == first  # the rest is refused
    others = [team.build([], feedback=learn(SAID[:n])) for n in (0, 1, 2, 3)]
    assert len({first.id, *(other.id for other in others)}) == 5
    assert others[0].rating_ids == ()


def test_what_was_edited_is_not_replayed_once_the_feedback_is_gone(team: Team) -> None:
    team.build([], feedback=learn(SAID[:1]))
    made = team.build([], DatasetConfig(refusals=0, replay=1.0))
    assert made.sources == {"human": 2, "synthetic": 0, "feedback": 0}


def test_a_persons_label_wins_over_an_edit_of_the_same_question(team: Team) -> None:
    labels = LabelSet(snapshot_id=team.snapshot.id, labels=(*LABELS, label("o", ORRIN, "29 kg", "a.md", "train")), retired=())
    made = team.build([], feedback=taught(said("3", edited_answer="28 kg")), labels=labels)
    assert (ORRIN, "29 kg") in team.rows(made)
    assert (ORRIN, "28 kg") not in team.rows(made)


# --- trained on -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def splits(team: Team) -> Team:
    """The project, its documents' splits stored as registering labels does."""
    with team.db.session() as session:
        rows = [{"project": team.project, "document_id": f"{name}.md", "split": SPLITS[f"{name}.md"]} for name in DOCUMENTS]
        session.execute(sa.insert(DocumentRow), rows)
    return team


def test_kto_takes_what_people_said_and_where_they_said_nothing_the_two_sides_of_pairs(
    splits: Team, tmp_path: Path, tiny_model: BaseModel
) -> None:
    team = splits
    feedback.save(team.db, team.project, SAID)
    made = team.build([], feedback=learn(feedback.load(team.db, team.project)))

    data = learned_from(team.project, made)

    assert sorted((row.completion, row.desirable) for row in data.ratings) == [
        ("28 kg", False), ("29 kg", True), ("8 kg", True), ("heavy", False),
    ]  # fmt: skip
    people = set(made.rating_ids)
    assert {row.completion for row in data.ratings if row.id in people} == {"28 kg", "8 kg", "heavy"}
    assert all("Caddis" in str(row.prompt) for row in data.ratings if row.completion == "heavy")

    config = TrainingConfig(methods=("kto",), max_steps=2, batch_size=2, checkpoint_every=2, max_length=256, preference_rate=1e-2)
    adapter = train(Run(tiny_model, data, made.id, config, LocalStore(tmp_path / "artifacts"), tmp_path / "work", 2))
    assert (adapter.stages, adapter.metrics["steps"]) == (("kto",), 2)


def test_advice_counts_what_people_said(splits: Team, tiny_model: BaseModel, tmp_path: Path) -> None:
    empty = EvalSet(id="evalset-1", project=splits.project, life=1, items=(), retired=(), previous_id=None)
    with splits.db.session() as session:
        row = {"id": empty.id, "project": empty.project, "record": empty.model_dump(mode="json")}
        session.execute(insert(EvalSetRow).values(row).on_conflict_do_nothing())
    made = splits.build([], feedback=learn(SAID))
    found = _inventory(configure(tmp_path, splits.project, tiny_model.path), made)
    assert (found.human_pairs, found.human_preferences, found.thumbs_up, found.thumbs_down) == (3, 2, 1, 2)
