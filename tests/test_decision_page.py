"""The decision page: all that a verdict rests on, nothing from outside, texts as text."""

from samples import sample_decision

from csift.reports.decision import render_decision
from csift.schemas import Verdict


def test_the_page_has_the_verdict_every_number_and_the_way_to_replay_it() -> None:
    decision = sample_decision(Verdict.HOLD)
    page = render_decision(decision)
    for told in (
        "HOLD",
        decision.reason,
        "Only the challenger right",
        "General questions",
        "unguarded",
        "1 of 79 cases",
        f"csift decide --replay {decision.id}",
        decision.evidence.challenger_report_id,
    ):
        assert told in page
    assert "<script" not in page and "http://" not in page.replace("http://www.w3.org", "")


def test_a_slice_name_is_text() -> None:
    decision = sample_decision()
    slices = (decision.slices[0].model_copy(update={"name": "<b>style</b>", "guarded": False}),)
    page = render_decision(decision.model_copy(update={"slices": slices}))
    assert "<b>style</b>" not in page and "&lt;b&gt;style&lt;/b&gt;" in page


def test_a_budget_that_runs_low_asks_for_fresh_questions() -> None:
    decision = sample_decision(Verdict.HOLD)
    assert "csift evalset refresh" not in render_decision(decision).partition("Could it be luck?")[2].partition("</p>")[0]
    used = decision.model_copy(update={"history": decision.history.model_copy(update={"held": 90})})
    assert "is left; swap in newly labelled questions with `csift evalset refresh`" in render_decision(used)


def test_what_was_not_conclusive_spent_nothing() -> None:
    page = render_decision(sample_decision(Verdict.HOLD).model_copy(update={"conclusive": False}))
    assert "nothing was spent of the 5% false promotions" in page
