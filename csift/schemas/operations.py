"""Drift, feedback, triggers, cycles."""

from datetime import datetime
from enum import StrEnum
from typing import Literal

from csift.schemas.base import Record


class DriftReport(Record):
    """A permutation test between two windows of questions; drifted when p_value < alpha."""

    id: str
    reference_hash: str
    current_hash: str
    reference_rows: int
    current_rows: int
    units: int
    statistic: float
    p_value: float
    alpha: float
    permutations: int
    drifted: bool
    html_uri: str


class FeedbackRecord(Record):
    """What a user said of one answer; rating in 1..5."""

    id: str
    answer_id: str
    adapter_id: str | None
    rating: int | None
    comment: str | None
    edited_answer: str | None


class Trigger(Record):
    """Whether this cycle trains, and why."""

    train: bool
    reason: str
    fingerprint: str


class CycleState(StrEnum):
    """How a cycle ended, or that it runs."""

    RUNNING = "running"
    COMPLETED = "completed"
    NOTHING_NEW = "nothing-new"
    SKIPPED = "skipped"
    INTERRUPTED = "interrupted"
    FAILED = "failed"


class StageRun(Record):
    """One stage of a cycle; seconds of wall time, and the id of the record it made."""

    stage: str
    state: Literal["running", "completed", "interrupted", "failed"]
    seconds: float
    record_id: str | None


class Cost(Record):
    """Model calls and training of a cycle. Calls whose stored answer was used again are in `reused_calls` and cost nothing."""

    calls: int = 0
    reused_calls: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    usd: float = 0.0


class Cycle(Record):
    """One turn of the loop."""

    id: str
    project: str
    trigger: Literal["schedule", "manual", "backfill", "dataset"]
    scheduled_at: datetime
    state: CycleState
    reason: str
    fingerprint: str | None
    stages: tuple[StageRun, ...]
    cost: Cost
    decision_id: str | None
    drift_id: str | None
    report_uri: str | None
