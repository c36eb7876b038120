"""A person asks for deletion: nothing of their words is left in Postgres or in the store, and what stays says so."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from answers import ORRIN, served
from champions import Project
from samples import sample_drift
from test_dataset import Team

from csift import deletion, feedback, registry
from csift.config import FeedbackConfig
from csift.dataset import (
    find,
    load_examples,
    load_origins,
    load_preferences,
    load_ratings,
    load_rejections,
    load_scores,
    read_view,
    require_whole,
)
from csift.db import Database
from csift.db.base import Base
from csift.db.serving import ShadowAnswerRow
from csift.exceptions import CycleRunning, LabelError
from csift.leases import cycle_lease, hold
from csift.promotion import replay
from csift.reports.console import make_console
from csift.reports.dataset import print_dataset
from csift.schemas import DatasetVersion, PromotionDecision
from csift.serving import keys
from csift.storage import LocalStore

CADDIS = "What weighs the Caddis in kg?"
SECRET = "Zanzibar"  # a word of the person's own


@pytest.fixture
def team(db: Database, project: str, words: Any) -> Team:
    """The project of the test."""
    return Team(db, project, words)


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "artifacts")


def say(team: Team, answer: str, rater: str, key: str | None = None, **what: Any) -> None:
    (found,) = feedback.answers_of_ids(team.db, team.project, [answer])
    feedback.say(team.db, team.project, feedback.about([found], f"{key}/{rater}" if key else rater, what), [found], str, key)


def shadow(team: Team, answer: str) -> None:
    """What a challenger would have said to the same question."""
    row = {"answer_id": answer, "project": team.project, "system_id": "system-2", "at": datetime.now(UTC)}
    with team.db.session() as session:
        session.execute(sa.insert(ShadowAnswerRow).values(**row, record={"answer": f"It is {SECRET}."}))


def build(team: Team) -> DatasetVersion:
    return team.build([], feedback=feedback.lessons(team.db, team.project, FeedbackConfig()))


def everything(db: Database) -> str:
    """All of Postgres as text."""
    with db.session() as session:
        return "\n".join(
            str(session.scalar(sa.text(f"SELECT string_agg(t::text, ' ') FROM {table} t"))) for table in Base.metadata.tables
        )


def pages(store: LocalStore) -> str:
    return "\n".join(store.get(found.key).decode() for found in store.objects())


def told(team: Team, ids: Sequence[str]) -> set[str]:
    return {str(id_) for ids_ in load_origins(team.db, ids).values() for id_ in ids_}


def test_what_a_rater_said_is_taken_from_feedback_answers_and_datasets_which_are_marked(team: Team, store: LocalStore) -> None:
    asked = served(team.db, team.project, "28 kg", f"{ORRIN} I ask from {SECRET}")
    say(team, asked, "ada", edited_answer=f"29 kg, as they say in {SECRET}", rating=2, comment=SECRET)
    say(team, asked, "bo", rating=1)
    say(team, served(team.db, team.project, "8 kg", CADDIS), "bo", rating=5)
    made = build(team)
    assert (made.sources["feedback"], len(made.preference_ids), len(made.rating_ids), len(made.score_ids)) == (1, 1, 2, 2)
    store.put(f"data-cards/{made.id}.html", SECRET.encode())
    assert SECRET in everything(team.db)

    shadow(team, asked)
    done = deletion.of_rater(team.db, store, team.project, "ada")

    assert done and (done.feedback, done.answers, done.datasets) == (2, 1, (made.id,))  # bo's words on it repeat her question
    assert SECRET not in everything(team.db) + pages(store)
    assert registry.deletion_of(team.db, made.id) == done
    assert [row.source for row in load_examples(team.db, made)] == ["human", "human"]
    assert load_preferences(team.db, made) == []
    judged: list[Any] = [*load_ratings(team.db, made), *load_scores(team.db, made)]
    assert [row.answer for row in judged] == ["8 kg", "8 kg"]
    with pytest.raises(LabelError, match="lost 4 rows when a person's data was deleted"):
        require_whole(team.db, made)
    console = make_console()
    with console.capture() as shown:
        print_dataset(read_view(team.db, team.project, find(team.db, team.project, made.id), None), console)
    assert "contains rows of a person who asked for deletion; retrain. 4 rows of it went on" in " ".join(shown.get().split())

    assert deletion.of_rater(team.db, store, team.project, "ada") is None  # again is nothing
    again = build(team)
    assert again.id != made.id and registry.deletion_of(team.db, again.id) is None
    require_whole(team.db, again)
    assert {row.answer for row in load_ratings(team.db, again)} == {"8 kg"}


def test_what_others_say_as_well_comes_back_and_the_dataset_may_be_trained_on_again(team: Team, store: LocalStore) -> None:
    answer = served(team.db, team.project, asked_by="key-other")
    for rater in ("ada", "bo"):
        say(team, answer, rater, edited_answer="29 kg")
    made = build(team)
    done = deletion.of_rater(team.db, store, team.project, "ada")
    assert done and (done.feedback, done.answers) == (1, 0)
    assert build(team) == made
    require_whole(team.db, made)
    assert told(team, [*made.example_ids, *made.preference_ids]) == {record.id for record in feedback.load(team.db, team.project)}


def test_a_key_takes_what_was_asked_and_said_with_it_whoever_said_it(team: Team, store: LocalStore) -> None:
    mine, _ = keys.create(team.db, team.project, "front desk", "ask")
    other, _ = keys.create(team.db, team.project, "lab", "ask")
    asked = served(team.db, team.project, "28 kg", f"{ORRIN} {SECRET}", asked_by=mine.id)
    say(team, asked, "ada", mine.id, thumb="down")
    say(team, asked, "cy", other.id, edited_answer="29 kg")  # a reviewer's edit of her answer
    theirs = served(team.db, team.project, "8 kg", CADDIS, asked_by=other.id)
    say(team, theirs, "ada", other.id, thumb="up")
    keys.revoke(team.db, team.project, "front desk")

    done = deletion.of_key(team.db, store, team.project, "front desk")

    assert done and (done.feedback, done.answers) == (2, 1)
    assert SECRET not in everything(team.db)
    assert [record.answer for record in feedback.load(team.db, team.project)] == ["8 kg"]  # type: ignore[union-attr]
    assert deletion.of_key(team.db, store, team.project, mine.id) is None
    with pytest.raises(LabelError, match="never had a key 'nobody'"):
        deletion.of_key(team.db, store, team.project, "nobody")

    by_name = deletion.of_rater(team.db, store, team.project, "ada")  # the same name behind another key
    assert by_name and (by_name.feedback, by_name.answers) == (1, 1)


def test_a_reviewers_deletion_leaves_the_answers_that_others_asked_for(team: Team, store: LocalStore) -> None:
    mine, _ = keys.create(team.db, team.project, "customer", "ask")
    review, _ = keys.create(team.db, team.project, "reviewer", "review")
    asked = served(team.db, team.project, asked_by=mine.id)
    say(team, asked, "cy", review.id, thumb="down")
    done = deletion.of_key(team.db, store, team.project, "reviewer")
    assert done and (done.feedback, done.answers) == (1, 0)
    assert feedback.answers_of_ids(team.db, team.project, [asked])


def test_rows_that_do_not_say_what_they_were_made_of_are_found_by_their_question(team: Team, store: LocalStore) -> None:
    say(team, served(team.db, team.project), "ada", edited_answer="29 kg")
    made = build(team)
    with team.db.session() as session:  # as a csift before this one left them
        session.execute(
            sa.text("DELETE FROM origins WHERE row_id = ANY(:ids)"), {"ids": [*made.example_ids, *made.preference_ids]}
        )
    done = deletion.of_rater(team.db, store, team.project, "ada")
    assert done and len(done.rows) == 2
    assert {row.source for row in load_examples(team.db, made)} == {"human"}


def test_what_was_refused_and_what_pages_showed_goes_as_well(team: Team, store: LocalStore) -> None:
    asked = served(team.db, team.project, "grey", f"Of which colour is the grey Petrel in {SECRET}?")  # c.md is judged on
    say(team, asked, "ada", thumb="up")
    made = build(team)
    assert SECRET in json.dumps([entry.question for entry in load_rejections(team.db, made.id)])
    before, after = (sample_drift().model_copy(update={"id": f"drift-{team.project}-{name}"}) for name in ("old", "new"))
    for report in (before, after):
        registry.save_drift(team.db, team.project, report)
        store.put(f"drift/{report.id}.html", f"{report.id} {SECRET}".encode())
    with team.db.session() as session:
        session.execute(
            sa.text("UPDATE drift_reports SET created_at = :at WHERE id = :id"),
            {"id": before.id, "at": datetime.now(UTC) - timedelta(days=9)},
        )
    store.put(f"data-cards/{made.id}.html", SECRET.encode())

    done = deletion.of_rater(team.db, store, team.project, "ada")

    assert done and (done.rows, done.datasets, done.cards) == ((), (), (made.id,))
    assert SECRET not in everything(team.db)
    assert [found.key for found in store.objects()] == [f"drift/{before.id}.html"]  # of before she asked anything
    assert {entry.reason for entry in load_rejections(team.db, made.id)} == {"may not be trained on"}
    require_whole(team.db, made)


def test_nothing_is_deleted_while_a_cycle_goes_on(team: Team, store: LocalStore) -> None:
    say(team, served(team.db, team.project), "ada", thumb="up")
    with hold(team.db, cycle_lease(team.project)), pytest.raises(CycleRunning):
        deletion.of_rater(team.db, store, team.project, "ada")
    assert feedback.load(team.db, team.project)


def test_killed_after_the_pages_were_removed_it_is_done_when_asked_again(team: Team, store: LocalStore) -> None:
    say(team, served(team.db, team.project, question=f"{ORRIN} {SECRET}"), "ada", thumb="up")
    made = build(team)
    store.put(f"data-cards/{made.id}.html", SECRET.encode())

    class Killed(LocalStore):
        def remove(self, key: str) -> None:
            super().remove(key)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        deletion.of_rater(team.db, Killed(store.root), team.project, "ada")
    assert feedback.load(team.db, team.project)
    done = deletion.of_rater(team.db, store, team.project, "ada")
    assert done and done.cards == (made.id,)
    assert SECRET not in everything(team.db) + pages(store)


def test_a_decision_replays_after_the_data_of_its_challenger_was_deleted(team: Team, store: LocalStore) -> None:
    say(team, served(team.db, team.project), "ada", edited_answer="29 kg")
    build(team)
    with hold(team.db, team.project) as lease:
        decided = Project(team.db, team.project, team.snapshot.id, lease)
        made = decided.decision(decided.system(1), decided.system(2))
    again = replay(made)
    assert deletion.of_rater(team.db, store, team.project, "ada")
    stored = registry.load(team.db, PromotionDecision, made.id)
    assert stored == made and replay(stored) == again
