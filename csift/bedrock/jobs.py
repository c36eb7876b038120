"""A customization job, made once and followed until it ends."""

from collections.abc import Callable
from typing import Any

from csift.bedrock.errors import code_of, told
from csift.bedrock.records import PROJECT_TAG, Customization
from csift.exceptions import TrainingError
from csift.interfaces import Progress, no_progress
from csift.schemas import CustomModel, System

POLL_SECONDS = 60.0  # jobs take hours
PHASES = {"dataProcessingDetails": "data processing", "trainingDetails": "training", "validationDetails": "validation"}


def customize(client: Any, job: Customization, wait: Callable[[float], object], progress: Progress = no_progress) -> CustomModel:
    """Trains a model on Bedrock, or takes the job that was made for the same Customization before, and waits for its end.

    It may be killed and called again at any time: the job is found by its name, and a request that got no answer is known to
    Bedrock by its token.

    Args:
        client: boto3's `bedrock` client; throttled calls are repeated by botocore (`csift.retrieval.aws.aws_client`).
        wait: called with seconds between two looks at the job (time.sleep, or an event's wait). What it raises goes through; the
            job goes on.
        progress: is told the phases that are done (data processing, training, validation).

    Raises:
        TrainingError: Bedrock refuses the job or may not be asked, the job failed or was stopped, or its model was deleted.
    """
    arn = _find(client, job) or _create(client, job)
    with told(f"following customization job {job.job_name} (which goes on by itself; run again to follow it)"):
        while (state := client.get_model_customization_job(jobIdentifier=arn))["status"] in {"InProgress", "Stopping"}:
            _show(job, state, progress)
            wait(POLL_SECONDS)
        _show(job, state, progress)
    if state["status"] != "Completed":
        raise TrainingError(_ended(job, state))
    return _model(client, job, state)


def stop(client: Any, job: Customization) -> None:
    """Asks Bedrock to stop the job; what it has trained until then is charged. A job that has ended, or never began, stays so.

    Raises:
        TrainingError: Bedrock may not be asked.
    """
    from botocore.exceptions import ClientError

    if not (arn := _find(client, job)):
        return
    with told(f"stopping customization job {job.job_name}"):
        try:
            client.stop_model_customization_job(jobIdentifier=arn)
        except ClientError as error:
            if code_of(error) != "ConflictException":  # it has ended
                raise


def system_of(model: CustomModel, like: System) -> System:
    """The System that answers as `like` does, with this model in place of its base and adapter.

    The model, and not the throughput that serves it for a while, is what answers: the System stays the same when the throughput
    is deleted and made again.
    """
    parts = {name: getattr(like, name) for name in System.model_fields if name not in {"id", "generation"}}
    changed = {"base_model": f"bedrock/{model.arn}", "base_revision": model.revision, "adapter_id": None}
    return System.of(**{**parts, **changed}, generation=like.generation)


def _find(client: Any, job: Customization) -> str | None:
    """The ARN of the job, if there is one. By listing, as it does not depend on how Bedrock says that there is none."""
    with told(f"looking for customization job {job.job_name}"):
        pages = client.get_paginator("list_model_customization_jobs").paginate(nameContains=job.job_name)
        found = [one for page in pages for one in page.get("modelCustomizationJobSummaries", ())]
    return next((str(one["jobArn"]) for one in found if one["jobName"] == job.job_name), None)


def _create(client: Any, job: Customization) -> str:
    from botocore.exceptions import ClientError

    with told(f"creating customization job {job.job_name}"):
        try:
            return str(client.create_model_customization_job(**_request(job))["jobArn"])
        except ClientError as error:
            # A name in use is a conflict by Bedrock's reference, and has been seen as "ValidationException: The provided job name
            # is currently in use"; with a name that is a content hash it means that this job is there.
            if code_of(error) in {"ConflictException", "ValidationException"} and (arn := _find(client, job)):
                return arn
            raise


def _request(job: Customization) -> dict[str, Any]:
    tags = [{"key": PROJECT_TAG, "value": job.name}]
    request: dict[str, Any] = {
        "jobName": job.job_name,
        "customModelName": job.job_name,
        "clientRequestToken": job.job_name,
        "roleArn": job.role_arn,
        "baseModelIdentifier": job.base_model,
        "customizationType": job.kind,
        "trainingDataConfig": {"s3Uri": job.training_uri},
        "outputDataConfig": {"s3Uri": job.output_uri},
        "jobTags": tags,
        "customModelTags": tags,
    }
    if job.hyperparameters:
        request["hyperParameters"] = job.hyperparameters
    if job.validation_uri:
        request["validationDataConfig"] = {"validators": [{"s3Uri": job.validation_uri}]}
    if job.kind == "DISTILLATION":
        teacher = {"teacherModelIdentifier": job.teacher_model, "maxResponseLengthForInference": job.max_response_tokens}
        request["customizationConfig"] = {"distillationConfig": {"teacherModelConfig": teacher}}
    return request


def _show(job: Customization, state: dict[str, Any], progress: Progress) -> None:
    details = state.get("statusDetails", {})
    phases = {words: details.get(key, {}).get("status", "NotStarted") for key, words in PHASES.items()}
    done = len(phases) if state["status"] == "Completed" else sum(status == "Completed" for status in phases.values())
    running = [words for words, status in phases.items() if status == "InProgress"]
    progress(f"bedrock {job.job_name}", done, len(phases), ", ".join(running) or state["status"])


def _ended(job: Customization, state: dict[str, Any]) -> str:
    again = f"or train the same again, and pay it again, with training.bedrock.attempt = {job.attempt + 1}"
    if state["status"] == "Failed":
        reason = " ".join(state.get("failureMessage", "Bedrock gives no reason").split()).rstrip(".")
        return f"customization job {job.job_name} failed: {reason}; correct what it names, {again}"
    if state["status"] == "Stopped":
        return f"customization job {job.job_name} was stopped and made no model; change its settings, {again}"
    return f"customization job {job.job_name} is {state['status']}, which csift does not know; look at it in Bedrock's console"


def _model(client: Any, job: Customization, state: dict[str, Any]) -> CustomModel:
    from botocore.exceptions import ClientError

    with told(f"reading custom model {job.job_name}"):
        try:
            found = client.get_custom_model(modelIdentifier=job.job_name)
        except ClientError as error:
            if code_of(error) != "ResourceNotFoundException":
                raise
            raise TrainingError(
                f"custom model {job.job_name} was deleted; train it again, and pay it again, with "
                f"training.bedrock.attempt = {job.attempt + 1}"
            ) from None
    loss = found.get("trainingMetrics", {}).get("trainingLoss")
    return CustomModel(
        arn=found["modelArn"],
        name=found["modelName"],
        kind=job.kind,
        base_model=job.base_model,
        project=job.name,
        job_arn=str(state["jobArn"]),
        output_uri=job.output_uri,
        training_loss=None if loss is None else float(loss),
    )
