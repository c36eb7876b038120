"""The gate: what it promotes, holds and rejects, and that the same evidence always gives the same record."""

import random
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csift.exceptions import GateError
from csift.promotion import bootstrap_interval, decide, pair, replay
from csift.schemas import (
    EvalItem,
    EvalReport,
    EvalSet,
    Evidence,
    Failure,
    GatePolicy,
    Interval,
    JudgedAnswer,
    PairedItem,
    PromotionDecision,
    Score,
    Verdict,
)

POLICY = GatePolicy(confidence=0.95, resamples=10_000, min_items=30, max_failure_share=0.05, seed=0)
QUICK = POLICY.model_copy(update={"resamples": 1000, "min_items": 2})
ORDER = [Verdict.REJECT, Verdict.HOLD, Verdict.PROMOTE]

Outcomes = Sequence[tuple[float | None, float | None]]


def evidence_of(outcomes: Outcomes, slices: Sequence[str] = ()) -> Evidence:
    """(champion, challenger) per item; the slice of each, or none."""
    return Evidence(
        project="tarnbeck",
        champion_system_id="system-old",
        challenger_system_id="system-new",
        evalset_id="evalset-1",
        judge_id="judge-1",
        champion_report_id="report-old",
        challenger_report_id="report-new",
        items=tuple(
            PairedItem(
                item_id=f"q-{index:04}",
                slices=(slices[index],) if slices else (),
                champion=champion,
                challenger=challenger,
            )
            for index, (champion, challenger) in enumerate(outcomes)
        ),
    )


def counted(wins: int = 0, losses: int = 0, both: int = 0, neither: int = 0, failed: int = 0) -> Outcomes:
    """So many items of each kind."""
    return [(0.0, 1.0)] * wins + [(1.0, 0.0)] * losses + [(1.0, 1.0)] * both + [(0.0, 0.0)] * neither + [(None, 1.0)] * failed


# --- the verdict ----------------------------------------------------------------------------------------------


def test_a_clear_gain_is_promoted_and_the_reason_has_the_numbers() -> None:
    decision = decide(evidence_of(counted(wins=30, losses=8, both=40, neither=42)), POLICY)
    assert decision.verdict is Verdict.PROMOTE
    assert decision.difference.value == pytest.approx(22 / 120)
    assert (decision.wins, decision.losses, decision.ties, decision.failures) == (30, 8, 82, 0)
    low, high = 100 * decision.difference.low, 100 * decision.difference.high
    assert decision.reason == (
        f"accuracy rose by 18.3 points (95% interval {low:.1f} to {high:.1f}) on 120 questions, all above zero"
    )


def test_a_clear_loss_is_rejected() -> None:
    decision = decide(evidence_of(counted(wins=8, losses=30, both=40, neither=42)), POLICY)
    assert decision.verdict is Verdict.REJECT
    assert decision.reason.startswith("accuracy fell by 18.3 points (95% interval -")
    assert decision.reason.endswith("on 120 questions, all below zero")


def test_a_gain_within_chance_is_held() -> None:
    decision = decide(evidence_of(counted(wins=12, losses=8, both=50, neither=50)), POLICY)
    assert decision.verdict is Verdict.HOLD
    assert decision.difference.low < 0 < decision.difference.high
    assert decision.reason.endswith("on 120 questions, which may be chance")


def test_a_lower_bound_of_exactly_zero_is_held() -> None:
    # two wins of thirty: resamples without either win are too frequent to leave out, and none is negative
    decision = decide(evidence_of(counted(wins=2, both=28)), POLICY)
    assert decision.difference.low == 0
    assert decision.verdict is Verdict.HOLD


def test_accuracies_have_intervals_of_their_own() -> None:
    decision = decide(evidence_of(counted(wins=30, losses=8, both=40, neither=42)), POLICY)
    for accuracy, right in ((decision.champion_accuracy, 48), (decision.challenger_accuracy, 70)):
        assert accuracy.value == pytest.approx(right / 120)
        half = 1.96 * (accuracy.value * (1 - accuracy.value) / 120) ** 0.5  # the normal approximation
        assert accuracy.low == pytest.approx(accuracy.value - half, abs=0.015)
        assert accuracy.high == pytest.approx(accuracy.value + half, abs=0.015)


