"""The methods side by side: arms, what they are trained on, how chunks are retrieved, and the table of what came of it."""

from csift.benchmarks.arms import REFERENCE, WHOLE, Arm, arm_of, arms_of
from csift.benchmarks.data import MethodData, choose_people, own_mistakes, teach
from csift.benchmarks.files import samples_json, summary_csv
from csift.benchmarks.judging import TokenF1
from csift.benchmarks.records import Benchmark, JudgedArm, RetrievalChoice, RetrievalTrial, Row, Setup, WinRate
from csift.benchmarks.retrieval import ExactIndex, LexicalIndex, choose, index_over, try_retrieval
from csift.benchmarks.table import Cell, Pricing, row, win_rate

__all__ = [
    "REFERENCE",
    "WHOLE",
    "Arm",
    "Benchmark",
    "Cell",
    "ExactIndex",
    "JudgedArm",
    "LexicalIndex",
    "MethodData",
    "Pricing",
    "RetrievalChoice",
    "RetrievalTrial",
    "Row",
    "Setup",
    "TokenF1",
    "WinRate",
    "arm_of",
    "arms_of",
    "choose",
    "choose_people",
    "index_over",
    "own_mistakes",
    "row",
    "samples_json",
    "summary_csv",
    "teach",
    "try_retrieval",
    "win_rate",
]
