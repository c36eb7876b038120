"""The files under an s3:// prefix, through csift.s3."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from csift.corpus.document import Unusable
from csift.corpus.sources import Listing, SourceFile, too_large
from csift.exceptions import CorpusError
from csift.s3 import DENIED, GONE, code_of, make_client, read_object, told


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
        read = partial(_read, client, bucket, key, entry["ETag"])
        listing.files.append(SourceFile(name, size, entry["LastModified"], version, read))


def _read(client: Any, bucket: str, key: str, etag: str) -> bytes:
    """The bytes of an object. Gone or denied it is Unusable; all else would make documents vanish, and ends the ingest."""
    with _told(f"s3://{bucket}/{key}", bucket, one=True):
        return read_object(client, Bucket=bucket, Key=key, IfMatch=etag)


@contextmanager
def _told(place: str, bucket: str, *, one: bool = False) -> Iterator[None]:
    """boto3's errors in one line that says what is missing."""
    from botocore.exceptions import ClientError

    needs = f"these keys need s3:ListBucket on bucket {bucket} and s3:GetObject on its objects"
    with told(CorpusError, "read", place, denied=f"no permission to list {place}; {needs}", setting="corpus.sources"):
        try:
            yield
        except ClientError as error:
            if one and code_of(error) in DENIED:
                raise Unusable(f"may not be read; allow s3:GetObject on s3://{bucket}/*") from None
            if one and code_of(error) in GONE:
                raise Unusable("is gone since the bucket was listed; ingest again") from None
            raise