def test_confidence_widens_the_interval() -> None:
    evidence = evidence_of(counted(wins=30, losses=15, both=40, neither=35))
    sure = decide(evidence, POLICY.model_copy(update={"confidence": 0.99}))
    unsure = decide(evidence, POLICY.model_copy(update={"confidence": 0.8}))
    assert sure.difference.low < unsure.difference.low < unsure.difference.high < sure.difference.high
    assert (sure.verdict, unsure.verdict) == (Verdict.HOLD, Verdict.PROMOTE)
    assert "(99% interval" in sure.reason


# --- the interval ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("counts", [(30, 8, 82), (5, 5, 110), (1, 9, 20), (0, 3, 40)])
def test_the_interval_is_that_of_a_plain_loop(counts: tuple[int, int, int]) -> None:
    wins, losses, ties = counts
    differences = [1.0] * wins + [-1.0] * losses + [0.0] * ties
    interval = decide(evidence_of(counted(wins=wins, losses=losses, both=ties)), POLICY).difference
    draws, means = random.Random(5), []
    for _ in range(4000):
        means.append(sum(draws.choice(differences) for _ in differences) / len(differences))
    means.sort()
    step = 1 / len(differences)  # two streams of resamples differ by a question or so at the bounds
    assert interval.low == pytest.approx(means[99], abs=1.5 * step)
    assert interval.high == pytest.approx(means[3900], abs=1.5 * step)


def test_the_interval_of_the_same_draws_is_exact() -> None:
    values = np.array([0.93, -1.0, 0.08, 0.41, 1.0, -0.37, 0.22])
    policy = POLICY.model_copy(update={"resamples": 1000, "seed": 11})
    places = np.random.default_rng(11).integers(0, 7, size=(1000, 7))
    means = sorted(sum(values[place] for place in row) / 7 for row in places)
    interval = bootstrap_interval(values, policy, span=(-1, 1))
    assert interval.value == pytest.approx(values.mean())
    assert (interval.low, interval.high) == (pytest.approx(means[24]), pytest.approx(means[975]))


def test_large_eval_sets_are_resampled_in_blocks() -> None:
    values = np.repeat([1.0, 0.0], 5000)
    interval = bootstrap_interval(values, POLICY.model_copy(update={"resamples": 1000}), span=(0, 1))
    assert interval.value == 0.5
    assert interval.low == pytest.approx(0.5 - 1.96 * 0.005, abs=0.002)
    assert interval.high == pytest.approx(0.5 + 1.96 * 0.005, abs=0.002)


# --- failures -------------------------------------------------------------------------------------------------


def test_failed_judgements_leave_the_pairs_and_are_counted() -> None:
    outcomes = [*counted(wins=30, both=30, neither=34), (None, 0.0), (1.0, None), (None, None)]
    decision = decide(evidence_of(outcomes), POLICY)
    assert decision.failures == 3
    assert (decision.wins, decision.losses, decision.ties) == (30, 0, 64)
    assert decision.champion_accuracy.value == pytest.approx(30 / 94)
    assert decision.challenger_accuracy.value == pytest.approx(60 / 94)
    assert decision.verdict is Verdict.PROMOTE
    assert "on 94 questions (3 more could not be judged)" in decision.reason


def test_a_judge_that_was_down_is_no_wrong_answer() -> None:
    down = [(champion, None) for champion, _ in counted(wins=10, losses=10, both=100)[:5]]
    decision = decide(evidence_of([*down, *counted(both=115)]), POLICY)
    assert decision.losses == 0
    assert decision.difference == Interval(value=0, low=0, high=0)


