"""Log lines as JSON, and what a span may say."""

import json
import logging
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from opentelemetry import trace

from csift.exceptions import ConfigError
from csift.telemetry.context import current, inside
from csift.telemetry.logs import JsonLines
from csift.telemetry.spans import install


def line(message: str, *arguments: object, **extra: object) -> dict[str, str]:
    """A log record as it is written."""
    record = logging.LogRecord(
        "csift.test", logging.WARNING, __file__, 1, message, arguments, sys.exc_info() if extra.pop("failed", 0) else None
    )
    record.__dict__.update(extra)
    written = JsonLines("default", None, "%").format(record)
    assert "\n" not in written
    told: dict[str, str] = json.loads(written)
    return told


def test_a_line_says_whose_it_is() -> None:
    with inside(project="shop", cycle="shop-manual-1"), inside(stage="train"):
        told = line("lost %s\nof %d", "“3”", 7, flow_run_id="r-1", flow_run_name="brave-owl", task_run_name="train-0")
    assert told.pop("time").endswith("+00:00")
    assert told == {
        "level": "WARNING", "logger": "csift.test", "message": "lost “3”\nof 7", "project": "shop", "cycle": "shop-manual-1",
        "stage": "train", "run": "r-1", "run_name": "brave-owl", "task": "train-0",
    }  # fmt: skip


def test_a_line_outside_of_a_cycle_says_no_more_than_it_knows() -> None:
    assert set(line("hello")) == {"time", "level", "logger", "message"}


def test_a_traceback_is_in_the_line() -> None:
    try:
        1 / 0
    except ZeroDivisionError:
        assert line("failed", failed=True)["error"].endswith("ZeroDivisionError: division by zero")


def test_what_is_known_ends_with_the_block_and_is_not_seen_by_other_threads() -> None:
    with inside(cycle="c"), ThreadPoolExecutor(1) as pool:
        assert pool.submit(current).result() == {}
        assert current() == {"cycle": "c"}
    assert current() == {}


def test_without_an_endpoint_nothing_is_set_up_and_another_protocol_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    install()
    assert isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
    with pytest.raises(ConfigError, match="OTEL_EXPORTER_OTLP_PROTOCOL is http/protobuf and csift sends by grpc"):
        install()
