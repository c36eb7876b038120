"""What a benchmark tells."""

from datetime import datetime
from typing import Any, Self

from csift.hashing import content_id
from csift.schemas.base import Interval, Record


class RetrievalTrial(Record):
    """One setting of the grid: the share of training questions whose answer stands, to the letter, in a chunk that is shown.

    `characters` are those of the chunks shown for a question, on average.
    """

    chunk_size: int
    retriever: str
    k: int
    accuracy: Interval
    characters: float


class RetrievalChoice(Record):
    """The grid, and the setting that the benchmark goes by: of those that show no more than `characters`, the shortest prompt
    within one standard error of the best."""

    questions: int
    characters: int
    trials: tuple[RetrievalTrial, ...]
    chosen: RetrievalTrial


class Setup(Record):
    """What all arms have in common. `evalset_ids` are the sets that nothing may be learnt from, the first is judged on;
    `retrieval` is None where AWS keeps the index itself."""

    snapshot_id: str
    k: int
    retrieval: RetrievalChoice | None
    evalset_ids: tuple[str, ...]
    synthetic_of: str | None


class JudgedArm(Record):
    """An arm that was asked: its System, and the id of its report by each judge, the configured one first.

    `trained_on` counts the rows that its adapter learnt from; `compiled` says how its program came about.
    """

    arm: str
    system_id: str
    reports: dict[str, str]
    trained_on: int
    compiled: str | None


class Row(Record):
    """One arm. Accuracies and improvements by judge; improvements are paired differences from standard RAG (None of itself).

    `score` is the first judge's mean in [0, 1]; `seconds` the mean time of an answer's generation; `monthly_usd` None where the
    model has no known price; `failures` those of the first judge or the model, which count in no figure.
    """

    arm: str
    closed_book: bool
    model: str
    system_id: str
    reports: dict[str, str]
    questions: int
    failures: int
    accuracy: dict[str, Interval]
    improvement: dict[str, Interval | None]
    wins: int
    losses: int
    ties: int
    score: Interval
    bertscore: Interval | None
    seconds: Interval
    seconds_p50: float
    seconds_p95: float
    tokens_in: float
    tokens_out: float
    monthly_usd: Interval | None
    trained_on: int
    compiled: str | None


class WinRate(Record):
    """Two arms of the data ablation, answer against answer: the share won among those that are no tie."""

    judge: str
    a: str
    b: str
    wins: int
    losses: int
    ties: int
    failures: int
    share: Interval


class Benchmark(Record):
    """The table, and all that it goes by. `judges` names them by their ids, the first is the configured one."""

    id: str
    project: str
    at: datetime
    golden: bool
    evalset_id: str
    questions: int
    snapshot_id: str
    judges: dict[str, str]
    questions_per_month: int
    usd_per_hour: float
    retrieval: RetrievalChoice | None
    rows: tuple[Row, ...]
    win_rates: tuple[WinRate, ...]

    @classmethod
    def of(cls, **told: Any) -> Self:
        """The table with its content id; when it was made is no part of it."""
        made = cls.model_validate({**told, "id": ""})
        return made.model_copy(update={"id": content_id("benchmark", made.model_dump(mode="json", exclude={"id", "at"}))})
