"""Judges: what scores an answer. The reference judge needs no network; the others ask a language model (docs/judges.md).

What an asking judge cannot read is asked again and then a Failure, never a score. Its `id` covers prompt, model, parameters and
parser.
"""

from csift.judges.asking import NOT_APPLICABLE
from csift.judges.critic import CriticJudge
from csift.judges.factual import FactualityJudge
from csift.judges.faithful import NO_CLAIM, FaithfulnessJudge
from csift.judges.graded import GradedJudge
from csift.judges.harm import HarmJudge
from csift.judges.pairwise import PairByScore, PairTally, PairwiseJudge, tally
from csift.judges.panel import Disagreement, PanelJudge, disagreement
from csift.judges.reference import PARSER_VERSION, ReferenceJudge, mark_answer
from csift.judges.retrieval import RetrievalJudge
from csift.judges.rubric import RubricJudge

__all__ = [
    "NOT_APPLICABLE",
    "NO_CLAIM",
    "PARSER_VERSION",
    "CriticJudge",
    "Disagreement",
    "FactualityJudge",
    "FaithfulnessJudge",
    "GradedJudge",
    "HarmJudge",
    "PairByScore",
    "PairTally",
    "PairwiseJudge",
    "PanelJudge",
    "ReferenceJudge",
    "RetrievalJudge",
    "RubricJudge",
    "disagreement",
    "mark_answer",
    "tally",
]
