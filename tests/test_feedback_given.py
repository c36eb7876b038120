"""Feedback by answer id: given from Python and in files, the last word, rankings, disputes and who settles them."""

import json
from pathlib import Path
from typing import Any

import pytest
from answers import ORRIN, served
from typer.testing import CliRunner, Result

from csift import feedback
from csift.config import FeedbackConfig
from csift.db import Database
from csift.exceptions import LabelError
from csift.schemas import FeedbackRecord, HumanFeedback, Ranking
from flows.cli import app
from flows.cli import feedback as command  # noqa: F401 - registers it


def give(db: Database, project: str, answer: str, **what: Any) -> feedback.Given:
    return feedback.give(db, project, answer, scrub=str, **what)


def lessons(db: Database, project: str, per_rater: int = 50) -> HumanFeedback:
    return feedback.lessons(db, project, FeedbackConfig(per_rater=per_rater))


def test_what_is_given_of_an_answer_is_kept_once_and_the_last_word_holds(db: Database, project: str) -> None:
    answer = served(db, project)
    first, again = (give(db, project, answer, thumb="up", rater="ada") for _ in range(2))
    assert (first.new, again.new, first.id) == (True, False, again.id)
    give(db, project, answer, thumb="down", rater="ada")
    assert [row.desirable for row in lessons(db, project).ratings] == [False]
    give(db, project, answer, thumb="up", rater="ada")  # known, and the last word again
    assert [row.desirable for row in lessons(db, project).ratings] == [True]
    (kept,) = {record.question for record in feedback.load(db, project)}
    assert kept == ORRIN


def test_personal_data_is_replaced_before_anything_is_kept(db: Database, project: str) -> None:
    best, worst = served(db, project, "ask Ada"), served(db, project, "28 kg")
    feedback.rank(db, project, [best, worst], rater="Bo", comment="Ada knows", scrub=lambda text: text.replace("Ada", "<PERSON>"))
    (kept,) = feedback.load(db, project)
    assert isinstance(kept, Ranking)
    assert (kept.answers, kept.comment) == (("ask <PERSON>", "28 kg"), "<PERSON> knows")
    assert "Ada" not in kept.model_dump_json() and "Bo" not in kept.model_dump_json()
    with pytest.raises(LabelError, match="names an answer twice"):
        feedback.rank(db, project, [best, worst], scrub=lambda _: "<PERSON>")


def test_what_cannot_be_said_is_refused_in_words(db: Database, project: str) -> None:
    answer, other = served(db, project), served(db, project, "8 kg", "What weighs the Caddis?")
    refused: dict[str, Any] = {
        "no answer 'answer-0' was given": lambda: give(db, project, "answer-0", thumb="up"),
        "no answer .* was given in elsewhere": lambda: give(db, "elsewhere", answer, thumb="up"),
        "it says nothing of the answer": lambda: give(db, project, answer, comment="hm"),
        "rating should be less than or equal to 5": lambda: give(db, project, answer, rating=6),
        "to different questions": lambda: feedback.rank(db, project, [answer, other], scrub=str),
        "answers needs two or more": lambda: feedback.rank(db, project, [answer], scrub=str),
        "names an answer twice": lambda: feedback.rank(db, project, [answer, answer], scrub=str),
    }
    for says, act in refused.items():
        with pytest.raises(LabelError, match=says):
            act()
    assert feedback.load(db, project) == []


def test_a_rater_is_heard_on_as_many_answers_as_the_configuration_says_the_last_ones(db: Database, project: str) -> None:
    for number in range(5):
        give(db, project, served(db, project, f"{number} kg", f"Question {number}?"), thumb="up", rater="loud")
    give(db, project, served(db, project, "9 kg", "Question 9?"), thumb="down", rater="quiet")
    assert {row.answer for row in lessons(db, project, per_rater=2).ratings} == {"3 kg", "4 kg", "9 kg"}
    assert len(lessons(db, project).ratings) == 6


# --- files and the command ------------------------------------------------------------------------------------------------


