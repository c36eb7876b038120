"""What people say of answers: read from files, kept once, learnt from by rule, taken into datasets and trained on."""

import json
import math
from itertools import permutations
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
from csift.feedback import learn
from csift.feedback_files import read_feedback
from csift.models import BaseModel
from csift.schemas import EvalSet, FeedbackRecord, HumanFeedback, LabelSet
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


def taught(*records: FeedbackRecord) -> HumanFeedback:
    return learn(records)


def rated(*records: FeedbackRecord) -> dict[str, tuple[bool, int]]:
    """Answer → whether it is one to give, by how many people."""
    return {row.answer: (row.desirable, row.raters) for row in learn(records).ratings}


def preferred(*records: FeedbackRecord) -> list[tuple[str, str, float, str]]:
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


def test_opposite_edits_are_decided_by_the_majority() -> None:
    there, back = said("28 kg", edited_answer="29 kg", rater="a"), said("29 kg", edited_answer="28 kg", rater="b")
    assert taught(there, back) == HumanFeedback()
    also = said("28 kg", edited_answer="29 kg", rater="c")
    assert preferred(there, back, also) == [("29 kg", "28 kg", 1.0, "edit")]


@pytest.mark.parametrize(
    ("what", "desirable"),
    [({"thumb": "up"}, True), ({"rating": 5}, True), ({"rating": 4}, True), ({"rating": 3}, None), ({"rating": 2}, False),
     ({"rating": 1}, False), ({"thumb": "down"}, False), ({"thumb": "up", "rating": 3}, True)],
)  # fmt: skip
def test_thumbs_and_ratings_say_whether_an_answer_is_one_to_give(what: dict[str, Any], desirable: bool | None) -> None:
    assert rated(said(**what)) == ({} if desirable is None else {"28 kg": (desirable, 1)})


def test_raters_who_disagree_are_decided_by_the_majority_and_a_tie_says_nothing() -> None:
    up, down, also = said(thumb="up", rater="a"), said(rating=1, rater="b"), said(thumb="down", rater="c")
    assert rated(up, down) == {}
    assert rated(up, down, also) == {"28 kg": (False, 3)}
    assert rated(up, down, said(rating=3, rater="d")) == {}


def test_one_person_has_one_voice() -> None:
    loud = [said(thumb="up", rater="a", comment=str(n)) for n in range(9)]
    down = [said(thumb="down", rater="b"), said(thumb="down", rater="c")]
    assert rated(*loud, *down) == {"28 kg": (False, 3)}
    assert rated(said(thumb="up", rater="a"), said(thumb="down", rater="a", comment="on second thoughts")) == {}
    many = [said("29 kg", rating=5, rater="a", comment=str(n)) for n in range(9)]
    pair = ("29 kg", "28 kg", (3.0 - 2.0) / 4, "ratings")  # a gives 5 and b 1, whatever a repeats
    assert preferred(*many, said("29 kg", rating=1, rater="b"), said("28 kg", rating=2, rater="c")) == [pair]


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
records = st.builds(
    lambda **what: what,
    question=st.sampled_from([ORRIN, "Which colour?"]),
    answer=answers,
    rater=st.sampled_from([None, "a", "b", "c"]),
    edited_answer=st.none() | answers,
    opinion=st.sampled_from([{"thumb": "up"}, {"thumb": "down"}, {"rating": 1}, {"rating": 3}, {"rating": 4}, {"rating": 5}, {}]),
).filter(lambda what: what["opinion"] or what["edited_answer"])
many = st.lists(
    records.map(lambda what: said(**{k: v for k, v in what.items() if k != "opinion"}, **what["opinion"])), max_size=9
)


@settings(deadline=None)
@given(many, st.randoms())
def test_order_and_repetition_make_no_difference(told: list[FeedbackRecord], random: Any) -> None:
    again = [*told, *told[:3]]
    random.shuffle(again)
    assert learn(again) == learn(told)


