"""Objects in a bucket of S3, or of anything that speaks it; artifacts are downloaded once to a folder of this machine.

Keys, region and endpoint are boto3's own settings. Needed are s3:ListBucket on the bucket and s3:GetObject, s3:PutObject and
s3:DeleteObject on the objects. S3 writes an object whole or not at all and shows it to all readers at once
(docs.aws.amazon.com/AmazonS3/latest/userguide/Welcome.html#ConsistencyModel). Files go in parts, several at a time (boto3's
managed transfers); a killed upload leaves invisible parts, which a lifecycle rule of the bucket should remove.
"""

import fcntl
import shutil
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from csift.exceptions import StorageError
from csift.hashing import sha256
from csift.s3 import GONE, code_of, make_client, read_object, told
from csift.schemas import StoredObject
from csift.storage.artifact import MANIFEST, check_key, file_sha256, listed, read_manifest, write_manifest


class S3Store:
    """An ObjectStore under s3://bucket/prefix. Threads may share it."""

    def __init__(self, url: str, cache: Path, client: Any = None) -> None:
        """`client` is boto3's, by default one made from boto3's own settings.

        Raises:
            StorageError: the URL names no bucket, or boto3's settings make no client.
        """
        scheme, _, place = url.partition("://")
        self.bucket, _, prefix = place.rstrip("/").partition("/")
        if scheme != "s3" or not self.bucket:
            raise StorageError(f"{url} is no place for artifacts; set CSIFT_STORE_URL to s3://bucket/prefix or to a folder")
        self._prefix = f"{check_key(prefix)}/" if prefix else ""
        self.cache = cache
        if client is None:
            with self._told("use", self.url):
                client = make_client()
        self._client = client

    @property
    def url(self) -> str:
        """s3://bucket/prefix."""
        return f"s3://{self.bucket}/{self._prefix}".rstrip("/")

    def uri(self, key: str) -> str:
        """The s3:// URI of what is under `key`."""
        return f"{self.url}/{check_key(key)}"

    def put(self, key: str, content: bytes) -> str:
        """Writes whole or not at all; returns the object's URI. Raises StorageError when S3 refuses."""
        with self._told("write", self.uri(key)):
            self._client.put_object(Bucket=self.bucket, Key=self._key(key), Body=content)
        return self.uri(key)

    def get(self, key: str) -> bytes:
        """Raises StorageError when there is no such object."""
        from botocore.exceptions import ClientError

        with self._told("read", self.uri(key)):
            try:
                return read_object(self._client, Bucket=self.bucket, Key=self._key(key))
            except ClientError as error:
                if code_of(error) in GONE:
                    raise StorageError(f"cannot read {self.uri(key)}: no such object; restore it or run again") from None
                raise

    def has(self, key: str) -> bool:
        """Whether there is such an object. Raises StorageError when the bucket cannot be listed."""
        # listed: asked for the head of a missing object, S3 answers 403 to who may not list, and says nothing of why
        wanted = self._key(key)
        with self._told("list", self.uri(key)):
            page = self._client.list_objects_v2(Bucket=self.bucket, Prefix=wanted, MaxKeys=1)
        return any(entry["Key"] == wanted for entry in page.get("Contents", ()))

    def objects(self, prefix: str = "") -> list[StoredObject]:
        """All objects below `prefix`, sorted by key. Raises StorageError when the bucket cannot be listed."""
        return sorted(
            (
                StoredObject(key=entry["Key"].removeprefix(self._prefix), size=entry["Size"], modified=entry["LastModified"])
                for entry in self._entries(prefix)
            ),
            key=lambda one: one.key,
        )

    def remove(self, key: str) -> None:
        """Removes one object; that there is none is fine. Raises StorageError when S3 refuses."""
        self._delete(check_key(key))

    def publish(self, key: str, folder: Path, facts: dict[str, Any]) -> str:
        """Uploads a folder's files under `key`, then the manifest with their hashes and `facts`; returns the URI.

        Raises:
            StorageError: a file cannot be read, or S3 refuses; nothing that looks whole is left behind.
        """
        files = listed(folder)
        if self.has_artifact(key):  # one that is written anew is not whole meanwhile
            self._delete(f"{key}/{MANIFEST}")
        hashes = {name: self._upload(path, f"{key}/{name}") for name, path in files.items()}
        self.put(f"{key}/{MANIFEST}", write_manifest(hashes, facts))
        return self.uri(key)

    def open_artifact(self, key: str) -> Path:
        """A folder below the cache with the artifact's files. They are checked against the manifest in S3 each time, and
        downloaded when they are not there or altered; of several processes that ask at once, one downloads.

        Raises:
            StorageError: the manifest is missing, a file is missing or altered in S3, or there is no room in the cache.
        """
        content = self.get(f"{key}/{MANIFEST}")
        files = read_manifest(content, self.uri(key))["files"]
        folder = self.cache / key / sha256(content)[:16]  # one written anew does not change a folder that somebody reads
        try:
            with _alone(folder):
                if not _is_whole(folder, {**files, MANIFEST: sha256(content)}):
                    self._download(key, content, files, folder)
        except OSError as error:
            why = error.strerror or error
            raise StorageError(f"cannot write {folder}: {why}; free some space or set CSIFT_DATA_DIR") from None
        return folder

    def manifest(self, key: str) -> dict[str, Any]:
        """The manifest of a published artifact: its files with their hashes, and the facts given. Raises StorageError."""
        return read_manifest(self.get(f"{key}/{MANIFEST}"), self.uri(key))

    def has_artifact(self, key: str) -> bool:
        """Whether a whole artifact is there: its manifest is written last. Raises StorageError as `has` does."""
        return self.has(f"{key}/{MANIFEST}")

    def artifacts(self, prefix: str = "") -> list[str]:
        """The keys of the whole artifacts below `prefix`, sorted. Raises StorageError when the bucket cannot be listed."""
        ends = f"/{MANIFEST}"
        found = (name.removesuffix(ends) for name in self._names(prefix) if name.endswith(ends))
        return sorted(key for key in found if key != prefix)

    def discard(self, key: str) -> None:
        """Removes what is under `key` in S3, whole or half, the manifest first, and this machine's copy.

        Raises:
            StorageError: S3 refuses.
        """
        names = sorted(self._names(check_key(key)), key=lambda name: name != f"{key}/{MANIFEST}")
        for name in names:
            self._delete(name)
        shutil.rmtree(self.cache / key, ignore_errors=True)  # what is left of a copy is never read: it has no manifest in S3

    def _key(self, key: str) -> str:
        return self._prefix + check_key(key)

    def _told(self, verb: str, place: str) -> AbstractContextManager[None]:
        needs = "s3:ListBucket on the bucket and s3:GetObject, s3:PutObject and s3:DeleteObject on its objects"
        denied = f"no permission to {verb} {place}; these keys need {needs}"
        return told(StorageError, verb, place, denied=denied, setting="CSIFT_STORE_URL")

    def _names(self, prefix: str) -> list[str]:
        """The keys of the objects below a prefix."""
        return [entry["Key"].removeprefix(self._prefix) for entry in self._entries(prefix)]

    def _entries(self, prefix: str) -> list[dict[str, Any]]:
        """What S3 lists below a prefix."""
        below = f"{self._key(prefix)}/" if prefix else self._prefix
        with self._told("list", f"s3://{self.bucket}/{below}"):
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=below)
            return [entry for page in pages for entry in page.get("Contents", ())]

    def _delete(self, key: str) -> None:
        # one by one: not all that speak S3 have DeleteObjects, and an artifact has few files
        with self._told("remove", f"{self.url}/{key}"):
            self._client.delete_object(Bucket=self.bucket, Key=self._prefix + key)

    def _upload(self, path: Path, key: str) -> str:
        """Returns the hex SHA-256 of the file."""
        try:
            digest = file_sha256(path)
            with self._told("write", self.uri(key)):
                self._client.upload_file(str(path), self.bucket, self._key(key))
        except OSError as error:
            raise StorageError(f"cannot read {path}: {error.strerror or error}; restore it or run again") from None
        return digest

    def _download(self, key: str, manifest: bytes, files: Mapping[str, str], folder: Path) -> None:
        """All files into a folder beside, which then takes the place of what is there."""
        part = folder.with_name(f".{folder.name}.part")
        shutil.rmtree(part, ignore_errors=True)  # of one that was killed
        try:
            part.mkdir()
            for name, expected in files.items():
                (part / name).parent.mkdir(parents=True, exist_ok=True)
                self._fetch(f"{key}/{name}", part / name)
                if file_sha256(part / name) != expected:
                    raise StorageError(f"{self.uri(key)}/{name} is not what its manifest says; remove the folder and run again")
            (part / MANIFEST).write_bytes(manifest)
            if folder.exists():
                shutil.rmtree(folder)
            part.rename(folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)

    def _fetch(self, key: str, path: Path) -> None:
        from botocore.exceptions import ClientError

        with self._told("read", self.uri(key)):
            try:
                self._client.download_file(self.bucket, self._key(key), str(path))
            except ClientError as error:
                if code_of(error) in GONE:
                    raise StorageError(
                        f"cannot read {self.uri(key)}: no such object, and its manifest names it; remove the folder and run again"
                    ) from None
                raise


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One thread of one process at a time for this folder; a killed one's lock ends with it. Raises OSError."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f".{folder.name}.lock").open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _is_whole(folder: Path, files: Mapping[str, str]) -> bool:
    try:
        return all(file_sha256(folder / name) == expected for name, expected in files.items())
    except OSError:
        return False  # missing or unreadable: what is downloaded anew takes its place