@pytest.mark.parametrize("wins", [True, False])
def test_too_many_failures_are_held_whatever_the_rest_says(wins: bool) -> None:
    rest = counted(wins=90) if wins else counted(losses=90)
    at_the_limit = decide(evidence_of([*rest, *counted(both=5, failed=5)]), POLICY)
    beyond = decide(evidence_of([*rest, *counted(both=4, failed=6)]), POLICY)
    assert at_the_limit.verdict is (Verdict.PROMOTE if wins else Verdict.REJECT)
    assert beyond.verdict is Verdict.HOLD
    assert beyond.reason.startswith("6 of 100 questions (6.0%) could not be judged, more than the 5%")


def test_when_nothing_was_judged_anything_is_possible() -> None:
    decision = decide(evidence_of([(None, None)] * 40), POLICY)
    assert decision.verdict is Verdict.HOLD
    assert decision.failures == 40
    assert decision.difference == Interval(value=0, low=-1, high=1)
    assert decision.champion_accuracy == Interval(value=0.5, low=0, high=1)


# --- slices ---------------------------------------------------------------------------------------------------

GUARDED, NEW = "guarded: unchanged documents", "new questions"


def test_a_worse_guarded_slice_blocks_the_promotion_and_is_named() -> None:
    outcomes = [*counted(wins=60, both=40), *counted(losses=12, both=8)]
    decision = decide(evidence_of(outcomes, [NEW] * 100 + [GUARDED] * 20), POLICY)
    assert decision.difference.low > 0
    assert decision.verdict is Verdict.HOLD
    assert "but it fell by 60.0 points" in decision.reason
    assert f"on the 20 of “{GUARDED}”" in decision.reason
    by_name = {part.name: part for part in decision.slices}
    assert (by_name[GUARDED].blocks, by_name[GUARDED].items) == (True, 20)
    assert (by_name[NEW].blocks, by_name[NEW].items) == (False, 100)


def test_a_slice_that_may_only_be_unlucky_does_not_block() -> None:
    outcomes = [*counted(wins=60, both=40), *counted(losses=2, wins=1, both=17)]
    assert decide(evidence_of(outcomes, [NEW] * 100 + [GUARDED] * 20), POLICY).verdict is Verdict.PROMOTE


def test_a_slice_of_one_item_does_not_block() -> None:
    outcomes = [*counted(wins=60, both=40), *counted(losses=1)]
    decision = decide(evidence_of(outcomes, [NEW] * 100 + [GUARDED]), POLICY)
    assert decision.verdict is Verdict.PROMOTE
    assert not any(part.blocks for part in decision.slices)


def test_failures_leave_their_slice() -> None:
    outcomes = [*counted(wins=60, both=40), *counted(failed=2, both=3)]
    decision = decide(evidence_of(outcomes, [NEW] * 100 + [GUARDED] * 5), POLICY)
    assert {part.name: part.items for part in decision.slices} == {NEW: 100, GUARDED: 3}


# --- refusals -------------------------------------------------------------------------------------------------


def test_too_few_items_are_refused_with_both_numbers_and_what_to_do() -> None:
    with pytest.raises(GateError, match=r"has 29 questions, the gate needs 30; label more questions"):
        decide(evidence_of(counted(wins=29)), POLICY)


def test_a_system_is_not_compared_with_itself() -> None:
    evidence = evidence_of(counted(wins=40)).model_copy(update={"challenger_system_id": "system-old"})
    with pytest.raises(GateError, match="both System system-old"):
        decide(evidence, POLICY)


# --- the record -----------------------------------------------------------------------------------------------


def test_the_same_evidence_gives_the_same_record_and_replays() -> None:
    evidence = evidence_of(counted(wins=20, losses=9, both=40, failed=2), [NEW] * 40 + [GUARDED] * 31)
    decision = decide(evidence, POLICY)
    assert decide(evidence, POLICY) == decision
    stored = PromotionDecision.model_validate_json(decision.model_dump_json())
    assert replay(stored) == decision


