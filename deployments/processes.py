"""Processes that a command keeps: started one after the other, watched, ended together.

Each carries a mark in its environment by which it and all that it starts are found again, whoever their parent is by then.
"""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

import httpx
import psutil

from csift.exceptions import ServiceError

MARK = "CSIFT_UP"  # in the environment of every child: data folder and process id of the command it belongs to


@dataclass(frozen=True)
class Service:
    """What is to run: under the name that it has in docker-compose.yml, and as people call it."""

    name: str
    called: str
    command: Sequence[str]
    environment: Mapping[str, str]  # all of it
    ready: Callable[[datetime], bool]  # given when it was started


class Children:
    """The processes that one command keeps on a data folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._kept: list[tuple[Service, subprocess.Popen[bytes]]] = []

    def start(self, service: Service, patience: float) -> None:
        """Returns once it is ready. Raises ServiceError when it ends before, or is not ready after `patience` seconds."""
        started, log = datetime.now(UTC), log_of(self.root, service.name)
        with log.open("wb") as output:
            # in a session of its own, so that the terminal's Ctrl-C reaches only us
            process = subprocess.Popen(
                service.command, env={**service.environment, MARK: f"{self.root}:{os.getpid()}"}, cwd=log.parent,
                stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        self._kept.append((service, process))
        deadline = time.monotonic() + patience
        while not service.ready(started):
            if process.poll() is not None:
                raise ServiceError(f"the {service.called} did not start; the reason is at the end of {log}")
            if time.monotonic() > deadline:
                raise ServiceError(f"the {service.called} was not ready within {patience:g} s; see {log}, then run again")
            time.sleep(0.1)

    def first_to_end(self) -> Service:
        """Waits until one has ended by itself."""
        while True:
            for service, process in self._kept:
                if process.poll() is not None:
                    return service
            time.sleep(0.5)

    def end(self, grace: float) -> None:
        """Ends all, in the order opposite to that of their start. What they started (flow runs) goes first, so that it can
        report how it ended."""
        kept = {process.pid for _, process in self._kept}
        _end([one for one in _marked(self.root, lambda owner: owner == os.getpid()) if one.pid not in kept], grace)
        for _, process in reversed(self._kept):
            if process.poll() is None:
                _end([psutil.Process(process.pid)], grace)


@contextmanager
def keeping(root: Path, grace: float) -> Iterator[Children]:
    """Children that end with the block, or with the process by Ctrl-C, a kill or a closed terminal; each has `grace` seconds
    before it is killed. What a killed command left running on the folder is ended first."""
    _end(_marked(root, lambda owner: not psutil.pid_exists(owner)), grace)
    children = Children(root)
    with _termination_interrupts():
        try:
            yield children
        finally:
            children.end(grace)


def log_of(root: Path, name: str) -> Path:
    """The file for a service's output."""
    path = root / "logs" / f"{name}.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def require_free(host: str, port: int) -> None:
    """Raises ServiceError when nothing can listen there."""
    with socket.socket(_family(host)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            reason = f"cannot serve on {host}:{port}: {error.strerror}"
            raise ServiceError(f"{reason}; stop what runs there, or choose another --host or --port") from None


def require_alone(root: Path) -> None:
    """Raises ServiceError when another command keeps processes on this folder."""
    if others := _marked(root, lambda owner: owner != os.getpid()):
        raise ServiceError(f"another `csift up` runs on {root} (its process {others[0].pid}); stop that one first")


def free_port(host: str) -> int:
    """A port that nobody listens on now."""
    with socket.socket(_family(host)) as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port


def listens(host: str, port: int) -> bool:
    """Whether somebody accepts connections there."""
    with socket.socket(_family(host)) as probe:
        probe.settimeout(2)
        return probe.connect_ex((host, port)) == 0


def answers(url: str) -> bool:
    """Whether a GET of it succeeds."""
    try:
        return httpx.get(url, timeout=2).is_success
    except httpx.TransportError:
        return False


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _marked(root: Path, owned: Callable[[int], bool]) -> list[psutil.Process]:
    """The processes on this data folder whose command, by process id, is `owned`."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):  # gone meanwhile, or somebody else's
            folder, _, owner = process.environ().get(MARK, "").rpartition(":")
            if folder == str(root) and owned(int(owner)):
                found.append(process)
    return found


def _end(processes: Sequence[psutil.Process], grace: float) -> None:
    """Asks processes to end, and kills those that have not within `grace` seconds, or at the next Ctrl-C."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.terminate()
    try:
        _, alive = psutil.wait_procs(processes, timeout=grace)
    except KeyboardInterrupt:
        alive = list(processes)
    for process in alive:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive)


@contextmanager
def _termination_interrupts() -> Iterator[None]:
    """A kill or a closed terminal ends the block as Ctrl-C does, so that it stops its children."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
