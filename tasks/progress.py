"""Progress of a stage: an artifact in the Prefect UI, and whatever the command line shows in this process."""

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import copy_context
from typing import TypeVar
from uuid import UUID

import httpx
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.context import FlowRunContext, TaskRunContext
from prefect.exceptions import PrefectHTTPStatusError
from prefect.futures import PrefectFutureList, as_completed
from prefect.logging import get_run_logger

from csift.interfaces import Progress, no_progress
from csift.settings import settings

R = TypeVar("R")

# The last is in force. Not a context variable, because stages also report from threads of their own.
_shown: list[Progress] = [no_progress]


@contextmanager
def show_in(progress: Progress) -> Iterator[None]:
    """Shows the progress of every task of this process in `progress` too, for the length of the block."""
    _shown.append(progress)
    try:
        yield
    finally:
        _shown.pop()


def reporter(name: str) -> Progress:
    """The Progress that a task passes to the stage that people see under `name`.

    Inside a task or flow run it keeps the artifact `progress-<name>` up to date, at most once every CSIFT_PROGRESS_SECONDS and
    always at the end; it may then be called from any thread. Elsewhere it only forwards to `show_in`.
    """
    artifact = _Artifact(name) if TaskRunContext.get() or FlowRunContext.get() else None

    def report(stage: str, done: int, total: int, note: str = "") -> None:
        # Not the stage's own word for itself: champion and challenger are evaluated by one function.
        _shown[-1](name, done, total, note)
        if artifact:
            artifact.show(name, done, total, note)

    return report


def collect(name: str, futures: PrefectFutureList[R], done: int, total: int) -> list[R]:
    """The results of mapped tasks, in order, their number shown as it grows from `done`. Raises the first task's error."""
    report = reporter(name)
    report(name, done, total)
    for future in as_completed(list(futures)):
        done += getattr(future.result(), "written", 1)
        report(name, min(done, total), total)
    return futures.result()


class _Artifact:
    """A progress artifact of the current task run, made when there is something to show."""

    def __init__(self, stage: str) -> None:
        self.key = "progress-" + re.sub("[^a-z0-9]+", "-", stage.lower())  # all that Prefect allows in a key
        self.id: UUID | None = None
        self.due = 0.0  # monotonic seconds
        self.lock = threading.Lock()
        # The run, its API client and Prefect's settings are context variables, which threads of a stage do not inherit.
        self.context = copy_context()
        self.logger = get_run_logger()

    def show(self, stage: str, done: int, total: int, note: str) -> None:
        with self.lock:
            if time.monotonic() < self.due and done < total:
                return
            percent = 100.0 * done / total if total else 100.0
            text = f"{stage}: {done} of {total}" + (f", {note}" if note else "")
            try:
                self.context.run(self._write, percent, text)
            except (httpx.HTTPError, PrefectHTTPStatusError) as error:
                # A stage of many minutes does not die of a bar that could not be drawn.
                self.logger.warning("progress of %s is not shown: %s", stage, error)
            self.due = time.monotonic() + settings().progress_seconds

    def _write(self, percent: float, text: str) -> None:
        if self.id is None:
            self.id = create_progress_artifact(progress=percent, key=self.key, description=text)  # type: ignore[assignment]
        else:
            update_progress_artifact(artifact_id=self.id, progress=percent, description=text)
