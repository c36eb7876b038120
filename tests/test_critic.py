"""The critic over HTTP: believed as far as it agrees with people, paid once, and what it said of a deleted person is gone."""

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from answers import served
from teachers import served as model_of

from bench.teacher_server import Answer, Reply, TeacherServer
from csift import deletion, feedback
from csift.config import FeedbackConfig
from csift.db import Database
from csift.db.learning import CallRow
from csift.exceptions import BudgetExhausted
from csift.feedback import Graded, criticise, least_agreement
from csift.judges import CriticJudge, calibration
from csift.judges.critic import CRITIC, PRINCIPLES
from csift.ledger import Budget, Ledger, cost_of
from csift.schemas import Critique, HumanFeedback
from csift.serving import keys
from csift.storage import LocalStore

TOLD = FeedbackConfig(critic="openai/gpt-4o-mini")
SECRET = "Zanzibar"


def by_unit(prompt: str, time: int) -> Reply:
    """Likes answers in kg, for a reason that quotes the question."""
    question = prompt.rpartition("[[ ## question ## ]]\n")[2].partition("\n")[0]
    answer = prompt.rpartition("[[ ## answer ## ]]\n")[2].partition("\n")[0]
    score = 0.9 if answer.endswith("kg") else 0.1
    return Answer(f"[[ ## reason ## ]]\n{question}: {answer}\n\n[[ ## score ## ]]\n{score}\n\n[[ ## completed ## ]]")


class Desk:
    """A project whose people rate answers, and a critic."""

    def __init__(self, db: Database, project: str, ledger: Ledger) -> None:
        self.db, self.project, self.ledger = db, project, ledger

    def rated(self, number: int, up: str, down: str) -> None:
        """Answers to questions of their own, half of them liked."""
        for n in range(number):
            good = served(self.db, self.project, up, f"Liked {n}?")
            bad = served(self.db, self.project, down, f"Disliked {n}?")
            feedback.give(self.db, self.project, good, thumb="up", rater=f"r{n}", scrub=str)
            feedback.give(self.db, self.project, bad, rating=2, rater=f"r{n}", scrub=str)

    def critic(self, server: TeacherServer, **options: Any) -> CriticJudge:
        """Of a name of its own, so that nothing of it is in the ledger."""
        ledger = Ledger(self.db, self.ledger.cycle_id)
        return CriticJudge(model_of(server, ledger, f"openai/{self.project}", role=CRITIC, **options))

    def grade(self, critic: CriticJudge, config: FeedbackConfig = TOLD) -> Graded:
        return criticise(self.db, self.project, critic, config, self.lessons(config))

    def lessons(self, config: FeedbackConfig = TOLD) -> HumanFeedback:
        return feedback.lessons(self.db, self.project, config)


@pytest.fixture
def desk(db: Database, project: str, ledger: Ledger) -> Desk:
    return Desk(db, project, ledger)


def test_a_critic_that_agrees_with_people_grades_what_nobody_rated(desk: Desk) -> None:
    desk.rated(10, up="29 kg", down="heavy")
    alone = [served(desk.db, desk.project, "8 kg", "Alone?"), served(desk.db, desk.project, "wide", "Wide?")]
    with TeacherServer(by_unit) as server:
        done = desk.grade(desk.critic(server))
    assert done.calibration and (done.calibration.agreement.value, done.calibration.groups) == (1.0, 20)
    assert (done.trusted, done.graded, done.failed) == (True, 2, 0)

    told = desk.lessons()
    mine = {row.answer: row for row in told.ratings if row.source == "ai"}
    assert {answer: row.desirable for answer, row in mine.items()} == {"8 kg": True, "wide": False}
    assert {row.answer: row.score for row in told.scores if row.source == "ai"} == {"8 kg": 0.9, "wide": 0.1}
    assert {id_ for row in mine.values() for id_ in told.origins[row.id]} == set(alone)
    assert sum(row.source == "human" for row in told.ratings) == 20

    feedback.give(desk.db, desk.project, alone[0], thumb="down", rater="ada", scrub=str)  # a person knows better
    again = {row.answer: (row.desirable, row.source) for row in desk.lessons().ratings if row.answer in mine}
    assert again == {"8 kg": (False, "human"), "wide": (False, "ai")}
    assert {row.source for row in desk.lessons(FeedbackConfig()).ratings} == {"human"}  # nothing without [feedback] critic


@pytest.mark.parametrize(
    ("number", "up", "down"),
    [(10, "heavy", "29 kg"), (3, "29 kg", "heavy")],  # it says the opposite; it agrees, but on too few to be sure
)
def test_a_critic_that_is_not_known_to_agree_grades_nothing(desk: Desk, number: int, up: str, down: str) -> None:
    desk.rated(number, up, down)
    served(desk.db, desk.project, "8 kg", "Alone?")
    with TeacherServer(by_unit) as server:
        done = desk.grade(desk.critic(server))
        assert len(server.received) == 2 * number
    assert done.calibration and least_agreement(done.calibration) < 0.8
    assert (done.trusted, done.graded) == (False, 0)
    assert {row.source for row in desk.lessons().ratings} == {"human"}


def test_a_critic_that_stops_agreeing_is_not_used_any_more(desk: Desk) -> None:
    desk.rated(10, up="29 kg", down="heavy")
    served(desk.db, desk.project, "8 kg", "Alone?")
    with TeacherServer(by_unit) as server:
        assert desk.grade(desk.critic(server)).graded == 1
        for n in range(8):
            wrong = served(desk.db, desk.project, "7 kg", f"Wrong {n}?")
            feedback.give(desk.db, desk.project, wrong, thumb="down", rater=f"r{n}", scrub=str)
        assert not desk.grade(desk.critic(server)).trusted
    assert {row.source for row in desk.lessons().ratings} == {"human"}


