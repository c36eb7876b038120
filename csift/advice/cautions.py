"""What to mind before training: licence, too few eval questions, a missing chat template, facts that change, time."""

import re
from collections.abc import Iterator

from csift.advice.case import Case, in_words
from csift.advice.memory import BYTES_BF16, BYTES_NF4, LONGEST_ROW, RANK, peak
from csift.schemas.base import Method

# Paired items that the gate needs to see a gain of so many points with 80% power (docs/methods.md).
EVAL_FOR_10_POINTS = (115, 230)
EVAL_FOR_5_POINTS = (470, 940)

# SPDX identifiers and the names that the model hub gives.
_FREE = re.compile(r"apache-2\.0|mit|bsd(-[23]-clause)?|isc|cc0-1\.0|cc-by-[34]\.0|unlicense|cdla-permissive-[12]\.0")
_PART = r"(?:^|[-_ .])(?:{})(?:[-_ .]|$)"
_CONDITIONS = (
    (re.compile(_PART.format("nc") + "|non-?commercial|research"), "forbids commercial use"),
    (re.compile(_PART.format("nd") + "|no-?deriv"), "forbids derivatives, and an adapter is one"),
    (re.compile(r"^llama|^gemma|rail\b"), "limits who may use it, for what, or what may be derived from it"),
    (re.compile(_PART.format("sa|[al]?gpl")), "asks that derivatives keep its licence"),
)

RETRIEVAL_FIRST = (
    "facts that change belong into retrieval, not into weights: it beat fine-tuning for old and new facts in Fine-Tuning or "
    "Retrieval? Comparing Knowledge Injection in LLMs (Ovadia et al., EMNLP 2024)"
)


def cautions(case: Case, stages: tuple[Method, ...], hours: float) -> Iterator[str]:
    """All that holds for this case, the gravest first."""
    yield from licence_cautions(case.base.licence)
    yield from _eval_cautions(case.data.eval_questions)
    yield from _base_cautions(case, stages)
    yield from _data_cautions(case, stages)
    if case.goal in ("domain knowledge", "less hallucination"):
        yield RETRIEVAL_FIRST
    if hours > case.budget.hours:
        yield f"the path takes about {in_words(hours)} and the budget is {in_words(case.budget.hours)}: set max_steps lower"
    if case.budget.device == "gpu" and case.budget.gpu_memory_gb is None:
        models = 2 if "reward" in stages else 1
        plain, small = (peak(case, size, RANK, models).total for size in (BYTES_BF16, BYTES_NF4))
        yield f"the GPU's memory is not known: lora needs about {plain:.0f} GB, qlora about {small:.0f} GB"


def licence_cautions(licence: str) -> Iterator[str]:
    """What a licence (an SPDX identifier, or what the hub calls it) asks; nothing for the permissive ones."""
    name = licence.strip().lower()
    if _FREE.fullmatch(name):
        return
    found = [what for pattern, what in _CONDITIONS if pattern.search(name)]
    yield from (f"licence {licence} {what}: read it before you train or serve" for what in found)
    if not found:
        yield f"licence {licence!r} is not among those known to be permissive: find out what it allows before you train or serve"


def _eval_cautions(questions: int) -> Iterator[str]:
    ten, five = ("–".join(map(str, ends)) for ends in (EVAL_FOR_10_POINTS, EVAL_FOR_5_POINTS))
    if questions == 0:
        yield f"no eval questions: the gate cannot decide; it sees a gain of 10 points from {ten} on"
    elif questions < EVAL_FOR_10_POINTS[1]:
        yield f"{questions} eval questions: the gate may miss a gain of 10 points (needs {ten}; 5 points {five}; 80% power)"
    elif questions < EVAL_FOR_5_POINTS[0]:
        yield f"{questions} eval questions: the gate may miss a gain of 5 points (needs {five}; 80% power)"


def _base_cautions(case: Case, stages: tuple[Method, ...]) -> Iterator[str]:
    base = case.base
    if not base.has_chat_template:
        yield f"{base.name} has no chat template: give its tokenizer one, the same for training and serving"
    if base.kind == "base" and stages == ("cpt",):
        yield f"{base.name} will not answer questions after cpt alone: add prompt/answer pairs"
    if base.context_length < LONGEST_ROW:
        yield f"{base.name} reads {base.context_length} tokens: rows are cut to that, and few excerpts fit"


def _data_cautions(case: Case, stages: tuple[Method, ...]) -> Iterator[str]:
    if "sft" in stages and not case.data.human_pairs:
        yield f"all {case.pairs:,} pairs are synthetic: have people write or check some"
    if {"dpo", "orpo"} & set(stages) and not case.data.human_preferences:
        yield f"all {case.data.ai_preferences:,} preferences are a judge's: have people confirm a sample"
