"""Serving a custom model: provisioned throughput is charged by the hour, used or not, so it has a price before it has a name, and
an end."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from csift.bedrock.errors import code_of, told
from csift.bedrock.records import PROJECT_TAG, Orphan, Provisioned, Quote
from csift.exceptions import ConfigError, CsiftError, TrainingError
from csift.interfaces import Progress, no_progress
from csift.retrieval.aws import one_line

POLL_SECONDS = 30.0
CHANGING = {"Creating", "Updating"}

Wait = Callable[[float], object]


def provision(client: Any, quoted: Quote, wait: Wait, progress: Progress = no_progress) -> Provisioned:
    """Makes the throughput that was quoted, or takes the one that an earlier call made, and waits until it serves the model.

    It is charged from here on until `release`; rather use `provisioned`. One with a commitment is moved to the model from any
    other of the same base that it served (docs.aws.amazon.com/bedrock/latest/userguide/prov-thru-edit.html).

    Args:
        client: boto3's `bedrock` client.
        wait: called with seconds between two looks.
        progress: is told the price before anything is made.

    Raises:
        TrainingError: Bedrock refuses, or the throughput failed; one that failed is deleted.
    """
    name = quoted.throughput_name
    progress(f"bedrock {name}", 0, 1, str(quoted))
    arn = _arn(client, name) or _create(client, quoted)
    state = _settled(client, arn, quoted, wait, progress)
    if state["status"] == "InService" and state["modelArn"] != quoted.model_arn:
        with told(f"moving provisioned throughput {name} to {quoted.model_arn}"):
            client.update_provisioned_model_throughput(provisionedModelId=arn, desiredModelId=quoted.model_arn)
        state = _settled(client, arn, quoted, wait, progress)
    if state["status"] != "InService":
        reason = " ".join(state.get("failureMessage", "Bedrock gives no reason").split()).rstrip(".")
        release(client, name, wait)
        raise TrainingError(f"provisioned throughput {name} failed and was deleted: {reason}; correct that or try again later")
    progress(f"bedrock {name}", 1, 1, f"in service, {quoted}")
    return Provisioned(arn=arn, name=name, model_arn=quoted.model_arn, usd_per_hour=quoted.usd_per_hour)


def _settled(client: Any, arn: str, quoted: Quote, wait: Wait, progress: Progress) -> dict[str, Any]:
    """What the throughput is when it changes no more; until then it may answer by the model that it served before."""
    with told(f"waiting for provisioned throughput {quoted.throughput_name}"):
        while True:
            state: dict[str, Any] = client.get_provisioned_model_throughput(provisionedModelId=arn)
            moves = state["status"] == "InService" and state["modelArn"] != state["desiredModelArn"]
            if state["status"] not in CHANGING and not moves:
                return state
            progress(f"bedrock {quoted.throughput_name}", 0, 1, f"{state['status']}, {quoted}")
            wait(POLL_SECONDS)


def release(client: Any, name: str, wait: Wait) -> None:
    """Deletes a throughput by its name; one still being made is waited for, one that is not there is fine.

    Raises:
        TrainingError: it cannot be deleted, and goes on to cost money: says why.
    """
    with told(f"deleting provisioned throughput {name}, which is charged by the hour until it is deleted,"):
        if (refused := _delete(client, name)) is None:
            return
        while (state := _summary(client, name)) is not None and state["status"] in CHANGING:
            wait(POLL_SECONDS)
        if state is not None and (refused := _delete(client, name)) is not None:
            if until := state.get("commitmentExpirationTime"):
                term = f"provisioned throughput {name} is committed until {until:%Y-%m-%d %H:%M} and renews by itself"
                raise TrainingError(f"{term}; it cannot be deleted before, delete it then") from None
            raise refused


def _delete(client: Any, name: str) -> Exception | None:
    """Deletes without looking first, as a list may not have it yet; returns the refusal where one is being made or committed."""
    from botocore.exceptions import ClientError

    try:
        client.delete_provisioned_model_throughput(provisionedModelId=name)
    except ClientError as error:
        if code_of(error) in {"ConflictException", "ValidationException"}:
            return error
        if code_of(error) != "ResourceNotFoundException":
            raise
    return None


@contextmanager
def provisioned(client: Any, quoted: Quote, wait: Wait, progress: Progress = no_progress) -> Iterator[Provisioned]:
    """A throughput for as long as the block lasts; it is deleted however the block ends, and when it never came into service.

    One at a time of a model and project, which is what a cycle's lease gives. A process that is killed outright deletes nothing:
    `orphans` finds what it left, and so does the next run of the same.

    Raises:
        ConfigError: the quote has a commitment, which outlasts any block.
        TrainingError: as `provision` and `release`.
    """
    if quoted.commitment:
        raise ConfigError(f"a throughput with {quoted.commitment} cannot be deleted after use; quote one without commitment")
    try:
        yield provision(client, quoted, wait, progress)
    except BaseException as error:
        try:
            release(client, quoted.throughput_name, wait)
        except CsiftError as kept:
            raise TrainingError(f"{kept}; before that: {one_line_of(error)}") from error
        raise
    release(client, quoted.throughput_name, wait)


def one_line_of(error: BaseException) -> str:
    """An error's text, or its name where it has none, as KeyboardInterrupt."""
    return one_line(error) if isinstance(error, Exception) else type(error).__name__


