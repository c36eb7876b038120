"""Bedrock and S3 on this machine, and a job for them."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from stores import serving_s3

from bench.bedrock_records import Job
from bench.bedrock_server import BedrockServer
from csift.bedrock import Customization, Quote, customize, upload
from csift.schemas import Commitment, CustomModel

ROLE = "arn:aws:iam::123456789012:role/csift-customization"
ROWS = ['{"prompt": "What is the term?", "completion": "Two years."}', '{"prompt": "Straße?", "completion": "Ja."}']
METRICS = "step_number,epoch_number,training_loss,perplexity\n0,0,2.5,12.2\n1,0,1.5,4.5\n2,1,1.0,2.7\n"
PRICE = 20.5


class Killed(BaseException):
    """The process ends here."""


@contextmanager
def s3_bucket() -> Iterator[Any]:
    """A client of a bucket `training`; meanwhile the environment has keys that reach nothing outside, and this S3."""
    with serving_s3() as client:
        with suppress(client.exceptions.BucketAlreadyOwnedByYou):  # all of moto's servers in a process are one
            client.create_bucket(Bucket="training", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
        yield client


def bedrock_over(s3: Any, **told: Any) -> BedrockServer:
    """Bedrock, which reads and writes that bucket."""

    def exists(uri: str) -> bool:
        parts = urlsplit(uri)
        return "Contents" in s3.list_objects_v2(Bucket=parts.netloc, Prefix=parts.path.lstrip("/"))

    return BedrockServer(exists=exists, on_completed=lambda job: write_metrics(s3, job, METRICS.encode()), **told)


def write_metrics(s3: Any, job: Job, content: bytes) -> None:
    """What Bedrock writes beside its output, where it writes it."""
    folder = urlsplit(job.params["outputDataConfig"]["s3Uri"]).path.strip("/")
    key = f"{folder}/model-customization-job-{job.id}/training_artifacts/step_wise_training_metrics.csv"
    s3.put_object(Bucket="training", Key=key, Body=content)


def connect(server: BedrockServer) -> Any:
    """A client that tries once, as a process of its own would make."""
    config = Config(retries={"total_max_attempts": 1}, read_timeout=10)
    return boto3.client("bedrock", endpoint_url=server.url, config=config)


def the_job(s3: Any, **changes: Any) -> Customization:
    """A fine-tuning job on uploaded rows."""
    fields = {
        "name": "catalogue",
        "kind": "FINE_TUNING",
        "base_model": "amazon.nova-lite-v1:0:300k",
        "role_arn": ROLE,
        "training_uri": upload(s3, ROWS, "s3://training/csift/data"),
        "output_uri": "s3://training/csift/output",
        "hyperparameters": {"epochCount": "2"},
    }
    return Customization.model_validate({**fields, **changes})


def at_once(seconds: float) -> None:
    """Waits for nothing."""


def quote(model: CustomModel, units: int, commitment: Commitment | None, usd_per_unit_hour: float) -> Quote:
    """What serving the model costs."""
    return Quote(
        model_arn=model.arn, project=model.project, units=units, commitment=commitment, usd_per_unit_hour=usd_per_unit_hour
    )


def trained(server: BedrockServer, s3: Any) -> CustomModel:
    """The model of that job."""
    return customize(connect(server), the_job(s3), at_once)
