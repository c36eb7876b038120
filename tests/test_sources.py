"""The files of folders and buckets: which are listed, which are skipped and why, and what ends an ingest."""

import os
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from moto.server import ThreadedMotoServer

from csift.corpus.document import Unusable
from csift.corpus.sources import MAX_BYTES, Listing, list_files
from csift.exceptions import CorpusError


def write(folder: Path, *names: str) -> Path:
    """Files that hold their own names."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return folder


def names(listing: Listing) -> list[str]:
    return [file.name for file in listing.files]


def reasons(listing: Listing) -> dict[str, str]:
    return {entry.document_id: entry.reason for entry in listing.skipped}


# --- folders --------------------------------------------------------------------------------------------------------------


def test_a_folder_is_listed_with_its_subfolders_and_without_what_is_hidden(tmp_path: Path) -> None:
    write(tmp_path, "b.txt", "a/z.md", "a/b/c.pdf", ".hidden", ".git/config", "a/.DS_Store")
    listing = list_files(str(tmp_path))
    assert names(listing) == ["a/b/c.pdf", "a/z.md", "b.txt"]
    assert [file.read() for file in listing.files] == [b"a/b/c.pdf", b"a/z.md", b"b.txt"]
    assert listing.skipped == []


def test_a_source_may_be_one_file(tmp_path: Path) -> None:
    assert names(list_files(str(write(tmp_path, "docs.csv") / "docs.csv"))) == ["docs.csv"]


def test_links_that_leave_the_folder_are_skipped(tmp_path: Path) -> None:
    folder = write(tmp_path / "corpus", "inside.txt")
    write(tmp_path, "secret.txt", "elsewhere/other.txt")
    (folder / "same.txt").symlink_to(folder / "inside.txt")
    (folder / "out.txt").symlink_to(tmp_path / "secret.txt")
    (folder / "up.txt").symlink_to("../secret.txt")
    (folder / "folder").symlink_to(tmp_path / "elsewhere")
    (folder / "loop").symlink_to(folder)
    (folder / "broken.txt").symlink_to(folder / "nothing.txt")
    listing = list_files(str(folder))
    assert names(listing) == ["inside.txt", "same.txt"]
    assert {name: reason.split(",")[0].split(";")[0] for name, reason in reasons(listing).items()} == {
        "out.txt": "is a link that leaves the folder",
        "up.txt": "is a link that leaves the folder",
        "folder": "is a link to a folder",
        "loop": "is a link to a folder",
        "broken.txt": "cannot be read: No such file or directory",
    }


def test_a_folder_that_is_a_link_itself_is_read(tmp_path: Path) -> None:
    write(tmp_path / "real", "a.txt")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert names(list_files(str(tmp_path / "link"))) == ["a.txt"]


def test_a_file_of_200_mb_is_not_opened(tmp_path: Path) -> None:
    write(tmp_path, "small.txt")
    with (tmp_path / "huge.txt").open("wb") as file:
        file.truncate(200 * 2**20)
    listing = list_files(str(tmp_path))
    assert names(listing) == ["small.txt"]
    assert reasons(listing) == {"huge.txt": "has 200 MB, and 50 MB is the limit; split it into several files"}


def test_a_file_that_grew_since_it_was_listed_is_not_read_whole(tmp_path: Path) -> None:
    listing = list_files(str(write(tmp_path, "a.txt")))
    with (tmp_path / "a.txt").open("r+b") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(Unusable, match="50 MB is the limit"):
        listing.files[0].read()


@contextmanager
def as_nobody() -> Iterator[None]:
    """Root may read everything and takes another user for the block; others stay who they are."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


def test_what_may_not_be_read_is_skipped() -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        write(Path(folder), "a.txt", "b.txt", "closed/c.txt")
        for name in ("b.txt", "closed"):
            (Path(folder) / name).chmod(0)
        with as_nobody():
            listing = list_files(folder)
            assert names(listing) == ["a.txt", "b.txt"]
            assert "correct the permissions" in reasons(listing)["closed"]
            with pytest.raises(Unusable, match="cannot be read: Permission denied"):
                listing.files[1].read()
        (Path(folder) / "closed").chmod(0o700)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.txt")
    assert reasons(list_files(str(tmp_path))) == {"pipe.txt": "is no regular file; remove it"}


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("nowhere", "there is no corpus folder"),
        ("https://host/docs", "a source is a folder, a file or s3://"),
        ("s3:///a", "no bucket"),
    ],
)
def test_a_source_that_is_not_there_names_itself(location: str, words: str, tmp_path: Path) -> None:
    place = str(tmp_path / location) if location == "nowhere" else location
    with pytest.raises(CorpusError, match=words) as caught:
        list_files(place)
    assert place in str(caught.value)


