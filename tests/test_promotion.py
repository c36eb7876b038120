"""The gate: what it promotes, holds and rejects, and that the same evidence always gives the same record."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csift.exceptions import GateError
from csift.intervals import paired_difference
from csift.promotion import decide, decision_level, left, outlook, pair, replay, sign_test, target_items
from csift.promotion.outlook import power
from csift.schemas import (
    EvalItem,
    EvalReport,
    EvalSet,
    EvalSetHistory,
    Evidence,
    Failure,
    GatePolicy,
    GuardReading,
    Interval,
    JudgedAnswer,
    PairedItem,
    PromotionDecision,
    Retention,
    Score,
    Verdict,
)

POLICY = GatePolicy(
    false_promotion_rate=0.05,
    confidence=0.95,
    target="all",
    margin=0.05,
    general_margin=0.15,
    max_slowdown=2.0,
    max_tokens=2.0,
    min_items=30,
    max_failure_share=0.05,
    min_agreement=0.8,
)
QUICK = POLICY.model_copy(update={"min_items": 2})
FIRST = EvalSetHistory(life=1, held=0, rejected=0, promoted=0)
ORDER = [Verdict.REJECT, Verdict.HOLD, Verdict.PROMOTE]

Outcomes = Sequence[tuple[float | None, float | None]]


def evidence_of(outcomes: Outcomes, slices: Sequence[str] = (), readings: Sequence[GuardReading] = ()) -> Evidence:
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
        readings=tuple(readings),
    )


def decided(evidence: Evidence, policy: GatePolicy, history: EvalSetHistory = FIRST) -> PromotionDecision:
    """The decision on an eval set that none was made on before."""
    return decide(evidence, history, policy)


def counted(wins: int = 0, losses: int = 0, both: int = 0, neither: int = 0, failed: int = 0) -> Outcomes:
    """So many items of each kind."""
    return [(0.0, 1.0)] * wins + [(1.0, 0.0)] * losses + [(1.0, 1.0)] * both + [(0.0, 0.0)] * neither + [(None, 1.0)] * failed


# --- the verdict ----------------------------------------------------------------------------------------------


def test_a_clear_gain_is_promoted_and_the_reason_has_the_numbers() -> None:
    decision = decided(evidence_of(counted(wins=30, losses=8, both=40, neither=42)), POLICY)
    assert decision.verdict is Verdict.PROMOTE
    assert decision.difference.value == pytest.approx(22 / 120)
    assert (decision.wins, decision.losses, decision.ties, decision.failures) == (30, 8, 82, 0)
    low, high = 100 * decision.difference.low, 100 * decision.difference.high
    assert decision.reason == (
        f"accuracy rose by 18.3 points (95% interval {low:.1f} to {high:.1f}) on 120 questions: p = 2e-4 by chance, and "
        "decision 1 on this eval set asks for 0.013"
    )


def test_a_clear_loss_is_rejected() -> None:
    decision = decided(evidence_of(counted(wins=8, losses=30, both=40, neither=42)), POLICY)
    assert decision.verdict is Verdict.REJECT
    assert decision.reason.startswith("accuracy fell by 18.3 points (95% interval -")
    assert decision.reason.endswith(
        "on 120 questions: p = 2e-4 that it is no worse, and decision 1 on this eval set asks for 0.013"
    )


def test_a_gain_within_chance_is_held() -> None:
    decision = decided(evidence_of(counted(wins=12, losses=8, both=50, neither=50)), POLICY)
    assert decision.verdict is Verdict.HOLD
    assert decision.difference.low < 0 < decision.difference.high
    assert decision.reason.endswith(
        "on 120 questions, which may be chance: p = 0.25, and decision 1 on this eval set asks for 0.013"
    )


def test_accuracies_have_intervals_of_their_own() -> None:
    decision = decided(evidence_of(counted(wins=30, losses=8, both=40, neither=42)), POLICY)
    for accuracy, right in ((decision.champion_accuracy, 48), (decision.challenger_accuracy, 70)):
        assert accuracy.value == pytest.approx(right / 120)
        half = 1.96 * (accuracy.value * (1 - accuracy.value) / 120) ** 0.5  # the normal approximation
        assert accuracy.low == pytest.approx(accuracy.value - half, abs=0.015)
        assert accuracy.high == pytest.approx(accuracy.value + half, abs=0.015)


def test_confidence_widens_the_interval_and_changes_no_verdict() -> None:
    evidence = evidence_of(counted(wins=30, losses=15, both=40, neither=35))
    sure = decided(evidence, POLICY.model_copy(update={"confidence": 0.99}))
    unsure = decided(evidence, POLICY.model_copy(update={"confidence": 0.8}))
    assert sure.difference.low < unsure.difference.low < unsure.difference.high < sure.difference.high
    assert sure.verdict is unsure.verdict
    assert "(99% interval" in sure.reason


# --- the test and the interval --------------------------------------------------------------------------------


def test_the_sign_test_is_that_of_the_tables() -> None:
    from scipy.stats import binom

    for wins, losses in ((0, 0), (1, 0), (5, 5), (30, 8), (3, 40), (250, 180)):
        assert sign_test(wins, losses) == pytest.approx(binom.sf(wins - 1, wins + losses, 0.5))


@pytest.mark.parametrize(("items", "rise"), [(30, 0.0), (120, 0.1), (230, -0.05), (500, 0.05)])
def test_the_interval_covers_the_truth_as_often_as_it_says(items: int, rise: float) -> None:
    chances = [(0.2 - rise) / 2, (0.2 + rise) / 2, 0.35, 0.45]
    draws = np.random.default_rng(0).multinomial(items, chances, size=2000).tolist()
    intervals = [paired_difference(wins, losses, both, neither) for losses, wins, both, neither in draws]
    covered = sum(interval.low <= rise <= interval.high for interval in intervals) / len(intervals)
    assert 0.935 < covered < 0.98


@settings(deadline=None, max_examples=100)
@given(*[st.integers(0, 60)] * 4)
def test_the_interval_encloses_its_value_and_narrows_with_the_level(wins: int, losses: int, both: int, neither: int) -> None:
    wide, narrow = (paired_difference(wins, losses, both, neither, level) for level in (0.99, 0.8))
    assert -1 <= wide.low <= narrow.low <= narrow.value + 1e-12
    assert narrow.value - 1e-12 <= narrow.high <= wide.high <= 1


# --- the budget -----------------------------------------------------------------------------------------------


def history(held: int = 0, rejected: int = 0, promoted: int = 0) -> EvalSetHistory:
    return EvalSetHistory(life=1, held=held, rejected=rejected, promoted=promoted)


def test_what_is_promoted_at_first_is_held_when_many_decisions_went_before() -> None:
    evidence = evidence_of(counted(wins=30, losses=8, both=40, neither=42))
    assert decided(evidence, POLICY, history()).verdict is Verdict.PROMOTE
    late = decided(evidence, POLICY, history(held=99))
    assert late.verdict is Verdict.HOLD
    assert late.level < 3e-5
    assert "decision 100 on this eval set asks for 2e-5" in late.reason


def test_all_sequences_of_verdicts_together_spend_no_more_than_the_rate() -> None:
    # by the union bound: the levels along every sequence of HOLD and REJECT, each sequence once
    from math import comb

    spent = sum(
        comb(night, rejects) * decision_level(history(night - rejects, rejects), 0.05)
        for night in range(400)
        for rejects in range(night + 1)
    )
    assert 0.04 < spent <= 0.05


@given(held=st.integers(0, 300), rejected=st.integers(0, 15), promoted=st.integers(0, 20))
def test_every_decision_makes_the_next_one_harder(held: int, rejected: int, promoted: int) -> None:
    now = history(held, rejected, promoted)
    for later in (history(held + 1, rejected, promoted), history(held, rejected + 1, promoted)):
        assert decision_level(later, 0.05) < decision_level(now, 0.05)
        assert left(later) < left(now) <= 1
    assert decision_level(history(held, rejected + 1, promoted), 0.05) < decision_level(
        history(held + 1, rejected, promoted), 0.05
    )


def test_the_outlook_says_what_cannot_be_promoted() -> None:
    first, late = outlook(230, history(), POLICY), outlook(230, history(held=99), POLICY)
    differ = 46
    assert first.smallest_rise and late.smallest_rise and first.found_rise and late.found_rise
    for told, before in ((first, history()), (late, history(held=99))):
        assert told.smallest_rise is not None
        wins = (differ + round(told.smallest_rise * 230)) // 2
        kinds = [counted(wins=w, losses=differ - w, both=230 - differ) for w in (wins, wins - 1)]
        assert [decided(evidence_of(kind), POLICY, before).verdict for kind in kinds] == [Verdict.PROMOTE, Verdict.HOLD]
        assert power(230, told.found_rise or 0, told.level) == pytest.approx(0.8, abs=0.03)
    assert (first.left, first.low, late.low) == (1.0, False, True)
    assert first.smallest_rise < late.smallest_rise


def test_the_outlook_counts_the_questions_of_the_target() -> None:
    evalset = evalset_of(6)
    assert target_items(evalset, (), POLICY) == 6
    assert target_items(evalset, (), POLICY.model_copy(update={"target": NEW})) == 3
    assert target_items(evalset, {"q-1"}, POLICY.model_copy(update={"target": "won by an earlier champion"})) == 1


def test_an_eval_set_too_small_for_any_promotion_says_so() -> None:
    assert outlook(10, history(held=50), POLICY).smallest_rise is None


# --- guards ---------------------------------------------------------------------------------------------------

GAIN = counted(wins=30, losses=8, both=40, neither=42)


def reading(name: str, worst: float) -> GuardReading:
    kind = "points" if "questions" in name else "ratio"
    return GuardReading(name=name, kind=kind, champion=0.4, challenger=0.3, worst=worst)


@pytest.mark.parametrize(
    ("name", "good", "bad", "words"),
    [
        ("general questions", -0.14, -0.16, "a loss of up to 16.0 points (95% bound), and the gate allows 15"),
        ("seconds an answer", 2.0, 2.1, "up to 2.10 times as many (95% bound), and the gate allows 2 times"),
        ("tokens an answer", 1.9, 2.5, "tokens an answer went from 0.4 to 0.3"),
    ],
)
def test_a_gain_that_costs_too_much_elsewhere_is_held(name: str, good: float, bad: float, words: str) -> None:
    fine, dear = (decided(evidence_of(GAIN, readings=[reading(name, worst)]), POLICY) for worst in (good, bad))
    assert (fine.verdict, dear.verdict) == (Verdict.PROMOTE, Verdict.HOLD)
    assert words in dear.reason
    assert [guard.holds for guard in (*fine.guards, *dear.guards)] == [True, False]


def test_a_target_slice_must_improve_and_the_whole_set_must_not_get_worse() -> None:
    policy = POLICY.model_copy(update={"target": NEW})
    fine = decided(evidence_of([*GAIN, *counted(both=90)], [NEW] * 120 + [GUARDED] * 90), policy)
    assert fine.verdict is Verdict.PROMOTE
    assert fine.wins == 30
    (whole,) = fine.guards
    assert whole.reading.name == "whole eval set"
    no_gain = decided(evidence_of([*counted(both=120), *counted(wins=40, both=50)], [NEW] * 120 + [GUARDED] * 90), policy)
    assert no_gain.verdict is Verdict.HOLD
    lost = [*GAIN, *counted(losses=60, wins=20, both=120)]
    spoiled = decided(evidence_of(lost, [NEW] * 120 + [GUARDED] * 200), policy)
    assert (spoiled.verdict, spoiled.guards[0].holds) == (Verdict.HOLD, False)
    assert "whole eval set went from" in spoiled.reason
    with pytest.raises(GateError, match=r"has 0 questions in “fresh”, which gate\.target names, the gate needs 30"):
        decided(evidence_of(GAIN), POLICY.model_copy(update={"target": "fresh"}))


def test_slices_too_small_to_exclude_the_margin_are_told() -> None:
    decision = decided(evidence_of([*counted(both=20), *GAIN, *counted(both=400)], [NEW] * 20 + [GUARDED] * 520), POLICY)
    assert {part.name: part.guarded for part in decision.slices} == {NEW: False, GUARDED: True}


# --- failures -------------------------------------------------------------------------------------------------


def test_failed_judgements_leave_the_pairs_and_are_counted() -> None:
    outcomes = [*counted(wins=30, both=30, neither=34), (None, 0.0), (1.0, None), (None, None)]
    decision = decided(evidence_of(outcomes), POLICY)
    assert decision.failures == 3
    assert (decision.wins, decision.losses, decision.ties) == (30, 0, 64)
    assert decision.champion_accuracy.value == pytest.approx(30 / 94)
    assert decision.challenger_accuracy.value == pytest.approx(60 / 94)
    assert decision.verdict is Verdict.PROMOTE
    assert "on 94 questions (3 more could not be judged)" in decision.reason


def test_a_judge_that_was_down_is_no_wrong_answer() -> None:
    down = [(champion, None) for champion, _ in counted(wins=10, losses=10, both=100)[:5]]
    decision = decided(evidence_of([*down, *counted(both=115)]), POLICY)
    assert decision.losses == 0
    assert decision.difference.value == 0


@pytest.mark.parametrize("wins", [True, False])
def test_too_many_failures_are_held_whatever_the_rest_says(wins: bool) -> None:
    rest = counted(wins=90) if wins else counted(losses=90)
    at_the_limit = decided(evidence_of([*rest, *counted(both=5, failed=5)]), POLICY)
    beyond = decided(evidence_of([*rest, *counted(both=4, failed=6)]), POLICY)
    assert at_the_limit.verdict is (Verdict.PROMOTE if wins else Verdict.REJECT)
    assert beyond.verdict is Verdict.HOLD
    assert (at_the_limit.conclusive, beyond.conclusive) == (True, False)
    assert beyond.reason.startswith("6 of 100 questions (6.0%) could not be judged, more than the 5%")


def test_when_nothing_was_judged_anything_is_possible() -> None:
    decision = decided(evidence_of([(None, None)] * 40), POLICY)
    assert decision.verdict is Verdict.HOLD
    assert decision.failures == 40
    assert decision.difference == Interval(value=0, low=-1, high=1)
    assert decision.champion_accuracy == Interval(value=0, low=0, high=1)


# --- slices ---------------------------------------------------------------------------------------------------

GUARDED, NEW = "guarded: unchanged documents", "new questions"


def test_a_worse_guarded_slice_blocks_the_promotion_and_is_named() -> None:
    outcomes = [*counted(wins=60, both=40), *counted(losses=12, both=8)]
    decision = decided(evidence_of(outcomes, [NEW] * 100 + [GUARDED] * 20), POLICY)
    assert decision.difference.low > 0
    assert decision.verdict is Verdict.HOLD
    assert "but it fell by 60.0 points" in decision.reason
    assert f"on the 20 of “{GUARDED}”" in decision.reason
    by_name = {part.name: part for part in decision.slices}
    assert (by_name[GUARDED].blocks, by_name[GUARDED].items) == (True, 20)
    assert (by_name[NEW].blocks, by_name[NEW].items) == (False, 100)


def test_a_slice_that_may_only_be_unlucky_does_not_block() -> None:
    outcomes = [*counted(wins=60, both=40), *counted(losses=2, wins=1, both=17)]
    assert decided(evidence_of(outcomes, [NEW] * 100 + [GUARDED] * 20), POLICY).verdict is Verdict.PROMOTE


def test_a_slice_of_one_item_does_not_block() -> None:
    outcomes = [*counted(wins=60, both=40), *counted(losses=1)]
    decision = decided(evidence_of(outcomes, [NEW] * 100 + [GUARDED]), POLICY)
    assert decision.verdict is Verdict.PROMOTE
    assert not any(part.blocks for part in decision.slices)


def test_failures_leave_their_slice() -> None:
    outcomes = [*counted(wins=60, both=40), *counted(failed=2, both=3)]
    decision = decided(evidence_of(outcomes, [NEW] * 100 + [GUARDED] * 5), POLICY)
    assert {part.name: part.items for part in decision.slices} == {NEW: 100, GUARDED: 3}


# --- refusals -------------------------------------------------------------------------------------------------


def test_too_few_items_are_refused_with_both_numbers_and_what_to_do() -> None:
    with pytest.raises(GateError, match=r"has 29 questions, the gate needs 30; label more questions"):
        decided(evidence_of(counted(wins=29)), POLICY)


def test_a_system_is_not_compared_with_itself() -> None:
    evidence = evidence_of(counted(wins=40)).model_copy(update={"challenger_system_id": "system-old"})
    with pytest.raises(GateError, match="both System system-old"):
        decided(evidence, POLICY)


# --- the record -----------------------------------------------------------------------------------------------


def test_the_same_evidence_gives_the_same_record_and_replays() -> None:
    evidence = evidence_of(counted(wins=20, losses=9, both=40, failed=2), [NEW] * 40 + [GUARDED] * 31)
    decision = decided(evidence, POLICY)
    assert decided(evidence, POLICY) == decision
    stored = PromotionDecision.model_validate_json(decision.model_dump_json())
    assert replay(stored) == decision


def test_the_id_follows_evidence_and_policy() -> None:
    evidence = evidence_of(counted(wins=20, losses=9, both=40))
    others = [
        decided(evidence_of(counted(wins=21, losses=9, both=39)), POLICY),
        decided(evidence, POLICY.model_copy(update={"margin": 0.1})),
    ]
    assert len({decided(evidence, POLICY).id, *(other.id for other in others)}) == 3


def test_a_tampered_verdict_does_not_replay() -> None:
    decision = decided(evidence_of(counted(wins=9, losses=9, both=40)), POLICY)
    tampered = decision.model_copy(update={"verdict": Verdict.PROMOTE})
    assert replay(tampered).verdict is Verdict.HOLD


# --- properties -----------------------------------------------------------------------------------------------

judged = st.tuples(st.sampled_from([0.0, 1.0]), st.sampled_from([0.0, 1.0]))
maybe_failed = st.tuples(st.sampled_from([0.0, 1.0, None]), st.sampled_from([0.0, 1.0, None]))


@settings(deadline=None, max_examples=50)
@given(st.lists(maybe_failed, min_size=2, max_size=60), st.sampled_from([0.8, 0.9, 0.95, 0.99]))
def test_swapping_the_systems_mirrors_the_decision(outcomes: list, confidence: float) -> None:
    policy = QUICK.model_copy(update={"confidence": confidence})
    one = decided(evidence_of(outcomes), policy)
    other = decided(evidence_of([(challenger, champion) for champion, challenger in outcomes]), policy)
    assert (other.difference.low, other.difference.high) == pytest.approx((-one.difference.high, -one.difference.low))
    assert (other.wins, other.losses, other.failures) == (one.losses, one.wins, one.failures)
    assert ORDER.index(other.verdict) == 2 - ORDER.index(one.verdict)


@settings(deadline=None, max_examples=50)
@given(st.lists(judged, min_size=2, max_size=60), st.data())
def test_a_wrong_answer_put_right_never_worsens_the_verdict(outcomes: list, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(outcomes) - 1))
    better = [*outcomes[:place], (outcomes[place][0], 1.0), *outcomes[place + 1 :]]
    before, after = decided(evidence_of(outcomes), QUICK), decided(evidence_of(better), QUICK)
    assert ORDER.index(after.verdict) >= ORDER.index(before.verdict)
    assert after.p_value <= before.p_value


@settings(deadline=None, max_examples=50)
@given(
    st.lists(judged, min_size=2, max_size=40),
    st.integers(1, 40),
    st.sampled_from([(None, 1.0), (0.0, None), (None, None)]),
)
def test_failures_beyond_the_share_are_never_promoted_or_rejected(outcomes: list, failed: int, kind: tuple) -> None:
    decision = decided(evidence_of([*outcomes, *[kind] * failed]), QUICK)
    if failed / (len(outcomes) + failed) > QUICK.max_failure_share:
        assert decision.verdict is Verdict.HOLD
    assert decision.failures == failed


@settings(deadline=None, max_examples=30)
@given(st.lists(st.sampled_from([0.0, 1.0]), min_size=2, max_size=80))
def test_equal_answers_are_never_promoted(outcomes: list[float]) -> None:
    decision = decided(evidence_of([(outcome, outcome) for outcome in outcomes]), QUICK)
    assert decision.verdict is Verdict.HOLD
    assert decision.difference.low <= 0 <= decision.difference.high
    assert "did not change" in decision.reason


@settings(deadline=None, max_examples=50)
@given(st.lists(maybe_failed, min_size=2, max_size=60))
def test_bounds_enclose_values_and_counts_add_up(outcomes: list) -> None:
    decision = decided(evidence_of(outcomes), QUICK)
    for interval in (decision.difference, decision.champion_accuracy, decision.challenger_accuracy):
        assert interval.low <= interval.value <= interval.high
    assert decision.wins + decision.losses + decision.ties + decision.failures == len(outcomes)


# --- pairing reports ------------------------------------------------------------------------------------------


def evalset_of(count: int = 4) -> EvalSet:
    return EvalSet(
        id="evalset-1",
        project="tarnbeck",
        life=1,
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


def kept(low: float = -0.04) -> Retention:
    """What is left of the general questions."""
    return Retention(
        id="retention-1", general_id="general-1", grader="grader", before_system_id="system-old", after_system_id="system-new",
        untrained_score_id=None, before_score_id="a", after_score_id="b", questions=120, failures=0, untrained=None, before=40,
        after=39, confidence=0.95, difference=Interval(value=-1 / 120, low=low, high=0.02), since_untrained=None, skills=(),
    )  # fmt: skip


def test_reports_are_paired_by_item_whatever_their_order() -> None:
    old, new = report_of("old", [True, False, None, True]), report_of("new", [True, True, True, None])
    evidence = pair(old, new, evalset_of(), kept())
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
    assert pair(old, shuffled, evalset_of().model_copy(update={"items": items[::-1]}), kept()) == evidence


def test_folders_and_earlier_wins_are_slices_of_their_own() -> None:
    base = evalset_of()
    moved = (base.items[0].model_copy(update={"document_id": "leases/averil.md"}), *base.items[1:])
    reports = report_of("old", [True] * 4), report_of("new", [True] * 4)
    evidence = pair(*reports, base.model_copy(update={"items": moved}), kept(), won_before={"q-1"})
    assert [item.slices[2:] for item in evidence.items] == [
        ("documents: leases",),
        ("documents: top folder", "won by an earlier champion"),
        ("documents: top folder",),
        ("documents: top folder",),
    ]


def test_the_guards_read_what_both_answered() -> None:
    old = report_of("old", [True] * 4)
    slow = tuple(answer.model_copy(update={"seconds": 0.5, "tokens_out": 3}) for answer in old.answers)
    new = report_of("new", [True] * 4, answers=slow)
    general, seconds, tokens = pair(old, new, evalset_of(), kept(low=-0.07)).readings
    assert (general.worst, general.kind) == (-0.07, "points")
    assert (seconds.champion, seconds.challenger, seconds.worst) == (pytest.approx(0.1), 0.5, pytest.approx(5.0))
    assert (tokens.champion, tokens.challenger, tokens.worst) == (2.0, 4.0, pytest.approx(2.0))
    (first, *rest) = slow
    uneven = report_of("new", [True] * 4, answers=(first.model_copy(update={"seconds": 2.0}), *rest))
    spread = pair(old, uneven, evalset_of(), kept()).readings[1]
    assert spread.worst > spread.challenger / spread.champion + 3  # four answers tell little
    unjudged = report_of("new", [None] * 4)
    assert [reading.name for reading in pair(old, unjudged, evalset_of(), kept()).readings] == ["general questions"]


def test_reports_of_other_eval_sets_are_refused() -> None:
    old, new = report_of("old", [True] * 4), report_of("new", [True] * 4, evalset_id="evalset-2")
    with pytest.raises(GateError, match="report report-new is of eval set evalset-2, not evalset-1"):
        pair(old, new, evalset_of(), kept())
    with pytest.raises(GateError, match="report report-new"):
        pair(new, old, evalset_of(), kept())


def test_reports_of_two_judges_are_refused() -> None:
    with pytest.raises(GateError, match=r"by judge-1, report report-new by judge-2; judge both with one judge"):
        pair(report_of("old", [True] * 4), report_of("new", [True] * 4, judge_id="judge-2"), evalset_of(), kept())


@pytest.mark.parametrize("answered", [3, 5])
def test_missing_and_foreign_items_are_refused(answered: int) -> None:
    with pytest.raises(GateError, match=rf"report-new does not have each item .* \(1 differ, first q-{min(answered, 4)}\)"):
        pair(report_of("old", [True] * 4), report_of("new", [True] * answered), evalset_of(), kept())


def test_an_item_answered_twice_is_refused() -> None:
    new = report_of("new", [True] * 4)
    twice = new.model_copy(update={"answers": (*new.answers, new.answers[0])})
    with pytest.raises(GateError, match="first q-0"):
        pair(report_of("old", [True] * 4), twice, evalset_of(), kept())
