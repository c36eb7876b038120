"""What all tests share: a throw-away data folder with an embedded Postgres, a tiny random model, an embedder that counts."""

import os
import tempfile
import uuid
from collections.abc import Callable, Generator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "2")
_DATA = tempfile.TemporaryDirectory(prefix="csift-tests-", ignore_cleanup_errors=True)
os.environ["CSIFT_DATA_DIR"] = _DATA.name
os.environ.pop("CSIFT_DATABASE_URL", None)
os.environ.pop("CSIFT_STORE_URL", None)

import pytest  # noqa: E402
import sqlalchemy as sa  # noqa: E402
from encoders import WordEmbedder  # noqa: E402

from bench.teacher_server import TeacherServer  # noqa: E402
from csift import cycles, registry  # noqa: E402
from csift.db import Database, database  # noqa: E402
from csift.hashing import sha256  # noqa: E402
from csift.leases import hold  # noqa: E402
from csift.ledger import Ledger  # noqa: E402
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
def empty(db: Database) -> Iterator[str]:
    """The URL of a new, empty database."""
    name = f"new-{uuid.uuid4().hex[:12]}"
    with db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text(f'CREATE DATABASE "{name}"'))
        yield db.url.set(database=name).render_as_string(hide_password=False)
        connection.execute(sa.text(f'DROP DATABASE "{name}" WITH (FORCE)'))


@pytest.fixture
def project(request: pytest.FixtureRequest) -> str:
    """A project name of the test's own."""
    return "t-" + sha256(request.node.nodeid)[:12]


@pytest.fixture
def cycle(db: Database, project: str) -> str:
    """A cycle to book calls on."""
    return cycles.begin(db, project, "manual", datetime(2026, 11, 20, 2, tzinfo=UTC))


@pytest.fixture
def made(db: Database, project: str, tmp_path: Path) -> Iterator[Any]:
    """A champions.Project whose champion is the System with k = 1."""
    from champions import Project, snapshot_of

    with hold(db, project) as lease:
        opened = Project(db, project, snapshot_of(db, project, tmp_path), lease)
        registry.bootstrap_champion(db, project, opened.system(1))
        yield opened


@pytest.fixture
def ledger(db: Database, cycle: str) -> Ledger:
    """Where its calls are booked."""
    return Ledger(db, cycle)


@pytest.fixture
def words() -> WordEmbedder:
    """A fresh counting embedder."""
    return WordEmbedder()


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> BaseModel:
    """A random two-layer Llama with SmolLM2's tokenizer: the real code paths in milliseconds."""
    from bench.tiny import tiny_model
    from csift.models import quiet_libraries, resolve

    quiet_libraries()
    return resolve(str(tiny_model(tmp_path_factory.mktemp("tiny-model"))), settings().root)


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
