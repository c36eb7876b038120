"""A real Prefect server and worker as `csift up` starts them, on one small project."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun

from deployments.processes import MARK
from deployments.server import PREFECT_YAML

EXAMPLES = PREFECT_YAML.parent / "examples"
LAST_CYCLE = """
from csift.cycles import recent
from csift.db import database
print(recent(database(), "small", 1)[0].model_dump_json())
"""


@dataclass(frozen=True)
class Served:
    """A running `csift up`: its process, what it said when it was ready, its data folder, the server and its API."""

    process: subprocess.Popen[str]
    welcome: str
    data: Path
    url: str
    api: SyncPrefectClient

    def run(self, deployment: str, **parameters: Any) -> FlowRun:
        """Starts a run of a deployment as the UI does, with some of its parameters changed."""
        found = self.api.read_deployment_by_name(deployment)
        return self.api.create_flow_run_from_deployment(found.id, parameters={**found.parameters, **parameters})

    def until(self, run: FlowRun, holds: Callable[[FlowRun], bool], seconds: float = 300) -> FlowRun:
        """The run, once something holds of it."""
        return until(lambda: self.api.read_flow_run(run.id), holds, seconds)


class Hook:
    """A webhook on this machine: what was posted to it, as JSON."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []
        told = self.told

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Says nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/alerts"

    def __enter__(self) -> "Hook":
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()


def until(look: Callable[[], Any], holds: Callable[[Any], bool], seconds: float = 300) -> Any:
    """Looks again and again until it holds of what is seen."""
    deadline = time.monotonic() + seconds
    while not holds(seen := look()):
        assert time.monotonic() < deadline, f"still {seen!r} after {seconds} s"
        time.sleep(0.2)
    return seen


def small_project(folder: Path) -> Path:
    """A TOML over two documents to train on and two to evaluate on."""
    documents = {"kestrel-40.md", "marlow-d12.md", "drayton-30.md", "isolde.md"}
    (folder / "corpus").mkdir()
    for name in documents:
        (folder / "corpus" / name).write_bytes((EXAMPLES / "catalogue-1" / name).read_bytes())
    rows = (EXAMPLES / "questions-1.jsonl").read_text().splitlines()
    kept = [row for row in rows if json.loads(row)["document"] in documents and row.split('"')[3].endswith(("1", "2"))]
    (folder / "questions.jsonl").write_text("\n".join(kept))
    (folder / "traffic.jsonl").write_text("\n".join((EXAMPLES / "traffic-1.jsonl").read_text().splitlines()[:30]))
    toml = folder / "small.toml"
    toml.write_text("""
project = "small"
corpus = { sources = [{ location = "corpus" }], questions = ["questions.jsonl"] }
teacher = { tune_steps = 2 }
synthesis = { candidates = 2 }
training = { max_steps = 2, batch_size = 1 }
gate = { min_items = 2 }
drift = { reference = "traffic.jsonl", current = "traffic.jsonl" }
""")
    return toml


def start(folder: Path, port: int, *options: str) -> subprocess.Popen[str]:
    """`csift up` on the project in a folder."""
    environment = {**os.environ, "CSIFT_DATA_DIR": str(folder / "data")}
    environment.pop("PREFECT_API_URL", None)
    return subprocess.Popen(
        [sys.executable, "-m", "flows.cli", "up", "--config", str(folder / "small.toml"), "--port", str(port), *options],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


@contextmanager
def serving(folder: Path, *options: str) -> Iterator[Served]:
    """A `csift up` that is ready, on a port of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = start(folder, port, *options)
    try:
        printed = []
        for line in process.stdout or ():
            printed.append(line)
            if "Ctrl-C stops" in line:
                break
        else:
            pytest.fail("".join(printed))
        url = f"http://127.0.0.1:{port}"
        auth = next((line.split(": ")[1].strip() for line in printed if "sign in as: " in line), None)
        with SyncPrefectClient(f"{url}/api", auth_string=auth) as api:
            yield Served(process, "".join(printed), folder / "data", url, api)
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=90)


def on_data(data: Path, script: str) -> Any:
    """What another process reads from a data folder's Postgres."""
    environment = {**os.environ, "CSIFT_DATA_DIR": str(data)}
    command = [sys.executable, "-c", script]
    return json.loads(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)


def last_cycle(data: Path) -> dict[str, Any]:
    """The project's newest cycle."""
    cycle: dict[str, Any] = on_data(data, LAST_CYCLE)
    return cycle


def processes_on(data: Path) -> list[str]:
    """The command lines of all that still runs on a data folder."""
    found = []
    for process in psutil.process_iter():
        try:
            if str(data) in " ".join([*process.cmdline(), process.environ().get(MARK, "")]):
                found.append(" ".join(process.cmdline()))
        except psutil.Error:  # gone meanwhile, or somebody else's
            continue
    return found
