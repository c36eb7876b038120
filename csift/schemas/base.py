"""What all records share."""

from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict

Split = Literal["train", "eval", "golden"]
Style = Literal["factoid", "yes_no", "list", "unanswerable", "multi_chunk"]
STYLES: tuple[Style, ...] = get_args(Style)
Method = Literal["cpt", "sft", "dpo", "orpo", "kto", "reward", "ppo", "grpo", "rloo"]
METHODS: tuple[Method, ...] = get_args(Method)
CustomizationKind = Literal["FINE_TUNING", "CONTINUED_PRE_TRAINING", "DISTILLATION"]
# the stage that stands for a kind in training.methods and in reports; a distillation is tuning on answers, too
METHOD_OF: dict[CustomizationKind, Method] = {"FINE_TUNING": "sft", "CONTINUED_PRE_TRAINING": "cpt", "DISTILLATION": "sft"}
Commitment = Literal["OneMonth", "SixMonths"]
Every = Literal["day", "week", "month", "quarter", "year"]  # windows of a backfill
Goal = Literal["domain knowledge", "answer style and accuracy", "preference and tone", "less hallucination"]

# as in the service model of Amazon Bedrock, so that a slip is told before anything is uploaded
ROLE_ARN = r"^arn:aws(-[^:]+)?:iam::[0-9]{12}:role/.+$"
S3_URI = r"^s3://[a-z0-9][-.a-z0-9]{1,61}[a-z0-9](/[-!_*'().a-zA-Z0-9]+)*/?$"


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