# --- buckets --------------------------------------------------------------------------------------------------------------


def client(endpoint: str) -> Any:
    """A client as make_client's, of an endpoint on this machine, that gives up at once."""
    config = Config(connect_timeout=2, read_timeout=10, retries={"total_max_attempts": 1}, s3={"addressing_style": "path"})
    keys = {"aws_access_key_id": "key", "aws_secret_access_key": "secret", "region_name": "us-east-1"}
    return boto3.client("s3", endpoint_url=endpoint, config=config, **keys)


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """A server that speaks S3."""
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.stop()


@pytest.fixture
def bucket(endpoint: str, request: pytest.FixtureRequest) -> tuple[Any, str]:
    """An empty bucket."""
    s3, name = client(endpoint), "b-" + request.node.name.replace("_", "-")[:50].strip("-")
    s3.create_bucket(Bucket=name)
    return s3, name


def put(s3: Any, bucket: str, *keys: str) -> None:
    """Objects that hold their own keys."""
    for key in keys:
        s3.put_object(Bucket=bucket, Key=key, Body=key.encode())


def test_a_prefix_is_a_folder(bucket: tuple[Any, str]) -> None:
    s3, name = bucket
    put(s3, name, "docs/", "docs/b.txt", "docs/a/ü.md", "docs/.hidden", "docs/.git/x", "docs-old/c.txt", "other.txt")
    for location in (f"s3://{name}/docs", f"s3://{name}/docs/"):
        listing = list_files(location, s3)
        assert names(listing) == ["a/ü.md", "b.txt"]
        assert [file.read() for file in listing.files] == ["docs/a/ü.md".encode(), b"docs/b.txt"]
    assert names(list_files(f"s3://{name}", s3)) == ["docs-old/c.txt", "docs/a/ü.md", "docs/b.txt", "other.txt"]
    assert names(list_files(f"s3://{name}/docs/b.txt", s3)) == ["b.txt"]


def test_more_objects_than_a_page_holds_are_all_listed(bucket: tuple[Any, str], monkeypatch: pytest.MonkeyPatch) -> None:
    s3, name = bucket
    keys = [f"{i:02}.txt" for i in range(10)]
    put(s3, name, *keys)
    monkeypatch.setenv("MOTO_S3_DEFAULT_MAX_KEYS", "4")
    assert len(s3.list_objects_v2(Bucket=name)["Contents"]) == 4
    assert names(list_files(f"s3://{name}", s3)) == keys


def test_an_object_is_known_by_its_tag(bucket: tuple[Any, str]) -> None:
    s3, name = bucket
    put(s3, name, "a.txt", "b.txt")
    before = {file.name: file.version for file in list_files(f"s3://{name}", s3).files}
    s3.put_object(Bucket=name, Key="a.txt", Body=b"new")
    after = {file.name: file.version for file in list_files(f"s3://{name}", s3).files}
    assert before["a.txt"] != after["a.txt"]
    assert before["b.txt"] == after["b.txt"]


def test_an_object_that_changed_since_it_was_listed_ends_the_ingest(bucket: tuple[Any, str]) -> None:
    s3, name = bucket
    put(s3, name, "a.txt")
    listing = list_files(f"s3://{name}", s3)
    s3.put_object(Bucket=name, Key="a.txt", Body=b"new")
    with pytest.raises(CorpusError, match=r"a\.txt changed while it was read; run it again"):
        listing.files[0].read()


def test_an_object_that_is_gone_is_skipped(bucket: tuple[Any, str]) -> None:
    s3, name = bucket
    put(s3, name, "a.txt")
    listing = list_files(f"s3://{name}", s3)
    s3.delete_object(Bucket=name, Key="a.txt")
    with pytest.raises(Unusable, match="is gone"):
        listing.files[0].read()


def test_a_large_object_is_not_fetched(bucket: tuple[Any, str]) -> None:
    s3, name = bucket
    s3.put_object(Bucket=name, Key="huge.txt", Body=b"\0" * (MAX_BYTES + 1))
    listing = list_files(f"s3://{name}", s3)
    assert listing.files == []
    assert "50 MB is the limit" in reasons(listing)["huge.txt"]


