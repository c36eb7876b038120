"""Scores, reports, and the gate's decision."""

from datetime import datetime
from enum import StrEnum
from typing import Literal

from pydantic import Field

from csift.schemas.base import Failure, Interval, Record


class ScorePart(Record):
    """What a score is made of: a panel's member, a rubric's criterion, a claim of the answer. `value` is None where it failed."""

    name: str
    value: float | None
    note: str = ""


class Score(Record):
    """A judge's verdict on one answer; value in [0, 1]."""

    value: float
    correct: bool
    reason: str
    parts: tuple[ScorePart, ...] = ()


class JudgeItem(Record):
    """What a judge sees; gold is None when the right answer is that the documents do not say."""

    question: str
    gold: str | None
    answer: str
    contexts: tuple[str, ...]


class JudgedAnswer(Record):
    """One eval item as one System answered it. Exactly one of score and failure is present.

    `metrics` has what was measured of this answer, by name; what does not apply to it, or cannot be measured, is not there.
    """

    item_id: str
    question: str
    gold: str | None
    answer: str
    contexts: tuple[str, ...]
    tokens_in: int
    tokens_out: int
    seconds: float
    score: Score | None
    failure: Failure | None
    metrics: dict[str, float] = Field(default_factory=dict)


class Metric(Record):
    """A measure of a System's answers with its 95% interval, taken over `n` answers: `over` says which, `by` what measured."""

    name: str
    value: Interval
    n: int
    over: str
    by: str


class EvalReport(Record):
    """A System on an EvalSet under a judge. `accuracy` is over the answers that were judged, each metric over those it can be
    measured of; failures are counted apart and never scored. `cost_usd` is None when nobody knows the model's price.

    `guard` has the answers to the guard slice, which are in no other figure. Reports of before there were metrics have none.
    """

    id: str
    system_id: str
    evalset_id: str
    judge_id: str
    answers: tuple[JudgedAnswer, ...]
    accuracy: Interval
    mean_score: float
    failures: int
    seconds_per_answer: float
    tokens: int
    cost_usd: float | None
    metrics: tuple[Metric, ...] = ()
    guard: tuple[JudgedAnswer, ...] = ()


class Verdict(StrEnum):
    """PROMOTE on evidence, HOLD when it cannot tell, REJECT when worse."""

    PROMOTE = "PROMOTE"
    HOLD = "HOLD"
    REJECT = "REJECT"


class PairedItem(Record):
    """Both Systems on one item: 1.0 correct, 0.0 wrong, None when its judgement failed."""

    item_id: str
    slices: tuple[str, ...]
    champion: float | None
    challenger: float | None


class SliceResult(Record):
    """The paired difference on a part of the eval set, its bounds one-sided 95% each. It blocks a promotion when the upper one is
    below zero; it is guarded when the lower one excludes a loss of the margin."""

    name: str
    items: int
    difference: Interval
    blocks: bool
    guarded: bool


class GuardReading(Record):
    """What must not get worse: means of both Systems, and the one-sided 95% bound on the bad side, of the difference for shares
    (`points`), of challenger over champion for amounts (`ratio`)."""

    name: str
    kind: Literal["points", "ratio"]
    champion: float
    challenger: float
    worst: float


class GuardResult(Record):
    """A guard's reading against the gate's limit."""

    reading: GuardReading
    limit: float
    holds: bool


class GatePolicy(Record):
    """What the gate goes by.

    `false_promotion_rate` is for the life of an eval set; `confidence` that of the intervals shown; `target` is `all` or the
    slice on which the challenger must be better; margins are losses in accuracy, as shares, that are still accepted; the maxima
    are times the champion's; `max_failure_share` of judge or model failures keeps a decision conclusive; `min_agreement` is asked
    of the judge's calibration.
    """

    false_promotion_rate: float
    confidence: float
    target: str
    margin: float
    general_margin: float
    max_slowdown: float
    max_tokens: float
    min_items: int
    max_failure_share: float
    min_agreement: float


class EvalSetHistory(Record):
    """The conclusive decisions so far in this life of a project's eval set, by verdict; a refresh begins the next life."""

    life: int
    held: int
    rejected: int
    promoted: int

    @property
    def decisions(self) -> int:
        """All of them."""
        return self.held + self.rejected + self.promoted


class Outlook(Record):
    """What the next decision can tell: the smallest observed rise in accuracy that it promotes, the true rise that it finds in
    four of five cases (shares; None where no rise is large enough), its level, the share left of the eval set's budget."""

    items: int
    decision: int
    level: float
    smallest_rise: float | None
    found_rise: float | None
    left: float
    low: bool


class Evidence(Record):
    """All that the gate decides on: the items of both reports, paired, the readings of its guards, and the ids they came from."""

    project: str
    champion_system_id: str
    challenger_system_id: str
    evalset_id: str
    judge_id: str
    champion_report_id: str
    challenger_report_id: str
    items: tuple[PairedItem, ...]
    readings: tuple[GuardReading, ...]


class ApprovalAnswer(Record):
    """What a person said to a promotion, when, and why."""

    approved: bool
    by: str
    note: str
    at: datetime


class Approval(Record):
    """A person was asked to approve a promotion until a moment. `answer` is None while nobody answered. `overtaken_by` is the
    champion that a yes found in place of the one that the decision was made against; then nothing was moved."""

    until: datetime
    answer: ApprovalAnswer | None = None
    overtaken_by: str | None = None

    @property
    def standing(self) -> Literal["unanswered", "approved", "refused", "overtaken"]:
        """What came of it, as far as people go; the time may be over."""
        if self.answer is None:
            return "unanswered"
        if self.overtaken_by:
            return "overtaken"
        return "approved" if self.answer.approved else "refused"

    def open(self, at: datetime) -> bool:
        """Whether it may be answered at this moment."""
        return self.answer is None and at <= self.until


class PromotionDecision(Record):
    """The gate's verdict with every number it was decided on; `evidence`, `history` and `policy` replay it.

    `p_value` is that of a rise as clear by chance, `level` what this decision asks for. What is not conclusive spends no budget.
    `approval` is what people said to it, where they were asked.
    """

    id: str
    verdict: Verdict
    reason: str
    champion_accuracy: Interval
    challenger_accuracy: Interval
    difference: Interval
    wins: int
    losses: int
    ties: int
    failures: int
    p_value: float
    level: float
    conclusive: bool
    slices: tuple[SliceResult, ...]
    guards: tuple[GuardResult, ...]
    evidence: Evidence
    history: EvalSetHistory
    policy: GatePolicy
    approval: Approval | None = None


class ChampionMove(Record):
    """One move of a project's champion pointer; version counts the moves, the first being the bootstrap."""

    project: str
    version: int
    kind: Literal["bootstrap", "promotion", "rollback"]
    from_system_id: str | None
    to_system_id: str
    decision_id: str | None
    at: datetime
