"""What all records share."""

from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict

Split = Literal["train", "eval", "golden"]
Style = Literal["factoid", "yes_no", "list", "unanswerable", "multi_chunk"]
STYLES: tuple[Style, ...] = get_args(Style)
Method = Literal["cpt", "sft", "dpo", "orpo", "kto", "reward", "ppo", "grpo", "rloo"]
METHODS: tuple[Method, ...] = get_args(Method)
Goal = Literal["domain knowledge", "answer style and accuracy", "preference and tone", "less hallucination"]


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
