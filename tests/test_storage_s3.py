"""What only S3 has: transfers that are cut, copies on this machine, and refusals."""

import json
import os
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from disks import run
from stores import KEY, NAMES, empty_s3, fill, serving_s3

from csift.exceptions import StorageError
from csift.interfaces import ObjectStore
from csift.s3 import make_client
from csift.settings import settings
from csift.storage import MANIFEST, S3Store, open_store

LARGE = 300_000


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    """boto3's, of a server that speaks S3."""
    with serving_s3() as made:
        yield made


@pytest.fixture
def s3(tmp_path: Path, client: Any, request: pytest.FixtureRequest) -> S3Store:
    """An empty store in S3."""
    return empty_s3(client, request.node.nodeid, tmp_path / "cache")


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A folder to be published."""
    return fill(tmp_path / "made")


def counted(store: S3Store) -> tuple[S3Store, Counter[str]]:
    """The same store, and how often each object is asked for."""
    client, asked = make_client(), Counter[str]()
    client.meta.events.register("before-parameter-build.s3.GetObject", lambda params, **_: asked.update([params["Key"]]))
    return S3Store(store.url, store.cache, client), asked


KILLED = """
import os, signal, sys
from pathlib import Path
from csift.s3 import make_client
from csift.storage import S3Store
url, made, key, fatal = sys.argv[1:]
client = make_client()
def kill(params, **_):
    if params["Key"].endswith(fatal):
        os.kill(os.getpid(), signal.SIGKILL)
client.meta.events.register("before-parameter-build.s3.PutObject", kill)
S3Store(url, Path("unused"), client).publish(key, Path(made), {})
"""


@pytest.mark.parametrize("fatal", ["weights.bin", MANIFEST])
def test_a_killed_publish_leaves_nothing_whole(fatal: str, s3: S3Store, made: Path) -> None:
    s3.publish(KEY, made, {"n": 1})
    (made / "a.txt").write_bytes(b"second")
    assert run([sys.executable, "-c", KILLED, s3.url, str(made), KEY, fatal]).returncode == -9
    assert s3.get(f"{KEY}/a.txt") == b"second"
    assert not s3.has_artifact(KEY)
    s3.publish(KEY, made, {"n": 2})
    assert (s3.open_artifact(KEY) / "a.txt").read_bytes() == b"second"


def test_a_file_of_several_parts_arrives_whole(s3: S3Store, made: Path) -> None:
    content = os.urandom(2**20) * 17  # boto3 sends 8 MiB at a time
    (made / "weights.bin").write_bytes(content)
    s3.publish(KEY, made, {})
    assert (s3.open_artifact(KEY) / "weights.bin").read_bytes() == content


def test_what_was_downloaded_whole_is_not_downloaded_again(s3: S3Store, made: Path) -> None:
    s3.publish(KEY, made, {})
    store, asked = counted(s3)
    assert store.open_artifact(KEY) == store.open_artifact(KEY) == s3.open_artifact(KEY)
    assert asked == {f"team/{KEY}/{MANIFEST}": 2} | {f"team/{KEY}/{name}": 1 for name in NAMES}


@pytest.mark.parametrize("name", ["weights.bin", "sub/deep/ü.txt", MANIFEST])
@pytest.mark.parametrize("missing", [False, True])
def test_a_damaged_copy_is_downloaded_again(name: str, missing: bool, s3: S3Store, made: Path) -> None:
    s3.publish(KEY, made, {"n": 1})
    path = s3.open_artifact(KEY) / name
    content = path.read_bytes()
    if missing:
        path.unlink()
    else:
        path.write_bytes(b"\xff" + content[1:])
    assert s3.open_artifact(KEY) / name == path
    assert path.read_bytes() == content
    assert [entry.name for entry in path.parents[name.count("/") + 1].iterdir() if entry.suffix == ".part"] == []


def test_what_is_published_anew_leaves_the_copy_that_somebody_reads(s3: S3Store, made: Path) -> None:
    s3.publish(KEY, made, {})
    before = s3.open_artifact(KEY)
    (made / "a.txt").write_bytes(b"second")
    s3.publish(KEY, made, {})
    assert (s3.open_artifact(KEY) / "a.txt").read_bytes() == b"second"
    assert (before / "a.txt").read_bytes() == b"first"


OPEN = """
import json, resource, sys
from collections import Counter
from pathlib import Path
from csift.exceptions import StorageError
from csift.s3 import make_client
from csift.storage import S3Store
url, cache, key, limit = sys.argv[1:]
client, asked = make_client(), Counter()
client.meta.events.register("before-parameter-build.s3.GetObject", lambda params, **_: asked.update([params["Key"]]))
store = S3Store(url, Path(cache), client)
if int(limit):
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
print("ready", flush=True)
sys.stdin.readline()
try:
    folder = store.open_artifact(key)
    print(json.dumps([str(folder), len((folder / "weights.bin").read_bytes()), asked]))
