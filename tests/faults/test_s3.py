"""S3 that answers 500, says nothing, or stops in the middle: tried again within limits; what is half is never taken for whole."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import pytest
from stores import KEY, empty_s3, fill, serving_s3

from csift.config import TrainingConfig
from csift.exceptions import StorageError
from csift.models import BaseModel
from csift.s3 import READS, make_client
from csift.storage import S3Store
from csift.training import Run, TrainingData, TrainingRow, train

pytestmark = pytest.mark.slow

SILENCE = 1.0  # seconds that the client of these tests lets pass without a word
Fault = Literal[500, 503, "silent", "cut", "stalled"] | None
Script = Callable[[str, int], Fault]  # the method, and how often the same was asked before


class Front:
    """An HTTP server before another one: passes requests on, or does what the script says."""

    def __init__(self, behind: str) -> None:
        self.script: Script = lambda method, before: None
        self.asked: Counter[str] = Counter()
        self.faults: Counter[Fault] = Counter()
        self._behind = urlsplit(behind).netloc
        self._ended = threading.Event()
        front = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                front.answer(self)

            do_GET = do_PUT = do_DELETE = do_HEAD = do_POST = answer

            def log_message(self, *parts: object) -> None: ...

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}"

    def __enter__(self) -> "Front":
        threading.Thread(target=self._http.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._http.shutdown()
        self._http.server_close()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """One request."""
        body = request.rfile.read(int(request.headers.get("Content-Length", 0)))
        key = f"{request.command} {request.path}"
        fault = self.script(request.command, self.asked[key])
        self.asked[key] += 1
        self.faults[fault] += 1
        if fault == "silent":
            request.close_connection = True
            self._ended.wait()
            return
        status, headers, content = self._passed_on(request, body) if isinstance(fault, str | None) else (fault, {}, b"")
        request.send_response(status)
        for name, value in (headers or {"Content-Length": "0"}).items():
            request.send_header(name, value)
        request.end_headers()
        broken = fault in {"cut", "stalled"}
        request.wfile.write(content[: len(content) // 2] if broken else content)
        if broken:
            request.wfile.flush()
            request.close_connection = True
            if fault == "stalled":
                self._ended.wait()

    def _passed_on(self, request: BaseHTTPRequestHandler, body: bytes) -> tuple[int, dict[str, str], bytes]:
        connection = HTTPConnection(self._behind)
        connection.request(request.command, request.path, body, dict(request.headers))
        response = connection.getresponse()
        content = response.read()
        kept = {name: value for name, value in response.getheaders() if name.lower() != "connection"}
        connection.close()
        return response.status, kept, content


@pytest.fixture(scope="module")
def front() -> Iterator[Front]:
    """Before moto's S3; boto3's environment names it."""
    with serving_s3() as client, Front(client.meta.endpoint_url) as front, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL_S3", front.url)
        yield front


@pytest.fixture
def store(front: Front, tmp_path: Path, request: pytest.FixtureRequest) -> S3Store:
    """An empty store behind it."""
    front.script = lambda method, before: None
    made = empty_s3(make_client(), request.node.nodeid, tmp_path / "cache")
    made = S3Store(made.url, made.cache, make_client(SILENCE))
    front.asked.clear()
    front.faults.clear()
    return made


@contextmanager
def failing(front: Front, script: Script) -> Iterator[None]:
    """Requests fail by the script in the block, and by none after it."""
    front.script = script
    yield
    front.script = lambda method, before: None


@pytest.mark.parametrize("fault", [500, 503, "silent", "cut", "stalled"])
def test_what_fails_once_is_done_by_the_second_try(fault: Fault, front: Front, store: S3Store, tmp_path: Path) -> None:
    folder = fill(tmp_path / "made")
    broken = fault in {"cut", "stalled"}  # a transfer, so only what has a body

    def script(method: str, before: int) -> Fault:
        return fault if not before and (method == "GET" or not broken) else None

    with failing(front, script):
        store.publish(KEY, folder, {"n": 1})
        assert store.get(f"{KEY}/a.txt") == b"first"
        opened = store.open_artifact(KEY)
        assert store.artifacts() == [KEY]
    assert (opened / "weights.bin").read_bytes() == (folder / "weights.bin").read_bytes()
    print(f"S3 {fault}: {front.faults[fault]} of {front.faults.total()} requests failed, all was done")


@pytest.mark.parametrize("fault", [500, "silent"])
def test_what_fails_for_good_is_one_line_and_no_artifact(fault: Fault, front: Front, store: S3Store, tmp_path: Path) -> None:
    folder = fill(tmp_path / "made")
    store.publish(KEY, folder, {"n": 1})
    (folder / "a.txt").write_bytes(b"second")
    front.asked.clear()
    puts: list[int] = []

    def script(method: str, before: int) -> Fault:
        puts.append(before) if method == "PUT" else None
        return fault if method == "PUT" and len(puts) > 1 else None  # the first file arrives

    with failing(front, script), pytest.raises(StorageError, match=r"^cannot (write|reach) s3://.*; .*run it again") as told:
        store.publish(KEY, folder, {"n": 2})
    assert "\n" not in str(told.value)
    assert not store.has_artifact(KEY)
    with pytest.raises(StorageError, match="no such object"):
        store.open_artifact(KEY)
    tried = max(front.asked.values())
    store.publish(KEY, folder, {"n": 2})
    assert (store.open_artifact(KEY) / "a.txt").read_bytes() == b"second"
    print(f"S3 {fault} for good: given up after {tried} tries with one line, nothing half was whole, the next publish was")


def test_a_transfer_that_always_stops_is_given_up(front: Front, store: S3Store) -> None:
    store.put("a", b"x" * 1000)
    front.asked.clear()
    script: Script = lambda method, before: "stalled"  # noqa: E731
    with failing(front, script), pytest.raises(StorageError, match=r"^cannot reach s3://.*/a: .*run it again$"):
        store.get("a")
    assert front.asked.total() == READS


def test_by_default_a_request_that_says_nothing_is_over_within_two_minutes() -> None:
    told = make_client().meta.config
    assert told.retries["total_max_attempts"] * max(told.read_timeout, told.connect_timeout) <= 90
    assert READS * told.read_timeout <= 90


def test_a_training_stage_ends_with_one_line_and_goes_on_when_s3_is_back(
    front: Front, store: S3Store, tmp_path: Path, tiny_model: BaseModel
) -> None:
    rows = [TrainingRow([{"role": "user", "content": "How heavy is it?"}], "3 kg")] * 4
    config = TrainingConfig(max_steps=4, checkpoint_every=2)
    steps: list[int] = []

    def run() -> Any:
        told = Run(
            tiny_model, TrainingData(pairs=rows), "d", config, store, tmp_path / "work", 2,
            on_loss=lambda _, point: steps.append(point.step),
        )  # fmt: skip
        return train(told)

    with (
        failing(front, lambda method, before: 500 if method == "PUT" and steps and steps[-1] == 4 else None),
        pytest.raises(StorageError, match=r"^cannot write s3://.*; run it again later$"),
    ):
        run()
    assert not [key for key in store.artifacts("adapters") if "checkpoint" not in key]
    adapter = run()
    assert store.has_artifact(adapter.artifact)
    assert steps == [1, 2, 3, 4, 3, 4]
    print(f"S3 500 at the end of training: one line, {len(steps) - 4} of 4 steps made again from the checkpoint")
