"""What reviewers' votes come to: verdicts, intervals, disagreements, agreement; and which pairs they are shown."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import sample_eval_report, sample_eval_set, sample_system

from csift.reviews import Round, contested, judged_pair, outcome, settled
from csift.schemas import PREFERENCES, EvalReport, Preference, ReviewVote

AT = datetime(2026, 11, 22, tzinfo=UTC)


def vote(item: str, voter: str, verdict: Preference, settles: bool = False, minutes: int = 0) -> ReviewVote:
    return ReviewVote(
        project="p", round_id="d", item_id=item, voter=voter, champion_system_id="c", challenger_system_id="h",
        champion_first=True, verdict=verdict, at=AT + timedelta(minutes=minutes), settles=settles,
    )  # fmt: skip


def round_of(judged: list[tuple[bool | None, bool | None]]) -> tuple[Round, list[str]]:
    """A round whose judge found champion and challenger right so; and the ids of its items."""
    evalset = sample_eval_set()
    items = evalset.items[: len(judged)]
    part = sample_eval_set(items)

    def report(side: int) -> EvalReport:
        return sample_eval_report(sample_system(), part, [*(row[side] for row in judged)])

    pairs = zip(report(0).answers, report(1).answers, strict=True)
    shown = tuple(judged_pair(number, *pair) for number, pair in enumerate(pairs, start=1))
    return Round("p", "d", "decision", "c", "h", shown, len(shown), 0), [item.id for item in items]


def test_a_tie_settles_nothing_a_majority_does_and_a_settling_vote_beats_both() -> None:
    two = [vote("i", "ann", "champion"), vote("i", "bob", "challenger")]
    assert settled(two) is None and contested(two) == ("i",)
    third = [*two, vote("i", "cleo", "challenger")]
    assert settled(third) == "challenger" and contested(third) == ()
    three_ways = [*two, vote("i", "cleo", "tie")]
    assert settled(three_ways) is None
    settling = [*third, vote("i", "dan", "both bad", settles=True), vote("i", "eve", "tie", settles=True, minutes=1)]
    assert settled(settling) == "tie"


def test_wins_losses_and_ties_are_counted_once_an_item_with_an_interval() -> None:
    round_, items = round_of([(True, False)] * 8)
    said: list[Preference] = ["challenger", "challenger", "challenger", "challenger", "champion", "tie", "both bad", "challenger"]
    votes = [vote(item, voter, verdict) for item, verdict in zip(items, said, strict=True) for voter in ("ann", "bob")]
    votes[-1] = vote(items[-1], "bob", "champion")
    told = outcome(round_, votes)
    assert (told.wins, told.losses, told.ties, told.both_bad, told.contested) == (4, 1, 1, 1, (items[-1],))
    assert told.difference.value == pytest.approx(3 / 7) and -1 <= told.difference.low < 0 < told.difference.high <= 1
    assert told.people and told.people.items == 8 and told.people.share == 7 / 8 and told.people.measure == "Cohen's kappa"


def test_three_reviewers_are_told_krippendorffs_alpha_and_votes_that_settle_do_not_count_there() -> None:
    round_, items = round_of([(True, True)] * 3)
    votes = [vote(item, voter, "tie") for item in items for voter in ("ann", "bob", "cleo")]
    votes[0] = vote(items[0], "ann", "champion")
    told = outcome(round_, votes)
    assert told.people and told.people.measure == "Krippendorff's alpha" and told.people.items == 3
    settling = vote(items[0], "dan", "champion", settles=True)
    assert outcome(round_, [*votes, settling]).people == told.people
    assert outcome(round_, [vote(items[0], "ann", "tie")]).people is None


def test_people_are_held_against_the_judge_where_it_judged_both_answers() -> None:
    round_, items = round_of([(True, False), (False, True), (True, True), (False, False), (None, True)])
    said: list[Preference] = ["champion", "champion", "both bad", "tie", "challenger"]
    told = outcome(round_, [vote(item, "ann", verdict) for item, verdict in zip(items, said, strict=True)])
    assert told.judge and (told.judge.items, told.judge.share) == (4, 0.75)  # ties and both bad are both “neither”


def test_a_judge_that_failed_everywhere_is_not_compared() -> None:
    round_, items = round_of([(None, True), (None, True), (True, False)])
    alone = Round("p", "d", "decision", "c", "h", round_.pairs[:2], 2, 0)
    assert outcome(alone, [vote(items[0], "ann", "tie")]).judge is None


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from(PREFERENCES)), min_size=1, max_size=30))
def test_every_item_with_votes_is_counted_or_contested(said: list[tuple[str, Preference]]) -> None:
    """One vote of a person an item; the order in which they came plays no part."""
    round_, items = round_of([(True, False)] * 8)
    votes = {(items[n % 8], voter): vote(items[n % 8], voter, verdict) for n, (voter, verdict) in enumerate(said)}
    told = outcome(round_, list(votes.values()))
    counted = told.wins + told.losses + told.ties + told.both_bad
    assert counted + len(told.contested) == len({item for item, _ in votes})
    assert outcome(round_, list(reversed(votes.values()))) == told
    assert told.difference.low <= told.difference.value <= told.difference.high
