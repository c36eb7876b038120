"""S3 through boto3: any endpoint that speaks it. Keys, region and endpoint are boto3's own settings (AWS_ACCESS_KEY_ID,
AWS_ENDPOINT_URL_S3, profiles, roles)."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from csift.exceptions import CsiftError

DENIED = {"AccessDenied", "403", "Forbidden", "AllAccessDisabled"}
GONE = {"NoSuchKey", "404", "NotFound"}
BAD_KEYS = {"InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "TokenRefreshRequired"}
FULL = {"QuotaExceeded", "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded"}  # of Ceph and MinIO; AWS's own never is

READS = 3  # of an object whose transfer breaks off


def make_client(silence: float = 20.0) -> Any:
    """A boto3 S3 client by boto3's own settings, which tries four times, and waits seconds and not minutes.

    `silence`: seconds for which S3 may say nothing in a request.
    """
    import boto3
    from botocore.config import Config
    from botocore.exceptions import InvalidConfigError

    config = Config(connect_timeout=5, read_timeout=silence, retries={"mode": "standard", "total_max_attempts": 4})
    try:
        return boto3.Session().client("s3", config=config)
    except ValueError as error:  # an endpoint that is no URL
        raise InvalidConfigError(error_msg=str(error)) from None


def read_object(client: Any, **which: str) -> bytes:
    """The bytes of an object, by the parameters of boto3's get_object; raises boto3's errors.

    boto3 tries a request again, but not the transfer of what it answers.
    """
    from botocore.exceptions import HTTPClientError, IncompleteReadError

    reads = 0
    while True:
        body = client.get_object(**which)["Body"]
        try:
            return b"".join(body.iter_chunks(2**20))  # to its end, which checks the length
        except (HTTPClientError, IncompleteReadError):
            reads += 1
            if reads == READS:
                raise


def code_of(error: Any) -> str:
    """The name of S3's exception."""
    return str(error.response.get("Error", {}).get("Code", ""))


@contextmanager
def told(raises: type[CsiftError], verb: str, place: str, *, denied: str, setting: str) -> Iterator[None]:
    """boto3's errors as `raises`, in one line that says what is missing.

    Args:
        verb: what is done with `place` (an s3:// URI): read, write ...
        denied: what is said when the keys are known and may not.
        setting: where the bucket is named.
    """
    from boto3.exceptions import RetriesExceededError, S3UploadFailedError
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        raise raises(_refused(error, verb, place, denied, setting)) from None
    except S3UploadFailedError as error:  # which stands for the ClientError of an upload
        raise raises(_refused(error.__context__, verb, place, denied, setting)) from None
    except RetriesExceededError as error:
        raise raises(_unreachable(error.last_exception, place)) from None
    except BotoCoreError as error:
        raise raises(_failed(error, verb, place)) from None


def _refused(error: Any, verb: str, place: str, denied: str, setting: str) -> str:
    code, bucket = code_of(error), place.removeprefix("s3://").partition("/")[0]
    if code in DENIED:
        return denied
    if code in {"NoSuchBucket", "404", "NotFound"}:
        return f"there is no bucket {bucket} ({place}); correct the location in {setting} or AWS_ENDPOINT_URL_S3"
    if code in BAD_KEYS:
        return f"the AWS keys are refused for {place} ({code}); renew AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    if code in FULL:
        return f"cannot {verb} {place}: no room ({code}); free some space in {bucket} or raise its quota"
    if code == "PreconditionFailed":
        return f"{place} changed while it was read; run it again"
    return f"cannot {verb} {place}: {_line(error)}; run it again later"


def _failed(error: Exception, verb: str, place: str) -> str:
    from botocore.exceptions import ConnectionError as Unreachable
    from botocore.exceptions import HTTPClientError, IncompleteReadError, NoCredentialsError

    if isinstance(error, NoCredentialsError):
        return f"cannot {verb} {place}: no AWS keys were found; set AWS_ACCESS_KEY_ID or AWS_PROFILE"
    if isinstance(error, HTTPClientError | Unreachable | IncompleteReadError):
        return _unreachable(error, place)
    return f"cannot {verb} {place}: {_line(error)}; correct boto3's settings"


def _unreachable(error: Exception, place: str) -> str:
    return f"cannot reach {place}: {_line(error)}; check the network and AWS_ENDPOINT_URL_S3, then run it again"


def _line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")
