"""The frozen records that stages exchange: ids, hashes and numbers. Bytes live in the object store, rows in Postgres.

Every id that can be a content hash is one (`csift.hashing.content_id`), so the same input gives the same id on every machine.
"""

from csift.schemas.base import Failure, Interval, Record, Split, Style
from csift.schemas.corpus import Chunk, Chunking, CorpusSnapshot, DocumentRef, Hit
from csift.schemas.examples import (
    DatasetVersion,
    EvalItem,
    EvalSet,
    Example,
    Label,
    LabelSet,
    PreferencePair,
    Rejection,
    RetiredLabel,
    SynthesisReport,
)
from csift.schemas.judging import (
    ChampionMove,
    EvalReport,
    Evidence,
    GatePolicy,
    JudgedAnswer,
    JudgeItem,
    PairedItem,
    PromotionDecision,
    Score,
    SliceResult,
    Verdict,
)
from csift.schemas.operations import Cost, Cycle, CycleState, DriftReport, FeedbackRecord, StageRun, Trigger
from csift.schemas.systems import Adapter, Generation, GenerationParams, LossPoint, System

__all__ = [
    "Adapter",
    "ChampionMove",
    "Chunk",
    "Chunking",
    "CorpusSnapshot",
    "Cost",
    "Cycle",
    "CycleState",
    "DatasetVersion",
    "DocumentRef",
    "DriftReport",
    "EvalItem",
    "EvalReport",
    "EvalSet",
    "Evidence",
    "Example",
    "Failure",
    "FeedbackRecord",
    "GatePolicy",
    "Generation",
    "GenerationParams",
    "Hit",
    "Interval",
    "JudgeItem",
    "JudgedAnswer",
    "Label",
    "LabelSet",
    "LossPoint",
    "PairedItem",
    "PreferencePair",
    "PromotionDecision",
    "Record",
    "Rejection",
    "RetiredLabel",
    "Score",
    "SliceResult",
    "Split",
    "StageRun",
    "Style",
    "SynthesisReport",
    "System",
    "Trigger",
    "Verdict",
]
