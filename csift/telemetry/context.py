"""What this thread works for, so that log lines and spans can say it. It is a context variable: the tasks that Prefect runs in
threads inherit it, and so do the threads of a LanguageModel's `map`."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_TOLD: ContextVar[dict[str, str]] = ContextVar("csift_telemetry", default={})  # noqa: B039 - never changed in place


def current() -> dict[str, str]:
    """What is known of project, cycle, stage and run."""
    return dict(_TOLD.get())


@contextmanager
def inside(**told: str) -> Iterator[None]:
    """Adds to what is known, for the length of the block."""
    token = _TOLD.set({**_TOLD.get(), **told})
    try:
        yield
    finally:
        _TOLD.reset(token)
