"""A challenger beside the champion: some sessions are its own, or nobody sees what it says; it ends when the champion moves."""

import io
import threading
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from typing import Any

import httpx
import pytest
from answerers import BROKEN, SHADOWED, Running, Serve, saying, servers_of, wrote
from champions import Project
from desks import Browser

from csift import registry, reviews, trials
from csift.db import Database
from csift.exceptions import GateError
from csift.reports.trial import print_trial
from csift.reviews import rounds
from csift.schemas import ReviewVote, ShadowPair, Trial, TrialReport
from csift.serving.api import create_app


@pytest.fixture
def serve(made: Project) -> Iterator[Serve]:
    with servers_of(made) as start:
        yield start


def asked(running: Running, session: str, **more: Any) -> dict[str, Any]:
    """What a session is told."""
    body = {"model": running.server.project, "messages": [{"role": "user", "content": "How heavy is it?"}], **more}
    told = httpx.post(f"{running.url}/v1/chat/completions", json=body, headers={"x-csift-session": session}, timeout=30)
    assert told.is_success, told.text
    answer: dict[str, Any] = told.json()
    assert answer["choices"][0]["message"]["content"] == saying(answer["csift"]["system"])
    return answer


def waiting_for(holds: Callable[[], Any]) -> Any:
    """Looks until it holds; the time limit of tests ends what would go on for ever."""
    step = threading.Event()
    while not (seen := holds()):
        step.wait(0.01)
    return seen


# --- canary ---------------------------------------------------------------------------------------------------------------


def test_a_canary_answers_its_share_of_the_sessions_and_each_always(made: Project, serve: Serve) -> None:
    running, challenger = serve(), made.system(2)
    trials.begin(made.db, made.name, "canary", challenger.id, 0.3)
    running.server.trying.look()
    first, again = ([asked(running, f"chat-{n}")["model"] for n in range(16)] for _ in range(2))
    assert first == again
    assert set(first) == {made.system(1).id, challenger.id}

    taken = sessions_of(running)
    assert 250 <= len(taken) <= 350  # 300 are expected, give or take 14
    trials.begin(made.db, made.name, "canary", challenger.id, 0.6)
    running.server.trying.look()
    assert taken < sessions_of(running)


def sessions_of(running: Running) -> set[int]:
    """Those of a thousand sessions that the challenger takes."""
    challenger = running.server.trying.now
    assert challenger
    return {n for n in range(1000) if challenger.takes(f"chat-{n}")}


def test_who_names_a_system_is_answered_by_it(made: Project, serve: Serve) -> None:
    running, champion, challenger = serve(), made.system(1), made.system(2)
    trials.begin(made.db, made.name, "canary", challenger.id, 1.0)
    running.server.trying.look()
    assert [model.id for model in running.openai.models.list()] == [made.name, champion.id, challenger.id]
    assert asked(running, "s")["model"] == challenger.id
    assert asked(running, "s", model=champion.id)["model"] == champion.id
    trials.begin(made.db, made.name, "canary", challenger.id, 0.001)
    running.server.trying.look()
    assert asked(running, "s", model=challenger.id)["model"] == challenger.id


def test_under_load_every_answer_is_of_one_of_both_while_canaries_come_and_go(made: Project, serve: Serve) -> None:
    running = serve()
    end, answers, failed = threading.Event(), [], []  # type: ignore[var-annotated]

    def load(person: int) -> None:
        with httpx.Client(base_url=running.url, timeout=30) as client:
            for number in range(10**6):
                if end.is_set():
                    return
                body = {"model": made.name, "messages": [{"role": "user", "content": "How heavy?"}]}
                told = client.post("/v1/chat/completions", json=body, headers={"x-csift-session": f"{person}-{number}"})
                (answers if told.is_success else failed).append(told.json())

    threads = [threading.Thread(target=load, args=(person,)) for person in range(8)]
    for thread in threads:
        thread.start()
    for k in range(1, 6):  # each challenger becomes champion in the end
        trials.begin(made.db, made.name, "canary", made.system(k + 1).id, 0.5)
        running.server.trying.look()
        known = len(answers)
        waiting_for(lambda known=known: len(answers) > known + 30)  # type: ignore[misc]
        assert {told["model"] for told in answers[known + 16 :]} == {made.system(k).id, made.system(k + 1).id}
        made.promote(made.system(k), made.system(k + 1))
        running.server.champion.look()
        running.server.trying.look()
    end.set()
    for thread in threads:
        thread.join(30)
    assert not failed
    assert all(told["choices"][0]["message"]["content"] == saying(told["csift"]["system"]) for told in answers)


def test_a_canary_that_fails_leaves_the_question_to_the_champion_and_is_counted(made: Project, serve: Serve) -> None:
    running, challenger = serve(), made.system(2)
    trials.begin(made.db, made.name, "canary", challenger.id, 1.0)
    running.server.trying.look()
    running.writers[challenger.id].broken = True
    assert asked(running, "s")["model"] == made.system(1).id
    running.server.trying.look()
    trial = trials.newest(made.db, made.name)
    assert trial and trial.failed == 1
    assert "it lost its weights" in running.told[-1]


