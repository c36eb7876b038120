"""The files under an s3:// prefix, through boto3: any endpoint that speaks S3. Keys, region and endpoint are boto3's own
settings (AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL_S3, profiles, roles)."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from csift.corpus.document import Unusable
from csift.corpus.sources import Listing, SourceFile, too_large
from csift.exceptions import CorpusError

DENIED = {"AccessDenied", "403", "Forbidden", "AllAccessDisabled"}
GONE = {"NoSuchKey", "404", "NotFound"}
BAD_KEYS = {"InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "TokenRefreshRequired"}


def make_client() -> Any:
    """A boto3 S3 client by boto3's own settings, which waits seconds and not minutes for an endpoint that is down."""
    import boto3
    from botocore.config import Config

    return boto3.Session().client(
        "s3", config=Config(connect_timeout=5, read_timeout=60, retries={"mode": "standard", "total_max_attempts": 4})
    )


def list_prefix(location: str, client: Any = None) -> Listing:
    """The objects under s3://bucket/prefix; a name is the key without the prefix, a version its ETag and size.

    Raises:
        CorpusError: there is no such bucket, it may not be listed, the keys are wrong, or the endpoint cannot be reached.
    """
    parts = urlsplit(location)
    bucket, prefix = parts.netloc, location.removeprefix("s3://").partition("/")[2]
    if not bucket:
        raise CorpusError(f"{location} names no bucket; write s3://bucket/prefix")
    listing = Listing()
    with _told(location, bucket):
        client = client or make_client()
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
            for entry in page.get("Contents", ()):
                _take(listing, client, bucket, prefix, entry)
    return listing


def _take(listing: Listing, client: Any, bucket: str, prefix: str, entry: dict[str, Any]) -> None:
    key, size = entry["Key"], entry["Size"]
    if prefix and not prefix.endswith("/") and key != prefix and not key.startswith(f"{prefix}/"):
        return  # s3://bucket/docs means the folder docs, or the object, and not docs-old/
    name = key.removeprefix(prefix).lstrip("/") or key.rpartition("/")[2]
    if key.endswith("/") or any(part.startswith(".") for part in name.split("/")):
        return  # the marker of a folder; hidden files, as on disk
    if problem := too_large(size):
        listing.skip(name, problem)
    else:
        version = f"s3://{bucket}/{key} {entry['ETag']} {size}"
        listing.files.append(SourceFile(name, size, version, partial(_read, client, bucket, key, entry["ETag"])))


def _read(client: Any, bucket: str, key: str, etag: str) -> bytes:
    """The bytes of an object. Gone or denied it is Unusable; all else would make documents vanish, and ends the ingest."""
    with _told(f"s3://{bucket}/{key}", bucket, one=True):
        body = client.get_object(Bucket=bucket, Key=key, IfMatch=etag)["Body"]
        return b"".join(body.iter_chunks(2**20))  # to its end, which checks the length


@contextmanager
def _told(place: str, bucket: str, *, one: bool = False) -> Iterator[None]:
    """boto3's errors in one line that says what is missing."""
    from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError, NoCredentialsError
    from botocore.exceptions import ConnectionError as Unreachable

    try:
        yield
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        if one and code in DENIED:
            raise Unusable(f"may not be read; allow s3:GetObject on s3://{bucket}/*") from None
        if one and code in GONE:
            raise Unusable("is gone since the bucket was listed; ingest again") from None
        raise CorpusError(_explain(code, place, bucket, error)) from None
    except NoCredentialsError:
        raise CorpusError(f"cannot read {place}: no AWS keys were found; set AWS_ACCESS_KEY_ID or AWS_PROFILE") from None
    except (HTTPClientError, Unreachable) as error:
        raise CorpusError(
            f"cannot reach {place}: {error}; check the network and AWS_ENDPOINT_URL_S3, then run it again"
        ) from None
    except BotoCoreError as error:
        raise CorpusError(f"cannot read {place}: {error}; correct boto3's settings") from None


def _explain(code: str, place: str, bucket: str, error: Exception) -> str:
    if code in DENIED:
        return f"no permission to list {place}; these keys need s3:ListBucket on bucket {bucket} and s3:GetObject on its objects"
    if code in {"NoSuchBucket", "404", "NotFound"}:
        return f"there is no bucket {bucket} ({place}); correct the location in corpus.sources or AWS_ENDPOINT_URL_S3"
    if code in BAD_KEYS:
        return f"the AWS keys are refused for {place} ({code}); renew AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    if code == "PreconditionFailed":
        return f"{place} changed while it was read; run it again"
    return f"cannot read {place}: {error}; run it again later"
