"""A Prefect server and a worker as real processes, without `csift up`."""

import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import httpx
import psutil
from served import until

from deployments.local import environment

STARTS = 120.0  # seconds that a server may take to start


class Site:
    """A Prefect server and a worker in processes of their own, on one data folder and one port.

    Its `settings` are environment variables beside those that `csift up` gives.
    """

    def __init__(self, folder: Path, **settings: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.folder, self.url, self.settings = folder, f"http://127.0.0.1:{self.port}", settings
        (folder / "data" / "prefect").mkdir(parents=True)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def environment(self) -> dict[str, str]:
        """What each process has."""
        return {**environment(self.folder / "data", "127.0.0.1", self.port), **self.settings}

    def _start(self, name: str, *arguments: str) -> None:
        command = [sys.executable, "-m", "prefect", *arguments]
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(command, env=self.environment, stdout=log, stderr=log, cwd=self.folder)

    def start_server(self) -> None:
        """Returns when it answers."""
        self._start("server", "server", "start", "--host", "127.0.0.1", "--port", str(self.port))
        until(self._healthy, bool, STARTS)

    def _healthy(self) -> bool:
        assert self.processes["server"].poll() is None, (self.folder / "server.log").read_text()[-2000:]
        try:
            return httpx.get(f"{self.url}/api/health", timeout=5).is_success
        except httpx.TransportError:
            return False

    def start_worker(self) -> None:
        """It takes runs some time later."""
        self._start("worker", "worker", "start", "--pool", "cpu", "--name", "here")

    def kill(self, name: str) -> None:
        """kill -9 on a process and all that it started, as when its machine goes."""
        started = self.processes.pop(name)
        with suppress(psutil.NoSuchProcess):  # it ended by itself
            mine = psutil.Process(started.pid)
            for process in [mine, *mine.children(recursive=True)]:
                process.send_signal(signal.SIGKILL)
        started.wait()

    def end(self) -> None:
        """Kills what is left."""
        for name in list(self.processes):
            self.kill(name)