@pytest.fixture
def shop(db: Database, project: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the project's configuration."""
    (tmp_path / "csift.toml").write_text(
        f'project = "{project}"\n[corpus]\nsources = [{{location = "docs"}}]\nscrub = []\n'
        '[drift]\nreference = "t.jsonl"\ncurrent = "t.jsonl"\n[feedback]\nper_rater = 4\n'
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


def csift(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["feedback", *arguments])


def flat(result: Result) -> str:
    assert result.exit_code == 0, result.stderr
    return " ".join(result.stdout.split())


def test_files_name_answers_by_id_and_rank_several(db: Database, project: str, shop: Path) -> None:
    best, worst = served(db, project, "29 kg"), served(db, project, "28 kg")
    rows: list[dict[str, Any]] = [
        {"ranking": [best, worst], "rater": "ada", "comment": "closer"},
        {"answer_id": worst, "rating": 2, "rater": "bo"},
        {"question": ORRIN, "ranking": ["29 kg", "3 kg"], "rater": "cy"},
    ]
    (shop / "f.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    assert "3 rows of f.jsonl: 3 new, 0 known" in flat(csift("import", "f.jsonl"))
    columns = ["answer_id", "question", "ranking", "rating", "rater", "comment"]
    cells = [[json.dumps(row[c]) if c == "ranking" and c in row else str(row.get(c, "")) for c in columns] for row in rows]
    quoted = [",".join('"' + cell.replace('"', '""') + '"' for cell in row) for row in [columns, *cells]]
    (shop / "f.csv").write_text("\n".join(quoted))
    assert "3 rows of f.csv: 0 new, 3 known" in flat(csift("import", "f.csv"))

    ranked, rated, alone = feedback.load(db, project)
    assert isinstance(ranked, Ranking) and ranked.answers == ("29 kg", "28 kg")
    assert isinstance(rated, FeedbackRecord) and (rated.answer, rated.system_id) == ("28 kg", "system-1")
    assert isinstance(alone, Ranking) and alone.answers == ("29 kg", "3 kg")
    pairs = {(pair.chosen, pair.rejected, pair.judged_by) for pair in lessons(db, project).preferences}
    assert pairs == {("29 kg", "28 kg", "ranking"), ("29 kg", "3 kg", "ranking")}


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"ranking": ["answer-0", "answer-1"]}, "no answer 'answer-0' was given"),
        ({"ranking": "answer-0"}, "has a ranking that is no list of texts"),
        ({"ranking": [1, 2]}, "has a ranking that is no list of texts"),
        ({"ranking": []}, "ranks fewer than two answers"),
        ({"question": "Q", "ranking": ["a"]}, "answers needs two or more"),
        ({"question": "Q", "ranking": ["a", "a"]}, "a ranking names an answer twice"),
        ({"question": "Q", "ranking": ["a", "b"], "thumb": "up"}, "has thumb beside a ranking"),
        ({"question": "Q", "ranking": ["a", "b\u0000"]}, "holds NUL"),
        ({"answer_id": "answer-0", "thumb": "up"}, "no answer 'answer-0' was given"),
        ({"answer_id": "answer-0", "question": "Q", "thumb": "up"}, "has answer_id and question"),
    ],
)
def test_a_bad_line_about_served_answers_is_told(db: Database, project: str, shop: Path, row: dict[str, Any], says: str) -> None:
    (shop / "f.jsonl").write_text(json.dumps(row))
    result = csift("import", "f.jsonl")
    assert (result.exit_code, result.stdout) == (1, "")
    assert f"line 1: {says}" in result.stderr and len(result.stderr.splitlines()) == 1
    assert feedback.load(db, project) == []


def test_disputes_are_listed_and_settled(db: Database, project: str, shop: Path) -> None:
    assert f"Nobody contradicts anybody in the feedback of {project}." in flat(csift("disputes"))
    answer = served(db, project)
    give(db, project, answer, thumb="up", rater="ada", comment="as on the plate")
    (shop / "f.jsonl").write_text(json.dumps({"answer_id": answer, "rating": 1, "rater": "bo"}))
    assert "1 dispute to settle, until then not used" in flat(csift("import", "f.jsonl"))
    assert lessons(db, project).ratings == ()

    (found,) = feedback.disputes(db, project)
    listed = flat(csift("disputes"))
    for part in (found.id, ORRIN, "28 kg", "as on the plate", "open"):
        assert part in listed
    told = flat(csift("settle", found.id, "bad", "--by", "Cy"))
    assert "the bad side is right on '28 kg'" in told
    assert [row.desirable for row in lessons(db, project).ratings] == [False]
    assert " bad " in flat(csift("disputes")) and "1 dispute to settle" not in flat(csift("import", "f.jsonl"))
    csift("settle", found.id, "neither")
    assert lessons(db, project).ratings == ()

    refused = csift("settle", "dispute-0", "good")
    assert refused.exit_code == 1 and "there is no dispute dispute-0" in refused.stderr
    assert csift("settle", found.id, "perhaps").exit_code == 2


def test_import_tells_of_rows_beyond_the_cap(db: Database, project: str, shop: Path) -> None:
    rows = [{"question": f"Question {n}?", "answer": "a", "thumb": "up"} for n in range(6)]
    (shop / "f.jsonl").write_text("\n".join(map(json.dumps, rows)))
    told = flat(csift("import", "f.jsonl"))
    assert "2 rows beyond the 4 answers on which one rater is heard" in told
    assert "4 rated answers (4 good)" in told
