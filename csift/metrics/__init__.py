"""What is measured of answers, beside the judge's verdict. Definitions, ranges and limits: docs/evaluation.md."""

from csift.metrics.finding import GoldSpans
from csift.metrics.grounding import WordGrounding
from csift.metrics.guard import GuardQuestion, RefusalGuard, declines, guard_questions
from csift.metrics.measuring import METRICS_VERSION, Instruments, measure, summarise
from csift.metrics.overlap import exact_match, rouge_l, token_f1
from csift.metrics.semantic import Encoder, bertscore, similarity
from csift.metrics.statistics import mean, quantile, share

__all__ = [
    "METRICS_VERSION",
    "Encoder",
    "GoldSpans",
    "GuardQuestion",
    "Instruments",
    "RefusalGuard",
    "WordGrounding",
    "bertscore",
    "declines",
    "exact_match",
    "guard_questions",
    "mean",
    "measure",
    "quantile",
    "rouge_l",
    "share",
    "similarity",
    "summarise",
    "token_f1",
]
