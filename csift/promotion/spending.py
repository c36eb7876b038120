"""How sure a decision must be, so that an eval set's whole life of decisions keeps one false-promotion rate.

Every decision on the same questions is another chance to promote by luck. The rate that is stated for the life of an eval set is
spent over its decisions (alpha spending; Lan & DeMets, Biometrika 1983): the level of decision t is

    level = rate × t^-1.3 / ζ(1.3) × q(verdicts so far)

The first factor sums to 1 over any number of decisions, so by the union bound the rate holds however the challengers of different
nights resemble each other. The second is for those who act on the verdicts. A challenger that was made after seeing verdicts on
these questions has been fitted to them, one bit a verdict; the bound must then hold over all sequences of verdicts that could
have been seen (Blum & Hardt, The Ladder, ICML 2015; Dwork et al., Science 2015). q is a probability distribution over sequences
of HOLD and REJECT, that of a coin with a Beta(1/4, 16) prior on REJECT: the levels of all sequences together sum to no more than
the rate. HOLD, which is what nearly always comes, costs next to nothing; a REJECT tells much and costs much.

Not covered: who looks at the questions themselves or at the scores beside the verdict learns more than the verdicts. Promotions
are not charged: that a better challenger was promoted says little of the questions. See docs/gate.md for what was measured.
"""

import math
from functools import lru_cache

from csift.schemas import EvalSetHistory, Verdict

EXPONENT = 1.3
ZETA = 3.931949211809544  # the sum of t^-1.3 over all t
REJECTS, HOLDS = 0.25, 16.0  # the prior of q, as if so many of each had been seen
LOW = 0.2  # share of the rate; with less left, fresh questions are due


def decision_level(history: EvalSetHistory, rate: float) -> float:
    """The p-value up to which the next decision may promote (one-sided), of a false-promotion rate for the set's life."""
    return rate * (history.decisions + 1) ** -EXPONENT / ZETA * _seen(history.held, history.rejected)


def left(history: EvalSetHistory) -> float:
    """The share of the rate that is left, should all later decisions hold as well as they may: 1 before the first decision."""
    spent = sum(t**-EXPONENT for t in range(1, history.decisions + 1)) / ZETA
    return (1 - spent) * _seen(history.held, history.rejected)


def after(history: EvalSetHistory, verdict: Verdict) -> EvalSetHistory:
    """The history with one conclusive decision more."""
    counted = {Verdict.HOLD: "held", Verdict.REJECT: "rejected", Verdict.PROMOTE: "promoted"}[verdict]
    return history.model_copy(update={counted: getattr(history, counted) + 1})


def _seen(held: int, rejected: int) -> float:
    """The probability of one sequence of so many HOLD and REJECT under the prior."""
    log = (
        math.lgamma(REJECTS + rejected)
        + math.lgamma(HOLDS + held)
        + math.lgamma(REJECTS + HOLDS)
        - math.lgamma(REJECTS + HOLDS + rejected + held)
        - math.lgamma(REJECTS)
        - math.lgamma(HOLDS)
    )
    return min(1.0, math.exp(log))


@lru_cache(maxsize=100_000)
def sign_test(wins: int, losses: int) -> float:
    """The p-value of so many wins or more among the questions on which the two differ, were win and loss equally likely.

    The exact one-sided test of paired proportions (McNemar, Psychometrika 1947); 1 without any.
    """
    differ = wins + losses
    term = total = math.comb(differ, wins)
    for more in range(wins + 1, differ + 1):
        term = term * (differ - more + 1) // more
        total += term
    return total / 2**differ
