"""The frozen records that stages exchange: ids, hashes and numbers. Bytes live in the ObjectStore, rows in Postgres.

Every id that can be a content hash is one (`csift.hashing.content_id`), so the same input gives the same id on every machine.
"""

from datetime import datetime
from enum import StrEnum
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict

from csift.hashing import content_id

Split = Literal["train", "eval", "golden"]
Style = Literal["factoid", "yes_no", "list", "unanswerable"]


class Record(BaseModel):
    """A frozen record; unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Interval(Record):
    """An estimate with the bounds of its two-sided confidence interval."""

    value: float
    low: float
    high: float


class Failure(Record):
    """One item of a batch that failed. It is counted apart and is never a score."""

    kind: str
    message: str


# --- corpus ---------------------------------------------------------------------------------------------------------------


class DocumentRef(Record):
    """One version of one document: its id is its path in the corpus, its hash that of its cleaned text."""

    document_id: str
    sha256: str


class Chunking(Record):
    """Sizes in characters."""

    size: int
    overlap: int


class CorpusSnapshot(Record):
    """What the corpus held at one moment: documents, their hashes and how they were cut into chunks."""

    id: str
    corpus: str
    documents: tuple[DocumentRef, ...]
    chunking: Chunking

    @classmethod
    def of(cls, corpus: str, documents: tuple[DocumentRef, ...], chunking: Chunking) -> Self:
        """The snapshot with its content id; documents are kept in order of their ids."""
        ordered = tuple(sorted(documents, key=lambda document: document.document_id))
        identity = [corpus, [(d.document_id, d.sha256) for d in ordered], chunking.model_dump()]
        return cls(id=content_id("corpus", identity), corpus=corpus, documents=ordered, chunking=chunking)

    def hashes(self) -> dict[str, str]:
        """Document id → hash of its text."""
        return {document.document_id: document.sha256 for document in self.documents}


class Chunk(Record):
    """A passage of a document. The id depends on document and text only, so it is stable under edits elsewhere."""

    id: str
    document_id: str
    ordinal: int
    text: str


class Hit(Record):
    """A retrieved chunk; score is the cosine similarity to the question."""

    chunk_id: str
    document_id: str
    text: str
    score: float


# --- labels, examples, datasets -------------------------------------------------------------------------------------------


class Label(Record):
    """A question written and answered by a person; `answer` is None when its document does not answer it."""

    id: str
    question: str
    answer: str | None
    document_id: str
    style: Style
    split: Split
    document_sha256: str


class RetiredLabel(Record):
    """A labelled question no longer used, because its document changed or left the corpus after it was labelled."""

    label_id: str
    document_id: str
    split: Split
    reason: Literal["changed", "gone"]


class LabelSet(Record):
    """All labelled questions of a project against one snapshot: those in use and those retired."""

    snapshot_id: str
    labels: tuple[Label, ...]
    retired: tuple[RetiredLabel, ...]

    def of_split(self, split: Split) -> tuple[Label, ...]:
        """Labels in use of one split, in order of their ids."""
        return tuple(label for label in self.labels if label.split == split)


class Example(Record):
    """A training row: question and answer with the chunks shown beside them."""

    id: str
    question: str
    answer: str
    document_id: str
    context_chunk_ids: tuple[str, ...]
    source: Literal["human", "synthetic", "feedback"]
    generator: str | None
    prompt_hash: str | None


class PreferencePair(Record):
    """Two answers to one prompt, ordered by preference; margin in [0, 1] is the judge's difference of scores."""

    id: str
    prompt: str
    chosen: str
    rejected: str
    source: Literal["ai", "human"]
    judged_by: str
    margin: float


class Rejection(Record):
    """A synthetic candidate that was refused, with the filter that refused it."""

    reason: str
    question: str
    answer: str
    document_id: str
    detail: str


class SynthesisReport(Record):
    """What a teacher's candidates became; `rejected` counts by reason, `samples` keeps some of each to look at."""

    candidates: int
    accepted: int
    rejected: dict[str, int]
    samples: tuple[Rejection, ...]


class DatasetVersion(Record):
    """A training set. Its id is a fingerprint of its examples and recipe."""

    id: str
    snapshot_id: str
    evalset_id: str
    example_ids: tuple[str, ...]
    recipe: dict[str, str | int | float | None]
    sources: dict[str, int]
    decontaminated: dict[str, int]
    synthesis: SynthesisReport


class EvalItem(Record):
    """A frozen question, pinned to the hash of its source document. `guarded`: it stood in the eval set before this one."""

    id: str
    question: str
    answer: str | None
    document_id: str
    document_sha256: str
    style: Style
    guarded: bool


class EvalSet(Record):
    """Frozen human-written questions whose documents are never trained on."""

    id: str
    project: str
    items: tuple[EvalItem, ...]
    retired: tuple[RetiredLabel, ...]
    previous_id: str | None


# --- what answers, and how well -------------------------------------------------------------------------------------------


class GenerationParams(Record):
    """Greedy when temperature is 0; `max_new_tokens` in tokens."""

    max_new_tokens: int = 32
    temperature: float = 0.0
    seed: int = 0


class Generation(Record):
    """One model output; seconds is the wall time of its batch divided by the batch's size."""

    text: str
    finish: Literal["stop", "length"]
    tokens_in: int
    tokens_out: int
    seconds: float


class System(Record):
    """What answers: model, adapter, program, corpus and retrieval. Its hash is its id."""

    id: str
    base_model: str
    base_revision: str
    adapter_id: str | None
    program: Literal["standard", "optimised", "closed-book"]
    program_hash: str
    snapshot_id: str
    embedder: str
    k: int
    generation: GenerationParams

    @classmethod
    def of(
        cls,
        *,
        base_model: str,
        base_revision: str,
        adapter_id: str | None,
        program: str,
        program_hash: str,
        snapshot_id: str,
        embedder: str,
        k: int,
        generation: GenerationParams,
    ) -> Self:
        """The System with its content id."""
        parts = {
            "base_model": base_model,
            "base_revision": base_revision,
            "adapter_id": adapter_id,
            "program": program,
            "program_hash": program_hash,
            "snapshot_id": snapshot_id,
            "embedder": embedder,
            "k": k,
            "generation": generation.model_dump(),
        }
        return cls.model_validate({"id": content_id("system", parts), **parts})

    def on(self, snapshot_id: str) -> Self:
        """The same System over another corpus snapshot."""
        parts = {name: getattr(self, name) for name in type(self).model_fields if name != "id"}
        return self.of(**{**parts, "snapshot_id": snapshot_id})


class LossPoint(Record):
    """One optimiser step: mean token loss in nats, learning rate, tokens seen so far."""

    step: int
    loss: float
    learning_rate: float
    tokens: int


class Adapter(Record):
    """A trained LoRA adapter; `uri` is where its safetensors and manifest are."""

    id: str
    base_model: str
    base_revision: str
    stages: tuple[str, ...]
    config_hash: str
    dataset_id: str
    metrics: dict[str, float]
    uri: str


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


# --- drift, feedback, cycles ----------------------------------------------------------------------------------------------


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
    trigger: Literal["schedule", "manual", "backfill"]
    scheduled_at: datetime
    state: CycleState
    reason: str
    fingerprint: str | None
    stages: tuple[StageRun, ...]
    cost: Cost
    decision_id: str | None
    drift_id: str | None
    report_uri: str | None