# --- how it ends ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("becomes", "why"), [(2, "it became champion"), (3, "{} became champion")])
def test_a_trial_ends_when_the_champion_moves(made: Project, serve: Serve, becomes: int, why: str) -> None:
    running, challenger = serve(), made.system(2)
    trials.begin(made.db, made.name, "canary", challenger.id, 1.0)
    running.server.trying.look()
    made.promote(made.system(1), made.system(becomes))
    running.server.champion.look()
    assert asked(running, "s")["model"] == made.system(becomes).id  # before anybody looked at the trial
    running.server.trying.look()
    reason = why.format(made.system(3).id)
    assert running.told[-1] == f"the canary of {challenger.id} has ended: {reason}"
    trial = trials.newest(made.db, made.name)
    assert trial and trial.ended_at and trial.reason == reason


def test_a_rollback_ends_a_trial(made: Project) -> None:
    made.promote(made.system(1), made.system(2))
    trials.begin(made.db, made.name, "shadow", made.system(3).id, 1.0)
    registry.rollback(made.db, made.name)
    trial = trials.newest(made.db, made.name)
    assert trial and trial.ended_at and trial.reason == f"{made.system(1).id} became champion"


@pytest.mark.parametrize("kind", ["canary", "shadow"])
def test_a_challenger_that_cannot_be_loaded_ends_its_trial(made: Project, serve: Serve, kind: Any) -> None:
    running = serve()
    trials.begin(made.db, made.name, kind, made.system(BROKEN).id, 1.0)
    running.server.trying.look()
    assert asked(running, "s")["model"] == made.system(1).id
    trial = trials.newest(made.db, made.name)
    assert trial and trial.ended_at and trial.reason == "it cannot be loaded: its weights cannot be read"
    assert len(running.told) == 1 and "cannot be loaded" in running.told[0]


def test_one_trial_takes_the_place_of_the_one_before(made: Project, serve: Serve) -> None:
    running = serve()
    running.server.trying.follow()
    trials.begin(made.db, made.name, "canary", made.system(2).id, 1.0)
    waiting_for(lambda: asked(running, "s")["model"] == made.system(2).id)
    trials.begin(made.db, made.name, "canary", made.system(3).id, 1.0)
    waiting_for(lambda: asked(running, "s")["model"] == made.system(3).id)
    assert trials.end(made.db, made.name, "somebody ended it")
    waiting_for(lambda: asked(running, "s")["model"] == made.system(1).id)
    assert trials.end(made.db, made.name, "again") is None


def test_what_cannot_be_tried_is_refused(made: Project, db: Database) -> None:
    with pytest.raises(GateError, match="is the champion"):
        trials.begin(db, made.name, "canary", made.system(1).id, 0.1)
    with pytest.raises(GateError, match="there is no System system-guess"):
        trials.begin(db, made.name, "canary", "system-guess", 0.1)
    with pytest.raises(GateError, match=f"is of project {made.name}, not of other"):
        trials.begin(db, "other", "shadow", made.system(2).id, 0.1)
    assert trials.newest(db, made.name) is None


# --- shadow ---------------------------------------------------------------------------------------------------------------


def shadowed(made: Project, serve: Serve, share: float = 1.0) -> Running:
    running = serve()
    trials.begin(made.db, made.name, "shadow", made.system(2).id, share)
    running.server.trying.look()
    return running


def shadow(made: Project) -> Trial:
    """The newest trial."""
    return next(filter(None, [trials.newest(made.db, made.name)]))


def pairs(made: Project, count: int) -> list[ShadowPair]:
    return waiting_for(lambda: len(found := trials.shadow_pairs(made.db, shadow(made))) >= count and found)  # type: ignore[no-any-return]


def test_a_shadow_answers_unseen_and_is_kept_beside_the_champion(made: Project, serve: Serve) -> None:
    running = shadowed(made, serve)
    running.server.trying.follow()
    told = asked(running, "s-1")
    assert told["model"] == made.system(1).id
    (pair,) = pairs(made, 1)
    assert (pair.served.id, pair.shadow.answer_id) == (told["id"], told["id"])
    assert pair.served.answer == wrote(running).replace("29 kg", "<WEIGHT>")
    assert pair.shadow.answer == saying(made.system(2).id).replace("29 kg", "<WEIGHT>")
    assert pair.shadow.system_id == made.system(2).id and pair.shadow.sources == pair.served.sources


def test_a_shadow_that_cannot_keep_up_delays_nobody_and_what_it_leaves_out_is_counted(made: Project, serve: Serve) -> None:
    running = shadowed(made, serve)
    writer = running.writers[made.system(2).id]
    writer.gate.clear()
    running.server.trying.follow()
    asked(running, "first")
    waiting_for(lambda: writer.asked == 2)  # the warm-up and this one, at which it stays
    for n in range(SHADOWED + 5):
        assert asked(running, f"s-{n}")["model"] == made.system(1).id
    running.server.trying.look()
    trial = trials.newest(made.db, made.name)
    assert trial and trial.dropped == 5
    writer.gate.set()
    pairs(made, SHADOWED + 1)