def test_the_id_follows_evidence_and_policy() -> None:
    evidence = evidence_of(counted(wins=20, losses=9, both=40))
    others = [
        decide(evidence_of(counted(wins=21, losses=9, both=39)), POLICY),
        decide(evidence, POLICY.model_copy(update={"seed": 1})),
    ]
    assert len({decide(evidence, POLICY).id, *(other.id for other in others)}) == 3


def test_a_tampered_verdict_does_not_replay() -> None:
    decision = decide(evidence_of(counted(wins=9, losses=9, both=40)), POLICY)
    tampered = decision.model_copy(update={"verdict": Verdict.PROMOTE})
    assert replay(tampered).verdict is Verdict.HOLD


# --- properties -----------------------------------------------------------------------------------------------

judged = st.tuples(st.sampled_from([0.0, 1.0]), st.sampled_from([0.0, 1.0]))
maybe_failed = st.tuples(st.sampled_from([0.0, 1.0, None]), st.sampled_from([0.0, 1.0, None]))


@settings(deadline=None, max_examples=50)
@given(st.lists(maybe_failed, min_size=2, max_size=60), st.sampled_from([0.8, 0.9, 0.95, 0.99]))
def test_swapping_the_systems_mirrors_the_decision(outcomes: list, confidence: float) -> None:
    policy = QUICK.model_copy(update={"confidence": confidence})
    one = decide(evidence_of(outcomes), policy)
    other = decide(evidence_of([(challenger, champion) for champion, challenger in outcomes]), policy)
    assert (other.difference.low, other.difference.high) == (-one.difference.high, -one.difference.low)
    assert (other.wins, other.losses, other.failures) == (one.losses, one.wins, one.failures)
    assert ORDER.index(other.verdict) == 2 - ORDER.index(one.verdict)


@settings(deadline=None, max_examples=50)
@given(st.lists(judged, min_size=2, max_size=60), st.data())
def test_a_wrong_answer_put_right_never_worsens_the_verdict(outcomes: list, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(outcomes) - 1))
    better = [*outcomes[:place], (outcomes[place][0], 1.0), *outcomes[place + 1 :]]
    before, after = decide(evidence_of(outcomes), QUICK), decide(evidence_of(better), QUICK)
    assert ORDER.index(after.verdict) >= ORDER.index(before.verdict)
    assert after.difference.low >= before.difference.low
    assert after.difference.high >= before.difference.high


@settings(deadline=None, max_examples=50)
@given(
    st.lists(judged, min_size=2, max_size=40),
    st.integers(1, 40),
    st.sampled_from([(None, 1.0), (0.0, None), (None, None)]),
)
def test_failures_beyond_the_share_are_never_promoted_or_rejected(outcomes: list, failed: int, kind: tuple) -> None:
    decision = decide(evidence_of([*outcomes, *[kind] * failed]), QUICK)
    if failed / (len(outcomes) + failed) > QUICK.max_failure_share:
        assert decision.verdict is Verdict.HOLD
    assert decision.failures == failed


@settings(deadline=None, max_examples=30)
@given(st.lists(st.sampled_from([0.0, 1.0]), min_size=2, max_size=80))
def test_equal_answers_are_never_promoted(outcomes: list[float]) -> None:
    decision = decide(evidence_of([(outcome, outcome) for outcome in outcomes]), QUICK)
    assert decision.verdict is Verdict.HOLD
    assert decision.difference == Interval(value=0, low=0, high=0)
    assert "did not change" in decision.reason


@settings(deadline=None, max_examples=50)
@given(st.lists(maybe_failed, min_size=2, max_size=60))
def test_bounds_enclose_values_and_counts_add_up(outcomes: list) -> None:
    decision = decide(evidence_of(outcomes), QUICK)
    for interval in (decision.difference, decision.champion_accuracy, decision.challenger_accuracy):
        assert interval.low <= interval.value <= interval.high
    assert decision.wins + decision.losses + decision.ties + decision.failures == len(outcomes)


