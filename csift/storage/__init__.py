"""The object store: bytes under names; an artifact is a folder of files whose manifest is written last, so a half is never
taken for a whole. A folder of this machine, or S3."""

from pathlib import Path

from csift.interfaces import ObjectStore
from csift.storage.artifact import MANIFEST
from csift.storage.local import LocalStore
from csift.storage.s3 import S3Store

__all__ = ["MANIFEST", "LocalStore", "S3Store", "open_store"]


def open_store(where: str | Path, cache: Path) -> ObjectStore:
    """The store of a folder or of s3://bucket/prefix; `cache` is the folder that artifacts of S3 are downloaded to.

    Raises:
        StorageError: it is neither, or boto3's settings make no client.
    """
    if not isinstance(where, str) or "://" not in where:
        return LocalStore(Path(where).expanduser().absolute())
    return S3Store(where, cache)