def orphans(client: Any, project: str | None = None) -> list[Orphan]:
    """The throughputs that csift made, by their tag, and that still cost money; of all projects when none is named.

    Raises:
        TrainingError: Bedrock may not be asked.
    """
    found = []
    with told("listing provisioned throughputs"):
        for page in client.get_paginator("list_provisioned_model_throughputs").paginate():
            for state in page.get("provisionedModelSummaries", ()):
                owner = _owner(client, state["provisionedModelArn"])
                if owner is not None and project in {None, owner}:
                    found.append(_orphan(state, owner))
    return found


def _orphan(state: dict[str, Any], owner: str) -> Orphan:
    return Orphan(
        arn=state["provisionedModelArn"],
        name=state["provisionedModelName"],
        project=owner,
        model_arn=state["modelArn"],
        units=state["modelUnits"],
        status=state["status"],
        since=state["creationTime"],
        until=state.get("commitmentExpirationTime"),
    )


def _owner(client: Any, arn: str) -> str | None:
    """The project in a throughput's tags; None when csift did not make it, or when it is gone by now."""
    from botocore.exceptions import ClientError

    try:
        tags = client.list_tags_for_resource(resourceARN=arn).get("tags", ())
    except ClientError as error:
        if code_of(error) == "ResourceNotFoundException":
            return None
        raise
    return next((str(tag["value"]) for tag in tags if tag["key"] == PROJECT_TAG), None)


def _summary(client: Any, name: str) -> dict[str, Any] | None:
    with told(f"looking for provisioned throughput {name}"):
        pages = client.get_paginator("list_provisioned_model_throughputs").paginate(nameContains=name)
        found = [one for page in pages for one in page.get("provisionedModelSummaries", ())]
    return next((one for one in found if one["provisionedModelName"] == name), None)


def _arn(client: Any, name: str) -> str | None:
    state = _summary(client, name)
    return None if state is None else str(state["provisionedModelArn"])


def _create(client: Any, quoted: Quote) -> str:
    """Its token is botocore's own, new for each call: one made of the name would, after a deletion, stand for what is gone. A run
    that was killed finds its throughput by the name."""
    from botocore.exceptions import ClientError

    name = quoted.throughput_name
    request = {
        "provisionedModelName": name,
        "modelId": quoted.model_arn,
        "modelUnits": quoted.units,
        "tags": [{"key": PROJECT_TAG, "value": quoted.project}],
        **({"commitmentDuration": quoted.commitment} if quoted.commitment else {}),
    }
    with told(f"creating provisioned throughput {name}"):
        try:
            return str(client.create_provisioned_model_throughput(**request)["provisionedModelArn"])
        except ClientError as error:
            if code_of(error) in {"ConflictException", "ValidationException"} and (arn := _arn(client, name)):
                return arn  # the name is in use
            raise
