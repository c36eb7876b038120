"""A server that speaks S3, empty stores on it, and a folder to be published."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from embedding_servers import aws_environment
from moto.server import ThreadedMotoServer

from csift.hashing import sha256
from csift.interfaces import ObjectStore
from csift.s3 import make_client
from csift.storage import S3Store

KEY = "adapters/adapter-1"
NAMES = ["a.txt", "sub/deep/ü.txt", "weights.bin"]


@contextmanager
def serving_s3() -> Iterator[Any]:
    """A client of moto's server, which boto3's environment names meanwhile."""
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        aws_environment(patch)
        patch.setenv("AWS_ENDPOINT_URL_S3", f"http://{host}:{port}")
        try:
            yield make_client()
        finally:
            server.stop()


def empty_s3(client: Any, test: str, cache: Path) -> S3Store:
    """A store in a bucket of the test's own, beside which there is an object of somebody else."""
    bucket = f"b-{sha256(test)[:16]}"
    client.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    client.put_object(Bucket=bucket, Key="team-old/adapters/x/manifest.json", Body=b"of somebody else")
    return S3Store(f"s3://{bucket}/team/", cache, client)


def fill(folder: Path) -> Path:
    """Files to be published, by NAMES."""
    (folder / "sub" / "deep").mkdir(parents=True)
    (folder / "empty").mkdir()
    (folder / "a.txt").write_bytes(b"first")
    (folder / "sub" / "deep" / "ü.txt").write_bytes(b"below")
    (folder / "weights.bin").write_bytes(bytes(range(256)) * 40)
    return folder


def bucket_keys(client: Any, store: ObjectStore) -> list[str]:
    """The keys of all objects of an `empty_s3`."""
    found = client.list_objects_v2(Bucket=store.url.split("/")[2], Prefix="team/").get("Contents", ())
    return [entry["Key"].removeprefix("team/") for entry in found]


def remove_object(client: Any, store: ObjectStore, key: str) -> None:
    """Takes an object of an `empty_s3` away behind the store's back."""
    client.delete_object(Bucket=store.url.split("/")[2], Key=f"team/{key}")