def test_a_missing_bucket_is_named(endpoint: str) -> None:
    with pytest.raises(CorpusError, match=r"there is no bucket none-such .*correct the location"):
        list_files("s3://none-such/docs", client(endpoint))


def test_the_environment_says_where_s3_is(bucket: tuple[Any, str], endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    s3, name = bucket
    put(s3, name, "a.txt")
    for variable, value in {
        "ENDPOINT_URL_S3": endpoint,
        "ACCESS_KEY_ID": "key",
        "SECRET_ACCESS_KEY": "s",
        "REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(f"AWS_{variable}", value)
    assert names(list_files(f"s3://{name}")) == ["a.txt"]


def test_without_keys_it_says_which_to_set(endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(variable, raising=False)
    for variable in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(variable, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
    with pytest.raises(CorpusError, match="no AWS keys were found; set AWS_ACCESS_KEY_ID"):
        list_files("s3://bucket")


# --- a server that refuses ------------------------------------------------------------------------------------------------

LISTED = b"""<ListBucketResult><Name>b</Name><Prefix></Prefix><KeyCount>1</KeyCount><MaxKeys>1000</MaxKeys>
<IsTruncated>false</IsTruncated><Contents><Key>a.txt</Key><ETag>"1"</ETag><Size>%d</Size>
<LastModified>2026-11-20T02:00:00.000Z</LastModified></Contents></ListBucketResult>"""


def failure(code: str) -> bytes:
    return f"<Error><Code>{code}</Code><Message>told</Message></Error>".encode()


@contextmanager
def answering(reply: Callable[[str], tuple[int, bytes, int]]) -> Iterator[Any]:
    """A client of a server that answers GET with (status, body, length it claims)."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body, length = reply(self.path)
            self.send_response(status)
            self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *parts: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield client(f"http://127.0.0.1:{server.server_port}")
        finally:
            server.shutdown()
            thread.join()


def whole(status: int, body: bytes) -> tuple[int, bytes, int]:
    return status, body, len(body)


REFUSALS = {
    "AccessDenied": (403, r"no permission to list s3://b/docs; these keys need s3:ListBucket on bucket b and s3:GetObject"),
    "InvalidAccessKeyId": (403, "the AWS keys are refused for s3://b/docs"),
    "ExpiredToken": (400, "the AWS keys are refused for s3://b/docs"),
    "SlowDown": (503, "cannot read s3://b/docs: .*SlowDown.*run it again later"),
}


@pytest.mark.parametrize("code", REFUSALS)
def test_a_bucket_that_may_not_be_listed_names_what_is_needed(code: str) -> None:
    status, words = REFUSALS[code]
    with answering(lambda path: whole(status, failure(code))) as s3, pytest.raises(CorpusError, match=words) as caught:
        list_files("s3://b/docs", s3)
    assert "\n" not in str(caught.value)


def test_an_object_that_may_not_be_read_is_skipped() -> None:
    with answering(lambda path: whole(200, LISTED % 5) if "list-type" in path else whole(403, failure("AccessDenied"))) as s3:
        file = list_files("s3://b", s3).files[0]
        with pytest.raises(Unusable, match=r"may not be read; allow s3:GetObject on s3://b/\*"):
            file.read()


@pytest.mark.parametrize(
    ("reply", "words"),
    [(lambda: whole(500, failure("InternalError")), "InternalError"), (lambda: (200, b"ab", 5), "cannot re")],
    ids=["an error", "half a file"],
)
def test_an_object_that_does_not_come_whole_ends_the_ingest(reply: Callable[[], tuple[int, bytes, int]], words: str) -> None:
    """It must not count as gone: its questions would be retired."""
    with answering(lambda path: whole(200, LISTED % 5) if "list-type" in path else reply()) as s3:
        file = list_files("s3://b", s3).files[0]
        with pytest.raises(CorpusError, match=words) as caught:
            file.read()
    assert not isinstance(caught.value, Unusable)
    assert "s3://b/a.txt" in str(caught.value)


def test_an_endpoint_that_is_down_is_told() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(CorpusError, match=r"cannot reach s3://b/docs: .*check the network and AWS_ENDPOINT_URL_S3"):
        list_files("s3://b/docs", client(f"http://127.0.0.1:{port}"))
