"""A teacher that is away: ten minutes are ridden out by the default settings, and after a longer time the next run goes on."""

import socket
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pumps import NAMES, configure, served, write_catalogue
from teachers import SPECS, ask, aws_keys, quantities, shout

from bench.teacher_server import Error, Reply, TeacherServer
from csift import cycles
from csift.config import LoopConfig
from csift.db import Database
from csift.exceptions import TeacherError
from csift.ledger import Ledger, cost_of
from csift.llm import remote_model
from csift.llm.remote import Clock
from csift.models import BaseModel
from csift.schemas import CycleState
from csift.settings import settings
from flows.build_dataset import build_dataset

pytestmark = pytest.mark.slow
AWAY = 600.0  # seconds


class Skipping(Clock):
    """Waits are over at once, and count all the same; at a moment something happens."""

    def __init__(self, at: float = AWAY, happens: Callable[[], object] = lambda: None) -> None:
        self._now, self._at, self._happens = 0.0, at, happens
        self._lock = threading.Lock()

    def now(self) -> float:
        return self._now

    def wait(self, stop: threading.Event, seconds: float) -> bool:
        with self._lock:
            before = self._now
            self._now += seconds
            if before < self._at <= self._now:
                self._happens()
        return stop.is_set()


@pytest.mark.parametrize("protocol", sorted(SPECS))
@pytest.mark.parametrize("refused", [False, True])
def test_ten_minutes_are_ridden_out(
    db: Database, project: str, monkeypatch: pytest.MonkeyPatch, protocol: str, refused: bool
) -> None:
    """Answering 503 in the middle of a run, or refusing connections when it begins."""
    aws_keys(monkeypatch)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    serving: list[TeacherServer] = []

    def serve() -> None:
        serving.append(TeacherServer(script, port=port).__enter__())

    def script(prompt: str, time: int) -> Reply:
        down = not refused and len(serving[0].received) > 4 and clock.now() < AWAY
        return Error(503, "unavailable", "down for maintenance") if down else shout(prompt, time)

    clock = Skipping(happens=serve if refused else lambda: None)
    if not refused:
        serve()
    url = f"http://127.0.0.1:{port}"
    where = settings().model_copy(update={"openai_base_url": f"{url}/v1", "aws_endpoint_url": url, "aws_region": "us-east-1"})
    cycle = cycles.begin(db, project, "manual", datetime(2026, 11, 20, 2, tzinfo=UTC))
    model = remote_model(
        SPECS[protocol], Ledger(db, cycle), "teacher", settings=where, concurrency=1, max_tokens=100, clock=clock
    )
    topics = [f"{project} {n}" for n in range(8)]
    try:
        assert ask(model, topics) == [topic.upper() for topic in topics]
    finally:
        for server in serving:
            server.__exit__()
    answered = serving[0].answered
    assert clock.now() >= AWAY
    assert cost_of(db, cycle).calls == len(topics) == answered.total() == len(answered)
    how = "connections refused" if refused else "503"
    print(f"{protocol}, {how} for {AWAY:.0f} s: all {len(topics)} items answered {clock.now():.0f} s after the start, each once")


@pytest.fixture
def config(tmp_path: Path, project: str, tiny_model: BaseModel) -> LoopConfig:
    """The project's documents name it, so that no other test has asked about them."""
    write_catalogue(tmp_path, tuple(f"{name} {project}" for name in NAMES))
    return served(configure(tmp_path, project, tiny_model.path))


def test_away_for_longer_the_cycle_fails_with_an_alert_and_the_next_run_pays_for_what_is_missing(
    db: Database,
    config: LoopConfig,
    prefect_server: None,
    serve: Callable[[TeacherServer], None],
    sent: Callable[[], list[dict[str, Any]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CSIFT_CALL_PATIENCE", "0.5")
    down = threading.Event()

    def script(prompt: str, time: int) -> Reply:
        if server.answered.total() >= 5:
            down.set()
        return Error(503, "unavailable", "down") if down.is_set() and not up.is_set() else quantities(prompt, time)

    up = threading.Event()
    with TeacherServer(script) as server:
        serve(server)
        with pytest.raises(TeacherError, match=r"unavailable: 503 down, for .* run again, and it continues"):
            build_dataset(config)
        failed = cycles.recent(db, config.project, 1)[0]
        (alert,) = sent()
        before = server.answered.total()
        up.set()
        ended = build_dataset(config, return_state=True).result()
        assert max(server.answered.values()) == 1
    assert (failed.state, ended.state) == (CycleState.FAILED, CycleState.COMPLETED)
    assert (alert["event"], alert["project"]) == ("csift.cycle.failed", config.project)
    assert "503 down" in alert["happened"]
    assert ended.cost.calls == server.answered.total() - before > 0
    print(f"teacher away for too long with {before} calls answered: failed, 1 alert, the next run made {ended.cost.calls} more")
