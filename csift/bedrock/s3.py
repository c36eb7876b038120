"""The files of a job: the training rows go to S3, Bedrock's metrics come from there."""

import base64
import csv
import hashlib
import io
import json
import math
import re
from collections.abc import Iterable
from typing import Any

from csift.bedrock.errors import told
from csift.exceptions import ConfigError, TrainingError
from csift.schemas import CustomModel, LossPoint
from csift.schemas.base import S3_URI

METRICS = "training_artifacts/step_wise_training_metrics.csv"
COLUMNS = ("step_number", "training_loss")


def upload(client: Any, lines: Iterable[str], prefix: str) -> str:
    """Puts JSON rows, one a line, under s3://bucket/folder at a key that is their SHA-256; what is there already stays.

    Args:
        client: boto3's S3 client.

    Returns:
        The object's s3:// URI, for a Customization.

    Raises:
        ConfigError: the prefix is none that Bedrock reads.
        TrainingError: there are no rows, one is not a JSON object, or S3 refuses.
    """
    if not re.fullmatch(S3_URI, prefix):
        raise ConfigError(f"{prefix!r} is no place that Bedrock reads; write s3://bucket/folder, of letters, digits and -!_*'().")
    body = _rows(lines)
    digest = hashlib.sha256(body)
    bucket, folder = _split(prefix)
    key = "/".join(part for part in (folder, f"{digest.hexdigest()}.jsonl") if part)
    uri, checksum = f"s3://{bucket}/{key}", base64.b64encode(digest.digest()).decode()
    with told(f"uploading {uri}"):
        if not _is_there(client, bucket, key, checksum):
            sums = {"ChecksumAlgorithm": "SHA256", "ChecksumSHA256": checksum}  # checked by S3 as it arrives
            client.put_object(Bucket=bucket, Key=key, Body=body, ContentType="application/jsonl", **sums)
    return uri


def _rows(lines: Iterable[str]) -> bytes:
    kept = [line.rstrip("\r\n") for line in lines]
    if not kept:
        raise TrainingError("there are no training rows to upload; export a dataset that has some")
    for number, line in enumerate(kept, 1):
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if not isinstance(row, dict):
            raise TrainingError(f"row {number} of the training file is no JSON object: {line[:80]!r}; export the dataset again")
    return "".join(f"{line}\n" for line in kept).encode()


def _is_there(client: Any, bucket: str, key: str, checksum: str) -> bool:
    # listed first: asked for the head of a missing key, S3 says 403 to whoever may list a prefix only
    if not any(entry["Key"] == key for entry in client.list_objects_v2(Bucket=bucket, Prefix=key).get("Contents", ())):
        return False
    return bool(client.head_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED").get("ChecksumSHA256") == checksum)


def loss_points(client: Any, model: CustomModel) -> list[LossPoint]:
    """The training loss by step, as Bedrock wrote it beside the job's output when the job was completed.

    The layout is that of docs.aws.amazon.com/bedrock/latest/userguide/model-customization-analyze.html. Rows of the same step are
    averaged. Bedrock tells no learning rate and counts no tokens.

    Args:
        client: boto3's S3 client.

    Raises:
        TrainingError: the file is not there, may not be read, or is none of this layout.
    """
    bucket, folder = _split(model.output_uri)
    job_id = model.job_arn.rpartition("/")[2]
    key = "/".join(part for part in (folder, f"model-customization-job-{job_id}", METRICS) if part)
    uri = f"s3://{bucket}/{key}"
    with told(f"reading the training metrics {uri}"):
        content: bytes = client.get_object(Bucket=bucket, Key=key)["Body"].read()
    try:
        losses = _losses(content.decode("utf-8-sig"))
    except ValueError as error:  # of bad UTF-8 too
        raise TrainingError(
            f"{uri} is no table of training metrics: {error}; look at the file, the model itself is whole"
        ) from None
    return [LossPoint(step=step, loss=sum(rows) / len(rows), learning_rate=None, tokens=0) for step, rows in losses.items()]


def _losses(text: str) -> dict[int, list[float]]:
    table = csv.DictReader(io.StringIO(text), skipinitialspace=True)
    names = [name.strip() for name in table.fieldnames or ()]
    if missing := [name for name in COLUMNS if name not in names]:
        raise ValueError(f"it has no column {' and no '.join(missing)}")
    table.fieldnames = names
    losses: dict[int, list[float]] = {}
    last = -1
    for row in table:
        try:
            step, loss = int(row["step_number"]), float(row["training_loss"])
        except (ValueError, TypeError):
            raise ValueError(f"line {table.line_num} is {[row.get(name) for name in COLUMNS]}") from None
        if not math.isfinite(loss):
            raise ValueError(f"the loss in line {table.line_num} is {loss}")
        if step < last:
            raise ValueError(f"step {step} comes after step {last} in line {table.line_num}")
        losses.setdefault(step, []).append(loss)
        last = step
    if not losses:
        raise ValueError("it has no rows")
    return losses


def _split(uri: str) -> tuple[str, str]:
    bucket, _, folder = uri.removeprefix("s3://").partition("/")
    return bucket, folder.strip("/")
