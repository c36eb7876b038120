"""Ratings of served answers as labelled traffic: whose count, and when they say that answers got worse."""

from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from answers import served

from csift import feedback
from csift.db import Database
from csift.db.feedback import FeedbackRow
from csift.drift import Sample, TrafficRow, watch_accuracy, watch_samples
from csift.feedback import RatedTraffic
from csift.reports.wording import accuracy_sentence

BEGIN = datetime(2026, 11, 1, tzinfo=UTC)
END = BEGIN + timedelta(days=28)


def say(db: Database, project: str, answer: str, hour: int, **what: object) -> None:
    """Something said in an hour of the month."""
    given = feedback.give(db, project, answer, scrub=str, **what)  # type: ignore[arg-type]
    with db.session() as session:
        session.execute(
            sa.update(FeedbackRow).where(FeedbackRow.project == project, FeedbackRow.id == given.id)
            .values(said_at=BEGIN + timedelta(hours=hour))
        )  # fmt: skip


def points(db: Database, project: str, per_rater: int = 50) -> list[RatedTraffic]:
    return feedback.rated_traffic(db, project, per_rater, BEGIN, END)


def test_opinions_on_served_answers_are_points_at_the_time_they_were_given(db: Database, project: str) -> None:
    chat = served(db, project, "29 kg", session="chat-1", system_id="system-2")
    alone = served(db, project, "8 kg", "Alone?")
    say(db, project, alone, 2, rating=1, rater="bo")
    say(db, project, chat, 1, thumb="up", rater="ada")
    say(db, project, served(db, project, "?", "So so?"), 3, rating=3)  # neither good nor bad
    say(db, project, served(db, project, "?", "Edited?"), 3, edited_answer="!")
    say(db, project, served(db, project, "?", "Later?"), 28 * 24, thumb="up")
    say(db, project, served(db, project, "?", "Before?"), -1, thumb="up")
    feedback.rank(db, project, [chat, served(db, project, "28 kg")], scrub=str)
    imported = feedback.about([*feedback.answers_of_ids(db, project, [alone])], "cy", {"thumb": "up"})
    feedback.save(db, f"{project}-2", [imported])

    assert [(row.session, row.correct, row.system_id, row.at.hour) for row in points(db, project)] == [
        ("chat-1", True, "system-2", 1), (alone, False, "system-1", 2),
    ]  # fmt: skip


def test_a_rater_counts_as_often_as_the_cap_says_and_what_comes_later_changes_nothing_that_was_seen(
    db: Database, project: str
) -> None:
    for hour in range(4):
        say(db, project, served(db, project, f"{hour} kg", f"Question {hour}?"), hour, thumb="down", rater="loud")
    say(db, project, served(db, project, "9 kg", "Question 9?"), 9, thumb="up", rater="quiet")
    seen = points(db, project, per_rater=2)
    assert [row.answer for row in seen] == ["0 kg", "1 kg", "9 kg"]
    for hour in range(10, 14):
        say(db, project, served(db, project, f"{hour} kg", f"Question {hour}?"), hour, thumb="down", rater="loud")
    assert points(db, project, per_rater=2) == seen


def test_the_last_word_of_a_rater_counts_and_contradictions_of_two_do_not(db: Database, project: str) -> None:
    changed, disputed = served(db, project, "29 kg"), served(db, project, "8 kg", "Disputed?")
    say(db, project, changed, 1, thumb="up", rater="ada")
    say(db, project, changed, 2, thumb="down", rater="ada")
    say(db, project, disputed, 3, thumb="up", rater="ada")
    say(db, project, disputed, 4, thumb="down", rater="bo")
    assert [(row.answer, row.correct) for row in points(db, project)] == [("29 kg", False)]


# --- the watch ------------------------------------------------------------------------------------------------------------


def rows(sessions: int, right: int, of: int = 10) -> list[TrafficRow]:
    """Rated sessions, a minute each, `right` of `of` with a right answer."""
    return [TrafficRow(f"s{n}", "Q?", "A", n % of < right, BEGIN + timedelta(minutes=n)) for n in range(sessions)]


def drawn(now: int) -> Sample:
    return Sample(rows(200, 9), rows(200, now), self_selected=False)


def chosen(now: int) -> Sample:
    """Those who care to rate like six of ten answers."""
    return Sample(rows(200, 6), rows(200, now), self_selected=True)


def test_ratings_are_compared_with_ratings_and_drawn_labels_with_drawn_labels() -> None:
    steady = watch_samples([drawn(9), chosen(6)], 0.025)
    assert steady and not steady.regressed  # that raters like fewer answers than a drawn sample is right is no news
    assert watch_accuracy(rows(200, 9), rows(200, 6), 0.025).regressed  # type: ignore[union-attr]
    for samples, self_selected in (([drawn(9), chosen(2)], True), ([drawn(4), chosen(6)], False)):
        worse = watch_samples(samples, 0.025)
        assert worse and worse.regressed and worse.self_selected is self_selected
        assert worse.level == pytest.approx(0.0125)  # half of the level is the other sample's


def test_a_sample_without_a_reference_takes_nothing_of_the_level() -> None:
    few = Sample(rows(19, 10), rows(200, 0), self_selected=True)
    alone = watch_samples([drawn(9), few], 0.025)
    assert alone == watch_accuracy(rows(200, 9), rows(200, 9), 0.025)
    assert watch_samples([few], 0.025) is None
    assert watch_samples([], 0.025) is None


def test_two_samples_together_keep_the_stated_chance_of_a_false_alarm() -> None:
    import numpy as np

    draws = np.random.default_rng(0)

    def month(share: float) -> list[TrafficRow]:
        return [
            TrafficRow(f"s{n}", "Q?", "A", bool(right), BEGIN + timedelta(hours=n))
            for n, right in enumerate(draws.random(150) < share)
        ]

    level = 0.2
    alarms = 0
    for _ in range(100):
        both = [Sample(month(0.9), month(0.9), False), Sample(month(0.6), month(0.6), True)]
        seen = watch_samples(both, level)
        alarms += bool(seen and seen.regressed)
    assert alarms <= 100 * level


def test_the_report_says_that_raters_chose_to_rate() -> None:
    watch = watch_samples([drawn(9), chosen(2)], 0.025)
    told = accuracy_sentence(watch)
    assert "got worse" in told and "answers that people chose to rate, before and now: no sample of all" in told
    assert "chose to rate" not in accuracy_sentence(watch_samples([drawn(4)], 0.025))
