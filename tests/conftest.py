"""What all tests share: a throw-away data folder with an embedded Postgres, a tiny random model, an embedder that counts."""

import os
import tempfile
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "2")
_DATA = tempfile.TemporaryDirectory(prefix="csift-tests-", ignore_cleanup_errors=True)
os.environ["CSIFT_DATA_DIR"] = _DATA.name
os.environ.pop("CSIFT_DATABASE_URL", None)
os.environ.pop("CSIFT_STORE_URL", None)

import pytest  # noqa: E402
from encoders import WordEmbedder  # noqa: E402

from bench.teacher_server import TeacherServer  # noqa: E402
from csift.db import Database, database  # noqa: E402
from csift.hashing import sha256  # noqa: E402
from csift.models import BaseModel  # noqa: E402
from csift.settings import settings  # noqa: E402

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI a tool that is missing is a failure; only tests on labelled data from outside may skip."""
    report = yield
    if os.environ.get("CI") and report.skipped and "CSIFT_BENCH_DATA" not in str(report.longrepr):
        report.outcome = "failed"
        report.longrepr = f"skipped in CI: {report.longrepr}"
    return report


@pytest.fixture(scope="session")
def db() -> Iterator[Database]:
    """The migrated database of this test session; tests take a project of their own in it."""
    settings.cache_clear()
    database.cache_clear()
    yield database()
    database().close()


@pytest.fixture
def project(request: pytest.FixtureRequest) -> str:
    """A project name of the test's own."""
    return "t-" + sha256(request.node.nodeid)[:12]


@pytest.fixture
def words() -> WordEmbedder:
    """A fresh counting embedder."""
    return WordEmbedder()


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> BaseModel:
    """A random two-layer Llama with SmolLM2's tokenizer: the real code paths in milliseconds."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from csift.models import bundled_tokenizer, quiet_libraries, resolve

    quiet_libraries()
    folder = tmp_path_factory.mktemp("tiny-model")
    tokenizer = bundled_tokenizer()
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return resolve(str(folder), settings().root)


@pytest.fixture(scope="session")
def prefect_server(db: Database) -> Iterator[None]:
    """A Prefect server with a database of its own, which knows where task results are kept."""
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
    from prefect.testing.utilities import prefect_test_harness

    from tasks.results import result_storage

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DO_NOT_TRACK", "1")
        patch.setenv("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
        with (
            prefect_test_harness(server_startup_timeout=60),
            temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}),  # its thread costs every flow a second
        ):
            result_storage()
            yield


@pytest.fixture
def sent() -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """The payloads of csift's own events until now, oldest first."""
    from prefect.events.clients import AssertingEventsClient
    from prefect.events.worker import EventsWorker

    AssertingEventsClient.reset()
    EventsWorker.set_client_override(AssertingEventsClient)

    def payloads() -> list[dict[str, Any]]:
        EventsWorker.instance().wait_until_empty()
        events = [event for client in AssertingEventsClient.all for event in client.events]
        return [event.payload for event in events if event.event.startswith("csift.")]

    yield payloads
    EventsWorker.instance().drain()
    EventsWorker.set_client_override(None)


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[TeacherServer], None]]:
    """Makes `openai/...` of this process mean a server."""

    def point(server: TeacherServer) -> None:
        monkeypatch.setenv("CSIFT_OPENAI_BASE_URL", server.openai_url)
        settings.cache_clear()

    yield point
    monkeypatch.undo()
    settings.cache_clear()
