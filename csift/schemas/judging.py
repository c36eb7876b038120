"""Scores, reports, and the gate's decision."""

from datetime import datetime
from enum import StrEnum
from typing import Literal

from csift.schemas.base import Failure, Interval, Record


class Score(Record):
    """A judge's verdict on one answer; value in [0, 1]."""

    value: float
    correct: bool
    reason: str


class JudgeItem(Record):
    """What a judge sees; gold is None when the right answer is that the documents do not say."""

    question: str
    gold: str | None
    answer: str
    contexts: tuple[str, ...]


class JudgedAnswer(Record):
    """One eval item as one System answered it. Exactly one of score and failure is present."""

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


class EvalReport(Record):
    """A System on an EvalSet under a judge; `accuracy` is over the answers that were judged, failures are counted apart."""

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
    cost_usd: float


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
    """The paired difference on a part of the eval set; it blocks a promotion when its upper bound is below zero."""

    name: str
    items: int
    difference: Interval
    blocks: bool


class GatePolicy(Record):
    """What the gate goes by. `confidence` is two-sided; `max_failure_share` of judge or model failures keeps it conclusive."""

    confidence: float
    resamples: int
    min_items: int
    max_failure_share: float
    seed: int


class Evidence(Record):
    """All that the gate decides on: the items of both reports, paired, and the ids they came from."""

    project: str
    champion_system_id: str
    challenger_system_id: str
    evalset_id: str
    judge_id: str
    champion_report_id: str
    challenger_report_id: str
    items: tuple[PairedItem, ...]


class PromotionDecision(Record):
    """The gate's verdict with every number it was decided on; `evidence` and `policy` replay it."""

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
    slices: tuple[SliceResult, ...]
    evidence: Evidence
    policy: GatePolicy


class ChampionMove(Record):
    """One move of a project's champion pointer; version counts the moves, the first being the bootstrap."""

    project: str
    version: int
    kind: Literal["bootstrap", "promotion", "rollback"]
    from_system_id: str | None
    to_system_id: str
    decision_id: str | None
    at: datetime