# --- pairing reports ------------------------------------------------------------------------------------------


def evalset_of(count: int = 4) -> EvalSet:
    return EvalSet(
        id="evalset-1",
        project="tarnbeck",
        items=tuple(
            EvalItem(
                id=f"q-{index}",
                question=f"Question {index}?",
                answer="11 bar",
                document_id="averil.md",
                document_sha256="00",
                style="yes_no" if index == 0 else "factoid",
                guarded=index % 2 == 0,
            )
            for index in range(count)
        ),
        retired=(),
        previous_id=None,
    )


def report_of(name: str, outcomes: Sequence[bool | None], **changes: object) -> EvalReport:
    """A report on `evalset_of`; None is a failed judgement."""
    answers = tuple(
        JudgedAnswer(
            item_id=f"q-{index}",
            question=f"Question {index}?",
            gold="11 bar",
            answer="11 bar",
            contexts=(),
            tokens_in=1,
            tokens_out=1,
            seconds=0.1,
            score=None if correct is None else Score(value=float(correct), correct=correct, reason="numbers match"),
            failure=Failure(kind="timeout", message="no reply") if correct is None else None,
        )
        for index, correct in enumerate(outcomes)
    )
    report = EvalReport(
        id=f"report-{name}",
        system_id=f"system-{name}",
        evalset_id="evalset-1",
        judge_id="judge-1",
        answers=answers,
        accuracy=Interval(value=0, low=0, high=0),
        mean_score=0,
        failures=0,
        seconds_per_answer=0.1,
        tokens=1,
        cost_usd=0,
    )
    return report.model_copy(update=changes)


def test_reports_are_paired_by_item_whatever_their_order() -> None:
    old, new = report_of("old", [True, False, None, True]), report_of("new", [True, True, True, None])
    evidence = pair(old, new, evalset_of())
    assert [(item.item_id, item.champion, item.challenger) for item in evidence.items] == [
        ("q-0", 1.0, 1.0),
        ("q-1", 0.0, 1.0),
        ("q-2", None, 1.0),
        ("q-3", 1.0, None),
    ]
    assert [item.slices for item in evidence.items] == [
        (GUARDED, "style: yes_no"),
        (NEW, "style: factoid"),
        (GUARDED, "style: factoid"),
        (NEW, "style: factoid"),
    ]
    assert (evidence.champion_report_id, evidence.challenger_system_id) == ("report-old", "system-new")
    shuffled = new.model_copy(update={"answers": new.answers[::-1]})
    items = evalset_of().items
    assert pair(old, shuffled, evalset_of().model_copy(update={"items": items[::-1]})) == evidence


def test_reports_of_other_eval_sets_are_refused() -> None:
    old, new = report_of("old", [True] * 4), report_of("new", [True] * 4, evalset_id="evalset-2")
    with pytest.raises(GateError, match="report report-new is of eval set evalset-2, not evalset-1"):
        pair(old, new, evalset_of())
    with pytest.raises(GateError, match="report report-new"):
        pair(new, old, evalset_of())


def test_reports_of_two_judges_are_refused() -> None:
    with pytest.raises(GateError, match=r"by judge-1, report report-new by judge-2; judge both with one judge"):
        pair(report_of("old", [True] * 4), report_of("new", [True] * 4, judge_id="judge-2"), evalset_of())


@pytest.mark.parametrize("answered", [3, 5])
def test_missing_and_foreign_items_are_refused(answered: int) -> None:
    with pytest.raises(GateError, match=rf"report-new does not have each item .* \(1 differ, first q-{min(answered, 4)}\)"):
        pair(report_of("old", [True] * 4), report_of("new", [True] * answered), evalset_of())


def test_an_item_answered_twice_is_refused() -> None:
    new = report_of("new", [True] * 4)
    twice = new.model_copy(update={"answers": (*new.answers, new.answers[0])})
    with pytest.raises(GateError, match="first q-0"):
        pair(report_of("old", [True] * 4), twice, evalset_of())