except StorageError as error:
    print(error)
"""


def opening(store: S3Store, limit: int = 0) -> "subprocess.Popen[str]":
    """A process that opens the artifact when it gets a line."""
    command = [sys.executable, "-c", OPEN, store.url, str(store.cache), KEY, str(limit)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    return process


def test_of_two_processes_at_once_one_downloads(s3: S3Store, made: Path) -> None:
    (made / "weights.bin").write_bytes(b"w" * LARGE)
    s3.publish(KEY, made, {})
    both = [opening(s3), opening(s3)]
    for process in both:
        assert process.stdin
        process.stdin.write("go\n")
        process.stdin.flush()
    (one, size_one, asked_one), (two, size_two, asked_two) = (json.loads(process.communicate(timeout=60)[0]) for process in both)
    assert one == two == str(s3.open_artifact(KEY))
    assert size_one == size_two == LARGE
    assert (Counter(asked_one) + Counter(asked_two))[f"team/{KEY}/weights.bin"] == 1


def test_no_room_for_the_download_is_one_line_and_leaves_nothing(s3: S3Store, made: Path) -> None:
    (made / "weights.bin").write_bytes(b"w" * LARGE)
    s3.publish(KEY, made, {})
    told = opening(s3, LARGE // 2).communicate("go\n", timeout=60)[0]
    assert told.startswith(f"cannot write {s3.cache / KEY}/")
    assert told.endswith(": File too large; free some space or set CSIFT_DATA_DIR\n")
    assert [path for path in s3.cache.rglob("*") if path.is_file() and path.suffix != ".lock"] == []
    assert (s3.open_artifact(KEY) / "weights.bin").stat().st_size == LARGE


def test_a_discarded_artifact_leaves_no_copy(s3: S3Store, made: Path) -> None:
    s3.publish(KEY, made, {})
    folder = s3.open_artifact(KEY)
    s3.discard(KEY)
    assert not folder.parent.exists()
    s3.publish(KEY, made, {})
    assert s3.open_artifact(KEY) == folder


def test_the_setting_names_the_store_of_all_tasks(s3: S3Store, made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tasks.collaborators import store

    s3.publish(KEY, made, {})
    monkeypatch.setenv("CSIFT_STORE_URL", s3.url)
    settings.cache_clear()
    try:
        assert store().url == s3.url
        assert store().open_artifact(KEY).is_relative_to(settings().root / "cache")
        monkeypatch.delenv("CSIFT_STORE_URL")
        settings.cache_clear()
        assert store().url == str(settings().root / "artifacts")
    finally:
        settings.cache_clear()


# --- refusals ------------------------------------------------------------------------------------------------------


def every_call(store: ObjectStore, made: Path) -> list[Callable[[], object]]:
    return [
        lambda: store.put("a", b""),
        lambda: store.get("a"),
        lambda: store.has("a"),
        lambda: store.publish(KEY, made, {}),
        lambda: store.open_artifact(KEY),
        lambda: store.has_artifact(KEY),
        lambda: store.artifacts(),
        lambda: store.discard(KEY),
    ]


def refused(store: ObjectStore, made: Path, words: str) -> None:
    for call in every_call(store, made):
        with pytest.raises(StorageError, match=words) as caught:
            call()
        assert "\n" not in str(caught.value)


def test_a_bucket_that_is_not_there_is_named(s3: S3Store, made: Path, tmp_path: Path) -> None:
    words = (
        r"^there is no bucket none-such \(s3://none-such/p.*\); correct the location in CSIFT_STORE_URL or AWS_ENDPOINT_URL_S3$"
    )
    refused(S3Store("s3://none-such/p", tmp_path), made, words)


def test_without_keys_it_says_which_to_set(s3: S3Store, made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(variable)
    words = r"^cannot \w+ s3://.*: no AWS keys were found; set AWS_ACCESS_KEY_ID or AWS_PROFILE$"
    refused(S3Store(s3.url, s3.cache), made, words)


def test_an_endpoint_that_is_no_url_is_told(s3: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "nonsense")
    with pytest.raises(StorageError, match=r"cannot use s3://b/p: .*nonsense; correct boto3's settings"):
        S3Store("s3://b/p", s3.cache)


def at(endpoint: str, cache: Path) -> S3Store:
    """A store at an endpoint, whose client gives up at once."""
    config = Config(connect_timeout=2, read_timeout=10, retries={"total_max_attempts": 1})
    keys = {"aws_access_key_id": "key", "aws_secret_access_key": "secret", "region_name": "eu-west-1"}
    return S3Store("s3://b/p", cache, boto3.client("s3", endpoint_url=endpoint, config=config, **keys))


def test_an_endpoint_that_is_down_is_told(tmp_path: Path, made: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = r"^cannot reach s3://b/p.*: .*; check the network and AWS_ENDPOINT_URL_S3, then run it again$"
    refused(at(f"http://127.0.0.1:{port}", tmp_path), made, words)


@contextmanager
def answering(status: int, code: str, but: str = "") -> Iterator[str]:
    """The endpoint of a server that refuses everything; listings apart when `but` is "list"."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            body = f"<Error><Code>{code}</Code><Message>told</Message></Error>".encode()
            listed = but == "list" and "list-type" in self.path
            self.send_response(200 if listed else status)
            body = b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>" if listed else body
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_PUT = do_DELETE = do_HEAD = do_POST = answer

        def log_message(self, *parts: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


REFUSALS = {
    "AccessDenied": (
        403,
        r"^no permission to \w+ s3://b/p.*; these keys need s3:ListBucket on the bucket and s3:GetObject, s3:PutO",
    ),
    "InvalidAccessKeyId": (403, r"^the AWS keys are refused for s3://b/p.* \(InvalidAccessKeyId\); renew AWS_ACCESS_KEY_ID"),
    "SlowDown": (503, r"^cannot \w+ s3://b/p.*: .*SlowDown.*; run it again later$"),
}


@pytest.mark.parametrize("code", REFUSALS)
def test_a_refusal_says_what_is_needed(code: str, tmp_path: Path, made: Path) -> None:
    status, words = REFUSALS[code]
    with answering(status, code) as endpoint:
        refused(at(endpoint, tmp_path), made, words)


@pytest.mark.parametrize("code", ["QuotaExceeded", "XMinioStorageFull"])
def test_a_bucket_without_room_is_told(code: str, tmp_path: Path, made: Path) -> None:
    words = rf"cannot write s3://b/p/{KEY}/a.txt: no room \({code}\); free some space in b or raise its quota"
    with answering(507, code, but="list") as endpoint, pytest.raises(StorageError, match=words):
        at(endpoint, tmp_path).publish(KEY, made, {})


@pytest.mark.parametrize("url", ["s3://", "s3:///a", "https://host/b", "file:///tmp"])
def test_a_place_that_is_none_is_told(url: str, tmp_path: Path) -> None:
    with pytest.raises(
        StorageError, match=rf"^{url} is no place for artifacts; set CSIFT_STORE_URL to s3://bucket/prefix or to a"
    ):
        open_store(url, tmp_path)
