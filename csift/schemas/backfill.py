"""Backfills: what is planned, what was taught, what is left and what that would take."""

from typing import Literal

from csift.schemas.base import Record
from csift.schemas.corpus import DocumentRef
from csift.schemas.examples import Rejection


class Partition(Record):
    """The training documents of one window of time, or of one source, about which a teacher writes at once.

    The id is a hash of project, name, documents and all that synthesis is told. `others` counts the documents beside them that
    are kept for evaluation or may only be retrieved from.
    """

    id: str
    name: str
    documents: tuple[DocumentRef, ...]
    others: int


class BackfillPlan(Record):
    """The partitions of a backfill, oldest first. `idle` names windows that have documents and none to train on; `undated` the
    documents that no window could be found for; `outside` counts those before and after the range. `at_once` partitions are
    taught at a time, which the id does not depend on."""

    id: str
    snapshot_id: str
    partitions: tuple[Partition, ...]
    idle: tuple[str, ...]
    undated: tuple[str, ...]
    outside: int
    at_once: int


class TaughtPartition(Record):
    """A partition that is done: who wrote, how many questions, and what became of those that were refused."""

    id: str
    name: str
    teacher: str
    candidates: int
    accepted: int
    rejections: tuple[Rejection, ...]


class PartitionState(Record):
    """How far a partition is: new, partly (calls are booked for it) or done."""

    id: str
    name: str
    documents: int
    state: Literal["new", "partly", "done"]
    calls: int
    accepted: int


class TeacherRate(Record):
    """What one call of a teacher takes on average; `calls` were measured, 0: assumed."""

    calls: int
    tokens_in: float
    tokens_out: float
    seconds: float


class PartitionEstimate(Record):
    """What a partition would still take, at most: the `left` of its `calls` that are not booked yet, their tokens, money and
    time. US$ are None where nobody knows the price."""

    state: PartitionState
    others: int
    candidates: int
    calls: int
    left: int
    tokens: int
    usd: float | None
    hours: float


class BackfillEstimate(Record):
    """A dry run: the plan with what each partition would take, by what measure, and what would follow.

    `at_once` are a teacher's calls in flight. `free`: the teacher is a model on this machine. `uncounted` tells of served models
    that are asked when the partitions are done. `training_seconds` are those of the project's last training, None where there was
    none.
    """

    project: str
    plan: BackfillPlan
    partitions: tuple[PartitionEstimate, ...]
    teacher: str
    free: bool
    rate: TeacherRate
    at_once: int
    budget_usd: float | None
    budget_tokens: int | None
    uncounted: tuple[str, ...]
    training: str
    training_seconds: float | None