def test_without_rated_answers_nobody_is_asked(desk: Desk) -> None:
    served(desk.db, desk.project)
    with TeacherServer(by_unit) as server:
        assert desk.grade(desk.critic(server)) == Graded(None, False, 0, 0)
        assert len(server.received) == 0


def test_nothing_is_paid_twice_and_as_many_as_wanted_are_graded_a_night(desk: Desk) -> None:
    desk.rated(10, up="29 kg", down="heavy")
    for n in range(3):
        served(desk.db, desk.project, "8 kg", f"Alone {n}?")
    two = TOLD.model_copy(update={"critiques": 2})
    with TeacherServer(by_unit) as server:
        assert desk.grade(desk.critic(server), two).graded == 2
        assert len(server.received) == 22
        assert desk.grade(desk.critic(server), two).graded == 1
        assert desk.grade(desk.critic(server), two).graded == 0
        assert len(server.received) == 23
    assert cost_of(desk.db, desk.ledger.cycle_id or "").calls == 23
    with desk.db.session() as session:
        roles = session.scalars(sa.select(CallRow.role).where(CallRow.cycle_id == desk.ledger.cycle_id)).unique().all()
    assert roles == [CRITIC]


def test_what_was_graded_before_the_budget_ended_is_kept_and_the_next_night_goes_on(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("csift.feedback.critic.TOGETHER", 2)
    desk.rated(10, up="29 kg", down="heavy")
    for n in range(4):
        served(desk.db, desk.project, "8 kg", f"Alone {n}?")
    with TeacherServer(by_unit) as server:
        desk.grade(desk.critic(server), TOLD.model_copy(update={"critiques": 2}))
        spent = cost_of(desk.db, desk.ledger.cycle_id or "")
        with pytest.raises(BudgetExhausted):
            desk.grade(desk.critic(server, budget=Budget(tokens=spent.tokens_in + spent.tokens_out)))
        assert len(server.received) == 22
        assert len([row for row in desk.lessons().scores if row.source == "ai"]) == 2
        assert desk.grade(desk.critic(server)).graded == 2
        assert len(server.received) == 24


def test_what_it_cannot_grade_is_counted_and_asked_again(desk: Desk) -> None:
    desk.rated(10, up="29 kg", down="heavy")
    served(desk.db, desk.project, "odd", "Odd?")

    def sometimes(prompt: str, time: int) -> Reply:
        return Answer("Well.") if "Odd?" in prompt else by_unit(prompt, time)

    with TeacherServer(sometimes) as server:
        done = desk.grade(desk.critic(server))
    assert (done.graded, done.failed) == (0, 1)
    assert [row for row in desk.lessons().ratings if row.source == "ai"] == []


def test_principles_and_excerpts_are_in_the_prompt_and_no_gold_answer(desk: Desk) -> None:
    desk.rated(1, up="29 kg", down="heavy")
    with TeacherServer(by_unit) as server:
        desk.grade(desk.critic(server))
        sent = "\n".join(message["content"] for message in server.received[0].body["messages"])
    assert all(principle in sent for principle in PRINCIPLES)
    assert "[1] The Orrin weighs 29 kg." in sent and "gold" not in sent


def test_a_deletion_reaches_what_the_critic_said_of_their_answers(desk: Desk, tmp_path: Path) -> None:
    desk.rated(10, up="29 kg", down="heavy")
    key, _ = keys.create(desk.db, desk.project, "ada", "ask")
    graded = served(desk.db, desk.project, "8 kg", f"Is it in {SECRET}?", asked_by=key.id)
    rated = served(desk.db, desk.project, "9 kg", f"How far is {SECRET}?", asked_by=key.id)
    feedback.give(desk.db, desk.project, rated, thumb="up", rater="bo", scrub=str)
    with TeacherServer(by_unit) as server:
        assert desk.grade(desk.critic(server)).graded == 1
        before = cost_of(desk.db, desk.ledger.cycle_id or "")
        done = deletion.of_key(desk.db, LocalStore(tmp_path), desk.project, "ada")
        assert done and done.answers == 2
        asked = len(server.received)
        assert desk.grade(desk.critic(server)).graded == 0
        assert len(server.received) == asked
    with desk.db.session() as session:
        replies = [str(reply) for reply in session.scalars(sa.select(CallRow.response).where(CallRow.role == CRITIC))]
    assert len(replies) >= 22 and SECRET not in "".join(replies)
    assert cost_of(desk.db, desk.ledger.cycle_id or "").usd == before.usd
    assert graded not in {id_ for ids in desk.lessons().origins.values() for id_ in ids}


def test_calibrations_of_critics_are_listed_with_those_of_judges(desk: Desk) -> None:
    desk.rated(2, up="29 kg", down="heavy")
    with TeacherServer(by_unit) as server:
        critic = desk.critic(server)
        desk.grade(critic)
    (made,) = [one for one in calibration.stored(desk.db) if one.judge_name == f"critic of {desk.project}"]
    assert made.judge_id == critic.id


def test_of_answers_with_the_same_text_one_critique_counts() -> None:
    twice = [
        Critique(answer_id=id_, critic_id="c", question=question, answer="8 kg", value=value, correct=True)
        for id_, question, value in (("answer-1", "Heavy?", 0.9), ("answer-2", "heavy? ", 0.8))
    ]
    told = feedback.learn([], critiques=twice)
    assert [(row.answer, row.score) for row in told.scores] == [("8 kg", 0.9)]
