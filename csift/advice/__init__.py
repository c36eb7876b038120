"""Which path of training stages, and why. Pure: the same facts give the same advice.

docs/methods.md says when which method is worth it.

Not covered: whether the corpus is far from what the base was pre-trained on (the goal "domain knowledge" says that it is), the
length of the project's own rows, several GPUs, and training without adapters.
"""

from csift.advice.case import CPT_TOKENS, PREFERENCES, SFT_PAIRS, THUMBS, Case, in_words
from csift.advice.cautions import cautions
from csift.advice.ladder import Reasons, climb
from csift.advice.memory import choose_adapter
from csift.advice.records import (
    AdapterAdvice,
    AdapterKind,
    Advice,
    BaseFacts,
    Inventory,
    LeftOut,
    Stage,
    TrainingBudget,
)
from csift.exceptions import TrainingError
from csift.schemas.base import Goal

__all__ = [
    "AdapterAdvice",
    "AdapterKind",
    "Advice",
    "BaseFacts",
    "Goal",
    "Inventory",
    "LeftOut",
    "Stage",
    "TrainingBudget",
    "advise",
    "explain",
]


def advise(data: Inventory, base: BaseFacts, goal: Goal, budget: TrainingBudget) -> Advice:
    """The path of stages that the data, the base model and the budget allow and the goal asks for.

    Raises:
        TrainingError: there is nothing to train on, nothing that serves the goal, or the base does not fit into the GPU's memory.
    """
    case = Case(data, base, goal, budget)
    advised, refused = climb(case)
    if not advised:
        raise TrainingError(_nothing(case, refused))
    path = tuple(Stage(method=method, reason=reason, hours=case.hours(method)) for method, reason in advised.items())
    hours = sum(stage.hours for stage in path)
    return Advice(
        path=path,
        left_out=tuple(LeftOut(method=method, reason=reason) for method, reason in refused.items()),
        adapter=choose_adapter(case, tuple(advised)),
        warnings=tuple(cautions(case, tuple(advised), hours)),
        hours=hours,
        tokens_per_second=case.tokens_per_second,
    )


def explain(advice: Advice) -> str:
    """The advice as plain lines."""
    adapter = advice.adapter
    each = ", ".join(f"{stage.method} {in_words(stage.hours)}" for stage in advice.path)
    lines = [
        f"Path: {' → '.join(advice.stages)}",
        *(f"  {stage.method}: {stage.reason}" for stage in advice.path),
        f"Adapter: {adapter.kind}, rank {adapter.rank}",
        f"  {adapter.reason}",
        f"Time: roughly {in_words(advice.hours)}",
        f"  {each}; estimated at {advice.tokens_per_second:,.0f} tokens/s of sft",
        "Left out:",
        *(f"  {entry.method}: {entry.reason}" for entry in advice.left_out),
    ]
    if advice.warnings:
        lines += ["Mind:", *(f"  {warning}" for warning in advice.warnings)]
    return "\n".join(lines)


def _nothing(case: Case, refused: Reasons) -> str:
    if case.data == Inventory(eval_questions=case.data.eval_questions):
        return (
            f"there is nothing to train on: add {SFT_PAIRS} prompt/answer pairs, {PREFERENCES} preferences, {THUMBS} thumbs, "
            f"or a corpus of {CPT_TOKENS:,} tokens"
        )
    lacking = "; ".join(f"{method}: {refused[method]}" for method in ("cpt", "sft", "dpo", "kto"))
    return f"nothing that there is serves the goal {case.goal!r}, add what is missing: {lacking}"
