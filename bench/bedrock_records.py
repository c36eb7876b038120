"""What the stand-in for Bedrock keeps, and how its lists show it."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from bench.bedrock_wire import Params

ACCOUNT, REGION = "123456789012", "eu-west-1"


@dataclass
class Job:
    """A customization or import job; `looks` is how often it was looked at."""

    params: Params
    arn: str
    model_arn: str
    created: str
    looks: int = 0
    status: str = "InProgress"
    failure: str | None = None

    @property
    def id(self) -> str:
        """The end of its ARN, which names its output folder."""
        return self.arn.rpartition("/")[2]


@dataclass
class Throughput:
    """A provisioned throughput; `desired` is the model that it is moved to, else its own."""

    params: Params
    arn: str
    model_arn: str
    desired: str
    base: str
    created: str
    looks: int = 0
    status: str = "Creating"
    failure: str | None = None
    until: str | None = None


def throughput_row(one: Throughput) -> Params:
    """An entry of the list, and all of what is told of one."""
    return without_none(
        provisionedModelName=one.params["provisionedModelName"],
        provisionedModelArn=one.arn,
        modelArn=one.model_arn,
        desiredModelArn=one.desired,
        foundationModelArn=one.base,
        modelUnits=one.params["modelUnits"],
        desiredModelUnits=one.params["modelUnits"],
        status=one.status,
        commitmentDuration=one.params.get("commitmentDuration"),
        commitmentExpirationTime=one.until,
        creationTime=one.created,
        lastModifiedTime=one.created,
    )


def page(key: str, rows: list[Params], params: Params) -> Params:
    """A page of a list; small ones, so that clients must turn them."""
    first, size = int(params.get("nextToken", 0)), params.get("maxResults", 2)
    more = first + size < len(rows)
    return {key: rows[first : first + size], **({"nextToken": str(first + size)} if more else {})}


def without_none(**parts: Any) -> Params:
    """An answer without the fields that are not there."""
    return {key: value for key, value in parts.items() if value is not None}


def base_id(identifier: str) -> str:
    """A foundation model's id, from it or from its ARN."""
    return identifier.rpartition("foundation-model/")[2]


def base_arn(identifier: str) -> str:
    """Its ARN."""
    return f"arn:aws:bedrock:{REGION}::foundation-model/{base_id(identifier)}"


def stamp() -> str:
    """Now, as Bedrock writes it."""
    return datetime.now(UTC).isoformat()
