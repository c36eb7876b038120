"""Drift, feedback, triggers, cycles."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from csift.hashing import content_id
from csift.schemas.base import Record

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class DriftFigure(Record):
    """A number that says what a drift is about, of both windows."""

    label: str
    reference: float
    current: float


class DriftSignal(Record):
    """A permutation test of one property of the traffic; it drifted when p_value < level. `units` are the sessions of both
    windows that it is known of."""

    name: Literal["questions", "retrieval", "answers"]
    statistic: float
    p_value: float
    level: float
    permutations: int
    units: int
    figures: tuple[DriftFigure, ...] = ()

    @property
    def drifted(self) -> bool:
        """Whether the windows differ in it."""
        return self.p_value < self.level


class DriftReport(Record):
    """Two windows of traffic compared, signal by signal; `unmeasured` tells of the others why not. `false_alarms` is the stated
    chance of any false alarm in a month, from which the levels are."""

    id: str
    reference_hash: str
    current_hash: str
    reference_rows: int
    current_rows: int
    false_alarms: float
    signals: tuple[DriftSignal, ...]
    unmeasured: dict[str, str]
    html_uri: str

    @property
    def drifted(self) -> bool:
        """Whether the windows differ in anything."""
        return any(signal.drifted for signal in self.signals)


class AccuracyWatch(Record):
    """Whether rated answers are right less often than before. `before` is the reference's accuracy and `floor` its lower bound;
    `now` is that of the `sessions` since `since`, the day from which the evidence is strongest. `evidence` is the most that the
    stake of a bettor on worse answers has become (csift.drift.accuracy). `self_selected`: the sessions are those that people
    chose to rate, before and now, and no sample of all."""

    before: float
    floor: float
    now: float
    sessions: int
    since: datetime
    evidence: float
    level: float
    self_selected: bool = False

    @property
    def regressed(self) -> bool:
        """Whether answers got worse: the stake reached 1/level."""
        return self.evidence >= 1 / self.level


class MonitorReport(Record):
    """One look at the champion between nights: its rated answers, the drift report of the day, and the events that were sent.
    `since` is when it became champion. `note` says what was not looked at, or what was done about it."""

    id: str
    project: str
    at: datetime
    champion_id: str | None
    since: datetime | None
    accuracy: AccuracyWatch | None
    drift_id: str | None
    events: tuple[str, ...]
    note: str


class StoredObject(Record):
    """An object of the store as it is listed; `size` in bytes."""

    key: str
    size: int
    modified: datetime


class FeedbackRecord(Record):
    """What one person said of one answer: a thumb, a rating of 1 (bad) to 5 (good), an edit, at least one of them.

    `rater` tells people apart; None is somebody. `system_id` is that of the System that answered, where it is known. The id is a
    hash of all the rest, so that the same said twice is one record, in whatever project.
    """

    id: str
    question: Text
    answer: Text
    system_id: Text | None = None
    rater: Text | None = None
    thumb: Literal["up", "down"] | None = None
    rating: int | None = Field(None, ge=1, le=5, strict=True)
    edited_answer: Text | None = None
    comment: Text | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.thumb is None and self.rating is None and self.edited_answer is None:
            raise ValueError("it says nothing of the answer; give a thumb, a rating or an edited_answer")
        if self.rating is not None and (self.thumb, self.rating) in (("up", 1), ("up", 2), ("down", 4), ("down", 5)):
            raise ValueError(f"thumb {self.thumb} and rating {self.rating} contradict each other; leave one of them out")
        return self

    @classmethod
    def of(cls, **said: object) -> Self:
        """The record with its content id. Raises pydantic's ValidationError."""
        checked = cls.model_validate({**said, "id": "feedback"})
        return checked.model_copy(update={"id": content_id("feedback", checked.model_dump(exclude={"id"}))})


class CycleInputs(Record):
    """What a cycle's outcome depends on: the snapshot, a hash of every training label, feedback row and eval item, sorted, one of
    what it was told, and a backfill's partitions. The id is that of the content: the fingerprint of a cycle."""

    id: str
    snapshot_id: str
    labels: tuple[str, ...]
    config_hash: str
    partitions: tuple[str, ...] = ()

    @classmethod
    def of(cls, snapshot_id: str, labels: tuple[str, ...], config_hash: str, partitions: tuple[str, ...] = ()) -> Self:
        """The record with its content id."""
        id_ = content_id("inputs", [snapshot_id, list(labels), config_hash, list(partitions)])
        return cls(id=id_, snapshot_id=snapshot_id, labels=labels, config_hash=config_hash, partitions=partitions)


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
    trigger: Literal["schedule", "manual", "backfill", "dataset", "benchmark"]
    scheduled_at: datetime
    state: CycleState
    reason: str
    fingerprint: str | None
    stages: tuple[StageRun, ...]
    cost: Cost
    decision_id: str | None
    drift_id: str | None
    report_uri: str | None
    run_url: str | None  # of the Prefect run in Prefect's UI; None where no server's UI shows it
