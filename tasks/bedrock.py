"""Amazon Bedrock in the loop: a customization job in place of training, and custom models that answer while they are served.

Bedrock charges a model that serves by the hour, used or not. So answers come from the ledger as far as they are there, and a
throughput is made only when one is missing.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from csift import registry
from csift.bedrock import (
    Customization,
    Provisioned,
    Quote,
    customize,
    loss_points,
    orphans,
    provision,
    provisioned,
    release,
    training_rows,
    upload,
)
from csift.config import BedrockConfig, LoopConfig
from csift.dataset import load_examples, require_whole
from csift.db import database
from csift.exceptions import ConfigError, TrainingError
from csift.interfaces import Progress
from csift.ledger import Ledger
from csift.llm import LanguageModel, NotStored, remote_model, stored_model
from csift.retrieval.aws import aws_client
from csift.schemas import CustomModel, DatasetVersion, System
from csift.settings import settings
from tasks.collaborators import answering, base_model, chunks, trainable_chunks
from tasks.progress import reporter
from tasks.retrying import RETRIES

R = TypeVar("R")
Ask = Callable[[str], LanguageModel]  # by the role that its calls are booked under

CONNECTIONS = 2
CALLS_AT_ONCE = 8  # of a model that serves; it throttles what its units cannot take, and that is waited for


def bedrock() -> Any:
    """A client of Bedrock's control plane. Raises ConfigError when there is no region."""
    told = settings()
    return aws_client("bedrock", told.aws_region, told.aws_endpoint_url, CONNECTIONS)


def customized(config: LoopConfig, told: BedrockConfig, dataset: DatasetVersion, report: Progress) -> CustomModel:
    """The model that Bedrock makes of a dataset; the job of a killed run is followed, and what was made is not made again.

    Raises:
        TrainingError: Bedrock or S3 refuses, the job failed or was stopped, or its model was deleted.
    """
    s3, db = aws_client("s3", settings().aws_region, None, CONNECTIONS), database()
    job = Customization(
        name=config.project,
        kind=told.kind,
        base_model=told.base_model,
        role_arn=told.role_arn,
        training_uri=upload(s3, _rows(config.project, told, dataset), f"{told.s3.rstrip('/')}/data"),
        output_uri=f"{told.s3.rstrip('/')}/output",
        hyperparameters=told.hyperparameters,
        teacher_model=told.teacher_model,
        max_response_tokens=told.max_response_tokens,
        attempt=told.attempt,
    )
    model = registry.save_custom_model(db, customize(bedrock(), job, time.sleep, report), dataset.id)
    try:
        points = loss_points(s3, model)
    except TrainingError as error:  # a model that was paid for is judged without its curve; the report says that there is none
        get_run_logger().warning("no loss curve: %s", error)
        return model
    with db.session() as session:
        for point in points:
            registry.save_loss(session, model.name, point)
    return model


def _rows(project: str, told: BedrockConfig, dataset: DatasetVersion) -> list[str]:
    require_whole(database(), dataset)
    texts = {chunk.id: chunk.text for chunk in chunks(dataset.snapshot_id)}
    passages = [chunk.text for chunk in trainable_chunks(project, dataset.snapshot_id)]
    return training_rows(told.kind, load_examples(database(), dataset), texts, passages)


def with_model(config: LoopConfig, cycle_id: str, system: System, work: Callable[[Ask], R]) -> R:
    """What `work` makes of a System's answers; a custom model is served only when the ledger lacks one, and once for all of
    `work`, which then begins again.

    Raises:
        ConfigError: it must be served, and nothing says what that may cost.
        TrainingError: it cannot be served, or its throughput cannot be deleted.
        CsiftError: whatever `work` raises.
    """
    if system.custom_model is None:
        base = base_model(system.base_model)
        return work(lambda role: answering(base, cycle_id, role, system.adapter_id))
    ledger = Ledger(database(), cycle_id)
    with suppress(NotStored):  # then it is served, below, where its errors do not carry this one along
        return work(lambda role: stored_model(system.base_model, ledger, role))
    with _served(config, system) as served:
        return work(lambda role: _asked(system, served, ledger, role))


def _asked(system: System, served: Provisioned, ledger: Ledger, role: str) -> LanguageModel:
    return remote_model(
        system.base_model,
        ledger,
        role,
        settings=settings(),
        concurrency=CALLS_AT_ONCE,
        max_tokens=system.generation.max_new_tokens,
        temperature=system.generation.temperature,
        usd_per_million_in=0.0,  # the hour is paid, not the token
        usd_per_million_out=0.0,
        asked_as=served.arn,
        structured=False,
    )


@contextmanager
def _served(config: LoopConfig, system: System) -> Iterator[Provisioned]:
    told = config.training.bedrock
    if told is None:
        raise ConfigError(
            f"{system.base_model} must be served to answer, which costs by the hour; say at what price in [training.bedrock]"
        )
    quoted = Quote(
        model_arn=system.custom_model or "",
        project=config.project,
        units=told.units,
        commitment=told.commitment,
        usd_per_unit_hour=told.usd_per_unit_hour,
    )
    get_run_logger().info("provisioned throughput: %s", quoted)
    given = (bedrock(), quoted, time.sleep, reporter("serve"))
    if quoted.commitment:
        yield provision(*given)
        return
    with provisioned(*given) as served:
        yield served


@task(name="delete left throughput", cache_policy=NO_CACHE, **RETRIES)
def delete_left(config: LoopConfig) -> None:
    """Deletes the throughputs without commitment that a killed run of the project left; its lease is held, so none is in use.

    Raises:
        TrainingError: Bedrock refuses.
    """
    client = bedrock()
    for left in orphans(client, config.project):
        if left.until is None:
            get_run_logger().warning("deleting the throughput %s of %s, which a killed run left", left.name, left.since)
            release(client, left.name, time.sleep)
