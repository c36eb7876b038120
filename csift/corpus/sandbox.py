"""Files that libraries take apart (HTML, PDF, Word), each read in a process apart: one that never ends, takes all memory or
crashes the library costs this file and no other.

The limits are the system's own: CPU time, so that a loaded machine skips nothing, and on Linux address space. The process speaks
no pickle: a name and bytes go in, text comes out. Not covered: it may open files and connections as csift itself may; the
libraries open none.

    python -m csift.corpus.sandbox SECONDS
"""

import resource
import signal
import subprocess
import sys
import time
from contextlib import suppress
from typing import IO

from csift.corpus.document import Unusable
from csift.corpus.parsers import parse

GIGABYTES = 4  # of address space; Python and the libraries take a tenth of it

READ, SKIPPED = b"r", b"s"


class Sandbox:
    """Reads files in one child process, which is started with the first and after each that it died of. A context manager."""

    def __init__(self, seconds: int) -> None:
        """`seconds` of CPU time that one file may take."""
        self.seconds = seconds
        self._child: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Sandbox":
        return self

    def __exit__(self, *_: object) -> None:
        if self._child is not None:
            self._end(self._child)

    def parse(self, name: str, content: bytes) -> str:
        """As csift.corpus.parsers.parse.

        Raises:
            Unusable: as there; or the file took too long or too much, or the library crashed.
        """
        child = self._child = self._child or self._start()
        assert child.stdin and child.stdout
        try:
            _send(child.stdin, name.encode(errors="replace"), content)
            kind, said = _receive(child.stdout), _receive(child.stdout).decode()
        except (EOFError, BrokenPipeError):
            raise Unusable(self._cause(child)) from None
        if kind == SKIPPED:
            raise Unusable(said)
        return said

    def _start(self) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", __name__, str(self.seconds)]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)

    def _cause(self, child: "subprocess.Popen[bytes]") -> str:
        """Why the child died."""
        self._child = None
        self._end(child)
        if child.returncode == -signal.SIGXCPU:
            return f"takes more than {self.seconds} s to read; save it in a simpler form, or raise corpus.read_seconds"
        number = -child.returncode
        how = signal.Signals(number).name if number > 0 else f"exit code {child.returncode}"
        return f"crashes what reads it ({how}); save it anew in another form, or remove it"

    @staticmethod
    def _end(child: "subprocess.Popen[bytes]") -> None:
        """The end of its input is the end of the child."""
        assert child.stdin and child.stdout
        with suppress(BrokenPipeError):
            child.stdin.close()
        child.stdout.close()
        child.wait()


def serve(source: IO[bytes], sink: IO[bytes], seconds: int) -> None:
    """What the child does: files in, texts out, until the input ends."""
    while True:
        try:
            name, content = _receive(source).decode(), _receive(source)
        except EOFError:
            return
        _, most = resource.getrlimit(resource.RLIMIT_CPU)
        resource.setrlimit(resource.RLIMIT_CPU, (int(time.process_time()) + 1 + seconds, most))
        try:
            answer = READ, parse(name, content)
        except Unusable as problem:
            answer = SKIPPED, str(problem)
        except MemoryError:
            answer = SKIPPED, "takes too much memory to read; split it into several files, or remove it"
        except RecursionError:
            answer = SKIPPED, "is nested too deeply; save it anew in a simpler form, or remove it"
        _send(sink, answer[0], answer[1].encode())


def _send(stream: IO[bytes], *parts: bytes) -> None:
    for part in parts:
        stream.write(len(part).to_bytes(4, "big") + part)
    stream.flush()


def _receive(stream: IO[bytes]) -> bytes:
    """Raises EOFError when the other side is gone."""
    size = stream.read(4)
    if len(size) < 4 or len(part := stream.read(int.from_bytes(size, "big"))) < int.from_bytes(size, "big"):
        raise EOFError
    return part


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_AS, (GIGABYTES * 2**30,) * 2)
    serve(sys.stdin.buffer, sys.stdout.buffer, int(sys.argv[1]))
