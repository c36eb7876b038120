"""What is asked of Bedrock and what it made. Names are content hashes, so that a run that was killed finds what it had begun."""

import re
from datetime import datetime
from typing import Self, get_args

from pydantic import Field, model_validator

from csift.hashing import content_id
from csift.schemas.base import ROLE_ARN, S3_URI, Commitment, CustomizationKind, Record

COMMITMENTS: tuple[Commitment, ...] = get_args(Commitment)

PROJECT_TAG = "csift-project"
HOURS = {"OneMonth": 31 * 24, "SixMonths": 184 * 24}  # the longest that a term can be


def name_of(project: str, payload: object) -> str:
    """A name that Bedrock takes for a job, a model or a throughput: the project and the payload's hash, at most 63 characters."""
    return f"{re.sub(r'[^a-z0-9]+', '-', project.lower())[:44].strip('-')}-{content_id('x', payload)[2:]}"


class Customization(Record):
    """A model customization job: the same fields are the same job, however often it is asked for.

    `name` is the csift project. `base_model` is a foundation model's id as listed for customization, such as
    amazon.nova-lite-v1:0:300k; `hyperparameters` are the model's own, such as epochCount. A job that failed keeps its name for
    ever in Bedrock: a higher `attempt` makes it another job, which is paid again.

    https://docs.aws.amazon.com/bedrock/latest/APIReference/API_CreateModelCustomizationJob.html
    """

    name: str = Field(min_length=1, pattern=r"[A-Za-z0-9]")
    kind: CustomizationKind
    base_model: str = Field(min_length=1)
    role_arn: str = Field(pattern=ROLE_ARN)
    training_uri: str = Field(pattern=S3_URI)
    validation_uri: str | None = Field(None, pattern=S3_URI)
    output_uri: str = Field(pattern=S3_URI)
    hyperparameters: dict[str, str] = Field(default_factory=dict)
    teacher_model: str | None = Field(None, min_length=1)
    max_response_tokens: int | None = Field(None, ge=1)
    attempt: int = Field(1, ge=1)

    @model_validator(mode="after")
    def _teacher_with_distillation(self) -> Self:
        given = (self.teacher_model is not None, self.max_response_tokens is not None)
        if self.kind == "DISTILLATION" and not all(given):
            raise ValueError("a distillation needs teacher_model and max_response_tokens")
        if self.kind != "DISTILLATION" and any(given):
            raise ValueError("teacher_model and max_response_tokens are of a distillation only")
        return self

    @property
    def job_name(self) -> str:
        """The name of the job and of its model, and the token by which Bedrock knows a request that it has had before."""
        return name_of(self.name, self.model_dump())


class Quote(Record):
    """What a throughput will cost. Without it nothing is provisioned.

    Bedrock has no call that tells prices: `usd_per_unit_hour`, US$ a model unit and hour with this commitment, is taken from
    https://aws.amazon.com/bedrock/pricing/ for the base model and region.
    """

    model_arn: str
    project: str
    units: int = Field(ge=1)
    commitment: Commitment | None
    usd_per_unit_hour: float = Field(ge=0)

    @property
    def throughput_name(self) -> str:
        """The name that a throughput by this quote has; its price is no part of it. One with a commitment outlasts the model that
        it is made for, so that all models of its base share it."""
        serves = self.model_arn.rpartition("/")[0] if self.commitment else self.model_arn
        return name_of(self.project, [serves, self.units, self.commitment])

    @property
    def usd_per_hour(self) -> float:
        """US$ an hour, used or not."""
        return self.units * self.usd_per_unit_hour

    @property
    def usd_committed(self) -> float:
        """US$ that are owed at most as soon as it is made: for the whole term, or for the hour that has begun."""
        return self.usd_per_hour * (HOURS[self.commitment] if self.commitment else 1)

    def __str__(self) -> str:
        """What is shown before anything is provisioned."""
        units = f"{self.units} model unit{'s' if self.units > 1 else ''}"
        price = f"{units} of {self.model_arn}: US$ {self.usd_per_hour:,.2f} an hour"
        if self.commitment:
            term = {"OneMonth": "one month", "SixMonths": "six months"}[self.commitment]
            return f"{price} for {term}, up to US$ {self.usd_committed:,.2f}; it cannot be deleted earlier and renews by itself"
        return f"{price} until it is deleted"


class Provisioned(Record):
    """A throughput in service."""

    arn: str
    name: str
    model_arn: str
    usd_per_hour: float

    @property
    def model(self) -> str:
        """Under this name csift's engines ask it."""
        return f"bedrock/{self.arn}"


class Orphan(Record):
    """A throughput of csift's that still costs money; `until` is the end of its commitment, before which it cannot be deleted."""

    arn: str
    name: str
    project: str
    model_arn: str
    units: int
    status: str
    since: datetime
    until: datetime | None
