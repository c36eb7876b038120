"""AWS's errors as one line that says what to do."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from csift.exceptions import TrainingError
from csift.retrieval.aws import FIXES

DENIED = {"AccessDenied", "AccessDeniedException", "403", "Forbidden"}
S3_ACTIONS = {"HeadObject": "GetObject", "ListObjectsV2": "ListBucket"}
OWN_FIXES = {
    "ValidationException": "correct what it names",
    "ConflictException": "run it again when that is over",
    "TooManyTagsException": "remove tags in Bedrock's console",
    "NoSuchBucket": "correct the bucket",
    "404": "correct the bucket",
    "ParamValidationError": "correct what it names",
}


@contextmanager
def told(doing: str) -> Iterator[None]:
    """Makes botocore's errors a TrainingError: what was being done, what AWS says, what to do."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        raise TrainingError(_refused(doing, error)) from None
    except BotoCoreError as error:
        fix = OWN_FIXES.get(type(error).__name__) or FIXES.get(type(error).__name__, "run it again later")
        raise TrainingError(f"{doing} failed: {_line(str(error))}; {fix}") from None


def _refused(doing: str, error: Any) -> str:
    code, message = code_of(error), _line(error.response.get("Error", {}).get("Message") or str(error))
    if code in DENIED:
        operation = error.operation_name
        service = "s3" if "Object" in operation else "bedrock"
        action = f"{service}:{S3_ACTIONS.get(operation, operation)}"
        policy = "import" if "ModelImport" in operation else "worker"
        return f"{doing} is denied: {message}; allow {action} as deployments/aws/{policy}-policy.json does"
    return f"{doing} failed: {code}: {message}; {OWN_FIXES.get(code) or FIXES.get(code, 'run it again later')}"


def code_of(error: Any) -> str:
    """The name of AWS's exception."""
    return str(error.response.get("Error", {}).get("Code", ""))


def _line(text: str) -> str:
    return " ".join(text.split()).rstrip(".")