@settings(deadline=None)
@given(many)
def test_no_lesson_contradicts_another_and_each_rests_on_somebody(told: list[FeedbackRecord]) -> None:
    lessons = learn(told)
    ordered = {(pair.question, pair.chosen, pair.rejected) for pair in lessons.preferences}
    assert len(ordered) == len(lessons.preferences)
    assert not {(question, worse, better) for question, better, worse in ordered} & ordered
    for pair in lessons.preferences:
        assert pair.chosen != pair.rejected
        assert 0 < pair.margin <= 1
        about = [record for record in told if record.question == pair.question]
        edits = {(record.edited_answer, record.answer) for record in about}
        scored = {record.answer for record in about if record.rating is not None}
        assert (pair.chosen, pair.rejected) in edits if pair.judged_by == "edit" else {pair.chosen, pair.rejected} <= scored
    assert len({(row.question, row.answer) for row in lessons.ratings}) == len(lessons.ratings)
    assert len({row.question for row in lessons.examples}) == len(lessons.examples)
    assert all(any(record.edited_answer == row.answer for record in told) for row in lessons.examples)
    assert len({row.id for row in lessons.rows}) == len(lessons.rows)


@settings(deadline=None)
@given(st.lists(st.tuples(answers, st.integers(1, 5)), max_size=12))
def test_ratings_of_different_people_are_counted_and_averaged(given_: list[tuple[str, int]]) -> None:
    told = [said(answer, rating=rating, rater=f"r{n}") for n, (answer, rating) in enumerate(given_)]
    scores = {answer: [rating for other, rating in given_ if other == answer] for answer, _ in given_}
    counts = {answer: (sum(s >= 4 for s in own), sum(s <= 2 for s in own)) for answer, own in scores.items()}
    assert rated(*told) == {answer: (good > bad, good + bad) for answer, (good, bad) in counts.items() if good != bad}
    means = {answer: math.fsum(own) / len(own) for answer, own in scores.items()}
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
    assert feedback.load(db, project) == sorted([one, other], key=lambda record: record.id)
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


# --- files ----------------------------------------------------------------------------------------------------------------


def test_jsonl_and_csv_hold_the_same(tmp_path: Path) -> None:
    rows = [
        {"question": ORRIN, "answer": "28 kg", "edited_answer": "29 kg", "rater": "ada", "comment": 'It says "29", no?'},
        {"question": ORRIN, "answer": "29 kg", "rating": 5, "system_id": "system-1"},
        {"question": ORRIN, "answer": "3 kg", "thumb": "down"},
    ]
    (tmp_path / "f.jsonl").write_text("\n".join(json.dumps(row) for row in rows) + "\n\n")
    columns = ["Question", "answer", "edited_answer", "rater", "comment", "rating", "system_id", "thumb"]
    quoted = [['"' + str(row.get(c.lower(), "")).replace('"', '""') + '"' for c in columns] for row in rows]
    (tmp_path / "f.csv").write_text("\n".join(";".join(cells) for cells in [columns, *quoted]))
    read = read_feedback(tmp_path / "f.jsonl")
    assert read == [FeedbackRecord.of(**row) for row in rows]
    assert read_feedback(tmp_path / "f.csv") == read


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
        read_feedback(path)
    message = str(refused.value)
    assert message.startswith(f"nothing was imported of {path}, {len(BAD)} of its {len(BAD) + 1} rows cannot be used: ")
    for number, says in enumerate(BAD.values(), 3):
        assert f"line {number}: {says}" in message
    path.write_text("x\n" * 30)
    with pytest.raises(LabelError, match=r"line 10: is no JSON object; write one object a line; and 20 more$"):
        read_feedback(path)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        (
            "f.csv",
            b"question,answer,rating\nQ,a,5\nQ,a,four\n",
            "1 of its 2 rows cannot be used: line 3: rating should be a valid",
        ),
        ("f.csv", b"question,thumb\nQ,up\n", "needs the columns question and answer, and has only question, thumb"),
        ("f.csv", b"", "is empty"),
        ("f.jsonl", b"\n\n", "is empty"),
        ("f.jsonl", b"\xff\xfe", "is UTF-16, not UTF-8; convert it"),
    ],
)
def test_a_file_that_cannot_be_used_says_why(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(LabelError, match=says):
        read_feedback(tmp_path / name)


# --- the command ----------------------------------------------------------------------------------------------------------


def csift(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["feedback", "import", *arguments])


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
    assert "2 rows of f.jsonl: 2 new, 0 known. Scrubbed: " in first.stdout
    assert (
        f"All feedback of {project}, 2 rows, teaches 1 training row, 1 preference pair and 1 rated answer (0 good)."
        in first.stdout
    )
    (shop / "f.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    again = csift("f.jsonl").stdout
    assert "3 rows of f.jsonl: 1 new, 2 known." in again
    assert "3 rows, teaches 1 training row, 1 preference pair and 2 rated answers (1 good)." in again
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
    for opinion in (*pairs.values(), *ratings.values()):
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