def test_a_shadow_waits_while_somebody_waits_for_an_answer(made: Project, serve: Serve) -> None:
    running = shadowed(made, serve)
    people = running.server.queue
    running.server.trying.follow()
    with people.place():
        asked(running, "s-1")
        writer = running.writers[made.system(2).id]
        waiting_for(lambda: writer.asked == 2)
        assert len(writer.batches) == 1  # the warm-up
        assert trials.shadow_pairs(made.db, shadow(made)) == []
    pairs(made, 1)


def test_people_review_what_champion_and_shadow_said_blind(made: Project, serve: Serve) -> None:
    running = shadowed(made, serve)
    assert "What people asked" not in Browser(create_app(running.server)).named("Ann").get("/review").text
    running.server.trying.follow()
    for count, question in enumerate(("How heavy is it?", "What is it?", "how heavy is it", "Who made it?"), start=1):
        assert running.ask(question).is_success
        pairs(made, count)
    trial = shadow(made)
    browser = Browser(create_app(running.server)).named("Ann")
    assert "0 of 3 reviewed by you" in (page := browser.get("/review").text) and "What people asked" in page
    for number in (1, 2, 3):
        page = browser.get(f"/review/{trial.id}/{number}").text
        assert "nobody has labelled it" in page and "Right answer" not in page
        assert page.index("<main") < page.index(("How heavy is it?", "What is it?", "Who made it?")[number - 1])
        page = browser.send(f"/review/{trial.id}/{number}", {"verdict": "first"}).text
    assert "What reviewers say" in page and "held against the judge" not in page
    told = reviews.outcome(reviews.load_round(made.db, made.name, trial.id), cast(made, trial))
    assert told.wins + told.losses == 3 and told.judge is None
    assert {vote.challenger_system_id for vote in cast(made, trial)} == {made.system(2).id}
    with pytest.raises(GateError, match=trial.id):
        reviews.load_round(made.db, "another", trial.id)


def test_the_round_of_a_long_shadow_is_made_of_what_came_first(
    made: Project, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rounds, "ASKED", 2)
    running = shadowed(made, serve)
    running.server.trying.follow()
    for count, question in enumerate(("How heavy is it?", "What is it?", "Who made it?"), start=1):
        assert running.ask(question).is_success
        pairs(made, count)
    round_ = reviews.load_round(made.db, made.name, shadow(made).id)
    assert [pair.question for pair in round_.pairs] == ["How heavy is it?", "What is it?"] and round_.questions == 2


def cast(made: Project, trial: Trial) -> list[ReviewVote]:
    return reviews.votes_of(made.db, made.name, trial.id)


# --- side by side ---------------------------------------------------------------------------------------------------------


def test_both_sides_of_a_canary_are_counted_with_what_people_said(made: Project, serve: Serve) -> None:
    running, challenger = serve(), made.system(2)
    asked(running, "before")
    trial = trials.begin(made.db, made.name, "canary", challenger.id, 0.5)
    running.server.trying.look()
    told = [asked(running, f"s-{n % 8}") for n in range(16)]
    own = [answer for answer in told if answer["model"] == challenger.id]
    for answer, thumb in ((own[0], "down"), (next(a for a in told if a["model"] != challenger.id), "up")):
        running.post("/v1/feedback", {"answer_id": answer["id"], "thumb": thumb})
    running.server.answers.close()
    report = trials.compare(made.db, trial)

    assert report.challenger.answers == len(own) and report.champion.answers == 16 - len(own)
    assert report.challenger.sessions + report.champion.sessions == 8
    assert report.challenger.tokens_out == 6 * len(own)
    assert report.champion.good and (report.champion.good.value, report.champion.rated) == (1.0, 1)
    assert report.challenger.good and report.challenger.good.value == 0.0 and report.challenger.good.high > 0.7
    assert report.champion.median_seconds and report.same is None
    shown = printed(report)
    assert "Sessions" in shown and "100.0% (20.7 to 100.0)" in shown and challenger.id in shown


def printed(report: TrialReport) -> str:
    out = io.StringIO()
    with redirect_stdout(out):
        print_trial(report)
    return out.getvalue()


def test_a_shadow_is_compared_on_the_questions_that_it_answered(made: Project, serve: Serve) -> None:
    running = shadowed(made, serve, share=0.5)
    running.server.trying.follow()
    told = []
    for n in range(6):
        told.append(asked(running, f"chat-{n}"))
        taken = len(sessions_of(running) & set(range(n + 1)))
        found = pairs(made, taken) if taken else []
    report = trials.compare(made.db, trials.newest(made.db, made.name))  # type: ignore[arg-type]
    assert 0 < taken < len(told) and len(found) == taken
    assert report.champion.answers == report.challenger.answers == taken
    assert report.same and report.same.value == 0.0 and report.challenger.good is None
    assert "Left out for want of time: 0" in (shown := printed(report)) and "Rated" not in shown
