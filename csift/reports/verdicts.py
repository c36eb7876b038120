"""How the gate's verdicts, and what it can tell before it is asked, are put into words in reports and on the command line."""

from csift.promotion.spending import LOW, after, left
from csift.reports.wording import count, level, percent, points, when
from csift.schemas import Outlook, PromotionDecision, Verdict

HEADLINES = {
    Verdict.PROMOTE: "The challenger should replace the champion",
    Verdict.HOLD: "The champion stays: this run does not settle whether the challenger is better",
    Verdict.REJECT: "The champion stays: the challenger does worse",
}


def numbers_sentence(decision: PromotionDecision) -> str:
    """Both accuracies and the paired difference in one sentence."""
    difference = decision.difference
    judged = decision.wins + decision.losses + decision.ties
    before, after = percent(decision.champion_accuracy.value), percent(decision.challenger_accuracy.value)
    sentence = (
        f"On {count(judged, 'question')} judged for both, the challenger was right on {after} and the champion on "
        f"{before}: a paired difference of {points(difference.value)} points, "
        f"{level(decision.policy.confidence)} interval {points(difference.low)} to {points(difference.high)}."
    )
    return f"{sentence} {count(decision.failures, 'question')} could not be judged." if decision.failures else sentence


def approval_sentence(decision: PromotionDecision) -> str | None:
    """What people said to a promotion, or how they can until when; None where nobody was asked. Reads the same at any hour."""
    asked = decision.approval
    if asked is None:
        return None
    if asked.answer is None:
        return f"awaits approval until {when(asked.until)} (`csift promote {decision.id}`), without which the champion stays"
    said = asked.answer
    who = f"{'approved' if said.approved else 'refused'} by {said.by} on {when(said.at)}{f', “{said.note}”' if said.note else ''}"
    if asked.overtaken_by:
        return f"{who}, but {asked.overtaken_by} had become the champion meanwhile and stays"
    return who if said.approved else f"{who}; the champion stays"


def outlook_sentence(outlook: Outlook) -> str:
    """What the next decision can tell, and what to do when that is little."""
    on = f"Decision {outlook.decision} on this eval set, of {count(outlook.items, 'question')}"
    if outlook.smallest_rise is None:
        told = f"{on}, cannot promote anything"
    else:
        told = f"{on}, cannot promote a rise below {100 * outlook.smallest_rise:.1f} points"
        if outlook.found_rise is not None:
            told += f"; a true one of {100 * outlook.found_rise:.1f} it finds in four of five cases"
    return f"{told}. {_left(outlook.left)}."


def _left(share: float) -> str:
    advice = "; swap in newly labelled questions with `csift evalset refresh`" if share < LOW else ""
    return f"{percent(share)} of the eval set's budget against false promotions is left{advice}"


def budget_sentence(decision: PromotionDecision) -> str:
    """What the decision took of the eval set's budget, and why it asked for so much."""
    rate, number = level(decision.policy.false_promotion_rate), decision.history.decisions + 1
    if not decision.conclusive:
        return f"Not conclusive: nothing was spent of the {rate} false promotions that an eval set may cause in its life."
    return (
        f"Decision {number} on these questions. In the eval set's whole life the chance of any false promotion is kept below "
        f"{rate}, so this decision promotes what luck alone brings in at most {_odds(decision.level)}. A rise as clear as this "
        f"one, or clearer, luck brings in {_odds(decision.p_value)} (p = {decision.p_value:.2g}). "
        f"{_left(left(after(decision.history, decision.verdict)))}."
    )


def _odds(chance: float) -> str:
    """0.0127 → "1 of 79 cases"."""
    return f"1 of {round(1 / chance):,} cases" if chance <= 0.5 else f"{percent(chance)} of cases"
