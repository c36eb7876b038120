"""A small flow in a process of its own, as a worker starts it: its log lines are JSON, its spans arrive at a collector."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from prefect.settings import PREFECT_API_URL

from bench.teacher_server import Answer, Error, TeacherServer
from csift.settings import settings
from deployments.local import environment

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
FLOW = """
import logging
import dspy
from prefect import flow, task
from prefect.logging import get_run_logger
from csift import cycles
from csift.config import LoopConfig
from csift.db import database
from csift.ledger import Ledger
from csift.llm import remote_model
from csift.settings import settings
from tasks.cycle import cycle

config = LoopConfig.model_validate({
    "project": "telemetry", "corpus": {"sources": [{"location": "docs"}]}, "drift": {"reference": "r", "current": "c"},
})

@task
def ask(cycle_id, questions):
    with cycles.stage(database(), cycle_id, "synthesis"):
        get_run_logger().info("asking %d", len(questions))
        ledger = Ledger(database(), cycle_id)
        model = remote_model("openai/teach", ledger, "teacher", settings=settings(), concurrency=2, max_tokens=16)
        def one(question):
            logging.getLogger("csift.llm").warning("slow")
            return dspy.Predict("question -> answer")(question=question).answer
        return [str(answer) for answer in model.map(one, questions)]

@flow
def tiny():
    with cycle(config, "manual") as run:
        return ask.submit(run.id, ["What is the secret?", "What is refused?"]).result()

print(tiny())
"""


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Takes spans."""

    def __init__(self) -> None:
        self.requests: list[Any] = []

    def Export(self, request: Any, context: Any) -> Any:
        self.requests.append(request)
        return trace_service_pb2.ExportTraceServiceResponse()

    @property
    def spans(self) -> list[Span]:
        """All of them."""
        return [
            one for request in self.requests for of in request.resource_spans for part in of.scope_spans for one in part.spans
        ]


@contextmanager
def collecting() -> Iterator[tuple[Collector, str]]:
    """A collector that speaks OTLP by grpc, and its URL."""
    server, collector = grpc.server(ThreadPoolExecutor(2)), Collector()
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collector, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield collector, f"http://127.0.0.1:{port}"
    finally:
        server.stop(None)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[subprocess.CompletedProcess[str], Collector]]:
    """The flow's process after its end, and what the collector has."""

    def script(prompt: str, time: int) -> Any:
        return (
            Error(400, "content_filter", prompt)
            if "refused" in prompt
            else Answer("[[ ## answer ## ]]\n42\n\n[[ ## completed ## ]]")
        )

    folder = tmp_path_factory.mktemp("telemetry")
    (folder / "tiny.py").write_text(FLOW)
    with collecting() as (collector, url), TeacherServer(script) as teacher, pytest.MonkeyPatch.context() as patch:
        patch.setenv("CSIFT_LOG_FORMAT", "json")
        settings.cache_clear()
        server = urlsplit(str(PREFECT_API_URL.value()))
        told = environment(settings().root, str(server.hostname), server.port or 80)
        settings.cache_clear()
        told |= {"OTEL_EXPORTER_OTLP_ENDPOINT": url, "CSIFT_OPENAI_BASE_URL": teacher.openai_url, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, str(folder / "tiny.py")]
        yield subprocess.run(command, env={**os.environ, **told}, capture_output=True, text=True), collector


def test_every_log_line_is_an_object_that_says_whose_it_is(ran: tuple[subprocess.CompletedProcess[str], Collector]) -> None:
    done, _ = ran
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert all({"time", "level", "logger", "message"} <= line.keys() for line in lines)
    asking = next(line for line in lines if line["message"] == "asking 2")
    assert asking["project"] == "telemetry"
    assert asking["cycle"].startswith("telemetry-manual-")
    assert asking["stage"] == "synthesis"
    assert asking["task"].startswith("ask-")
    of_threads = [line for line in lines if line["message"] == "slow"]
    same = ("project", "cycle", "stage", "run")
    assert [[line[name] for name in same] for line in of_threads] == [[asking[name] for name in same]] * 2


def attributes(span: Span) -> dict[str, Any]:
    """A span's attributes as plain values."""
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in span.attributes}


def test_calls_are_spans_below_the_task_that_made_them(ran: tuple[subprocess.CompletedProcess[str], Collector]) -> None:
    _, collector = ran
    (task,) = [span for span in collector.spans if attributes(span).get("prefect.run.type") == "task"]
    (flow,) = [span for span in collector.spans if attributes(span).get("prefect.run.type") == "flow"]
    calls = [span for span in collector.spans if span.name == "chat openai/teach"]
    assert task.parent_span_id == flow.span_id
    assert [span.parent_span_id for span in calls] == [task.span_id] * 2
    good, bad = sorted(calls, key=lambda span: span.status.code == Status.STATUS_CODE_ERROR)
    told = attributes(good)
    assert (told["gen_ai.request.model"], told["csift.role"], told["csift.stage"]) == ("openai/teach", "teacher", "synthesis")
    assert told["gen_ai.usage.input_tokens"] > 0
    assert told["gen_ai.usage.output_tokens"] > 0
    assert bad.status.code == Status.STATUS_CODE_ERROR
    assert attributes(bad)["error.type"] == "ItemFailed"
    resource = {one.key: one.value.string_value for one in collector.requests[0].resource_spans[0].resource.attributes}
    assert resource["service.name"] == "csift"


def test_no_prompt_and_no_answer_is_in_a_span(ran: tuple[subprocess.CompletedProcess[str], Collector]) -> None:
    done, collector = ran
    assert "42" in done.stdout
    sent = b"".join(request.SerializeToString() for request in collector.requests)
    assert sent
    for word in (b"secret", b"refused?", b"## answer ##"):
        assert word not in sent
