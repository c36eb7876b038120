"""Bedrock Custom Model Import: a folder of weights in S3 becomes a model that is asked on demand.

https://docs.aws.amazon.com/bedrock/latest/userguide/model-customization-import-model.html
"""

from collections.abc import Callable
from typing import Any

from pydantic import Field

from csift.bedrock.errors import code_of, told
from csift.bedrock.records import PROJECT_TAG, name_of
from csift.exceptions import ConfigError, TrainingError
from csift.interfaces import Progress, no_progress
from csift.schemas.base import ROLE_ARN, S3_URI, Record

POLL_SECONDS = 15.0  # imports take minutes
KINDS = ("llama", "mistral", "mixtral", "gpt_bigcode", "qwen2", "qwen3", "qwen3_moe", "gpt_oss")  # model_type of text models
NOTICE = (
    "importing costs nothing; the imported model is charged by the month for being kept, and by the minute and model copy for "
    "being asked, in windows of five minutes (https://aws.amazon.com/bedrock/pricing/)"
)


class ModelImport(Record):
    """An import: the same fields are the same job, however often it is asked for. `model_uri` is a folder of S3."""

    project: str = Field(min_length=1, pattern=r"[A-Za-z0-9]")
    adapter_id: str
    model_uri: str = Field(pattern=S3_URI)
    role_arn: str = Field(pattern=ROLE_ARN)

    @property
    def name(self) -> str:
        """What its jobs' names begin with: a job that failed keeps its own for ever, so the next try has a number behind it."""
        return name_of(self.project, [self.adapter_id, self.model_uri, self.role_arn])


def require_importable(kind: str) -> None:
    """Raises ConfigError when Bedrock imports no models of this `model_type`."""
    if kind not in KINDS:
        known = ", ".join(KINDS)
        raise ConfigError(f"Bedrock imports no {kind} models, only {known}; export it with --merged and serve it elsewhere")


def import_model(client: Any, asked: ModelImport, wait: Callable[[float], object], progress: Progress = no_progress) -> str:
    """The ARN of the imported model; the job of an earlier call is followed, and what was imported is not imported again.

    Args:
        client: boto3's `bedrock` client.
        wait: called with seconds between two looks at the job.

    Raises:
        TrainingError: Bedrock refuses, or the job failed; asked again, it is tried again.
    """
    jobs = _jobs(client, asked)
    living = next((job for job in jobs if job["status"] != "Failed"), None)
    name = str(living["jobName"]) if living else asked.name + (f"-{len(jobs) + 1}" if jobs else "")
    arn = str(living["jobArn"]) if living else _create(client, asked, name)
    with told(f"following import job {name} (which goes on by itself; run again to follow it)"):
        while (state := client.get_model_import_job(jobIdentifier=arn))["status"] == "InProgress":
            progress(f"bedrock {name}", 0, 1, "importing")
            wait(POLL_SECONDS)
    progress(f"bedrock {name}", 1, 1, str(state["status"]))
    if state["status"] != "Completed":
        reason = " ".join(state.get("failureMessage", "Bedrock gives no reason").split()).rstrip(".")
        raise TrainingError(f"import job {name} failed: {reason}; correct what it names and run again")
    return str(state["importedModelArn"])


def _jobs(client: Any, asked: ModelImport) -> list[dict[str, Any]]:
    with told(f"looking for import job {asked.name}"):
        pages = client.get_paginator("list_model_import_jobs").paginate(nameContains=asked.name)
        return [job for page in pages for job in page.get("modelImportJobSummaries", ())]


def _create(client: Any, asked: ModelImport, name: str) -> str:
    from botocore.exceptions import ClientError

    tags = [{"key": PROJECT_TAG, "value": asked.project}]
    with told(f"creating import job {name}"):
        try:
            made = client.create_model_import_job(
                jobName=name,
                importedModelName=name,
                roleArn=asked.role_arn,
                modelDataSource={"s3DataSource": {"s3Uri": asked.model_uri}},
                jobTags=tags,
                importedModelTags=tags,
                clientRequestToken=name,
            )
        except ClientError as error:
            # a list may be late: a name in use is this job, as it is a content hash
            found = next((job for job in _jobs(client, asked) if job["jobName"] == name), None)
            if code_of(error) in {"ConflictException", "ValidationException"} and found:
                return str(found["jobArn"])
            raise
    return str(made["jobArn"])
