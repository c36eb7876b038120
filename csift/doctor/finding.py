"""What a check found."""

from collections.abc import Callable, Iterable, Iterator
from typing import Literal

from csift.exceptions import CsiftError
from csift.schemas import Record


class Finding(Record):
    """The outcome of one check; `fix` says what to do, and is empty when all is well."""

    check: str
    state: Literal["ok", "warning", "FAIL"]
    found: str
    fix: str = ""


def ok(check: str, found: str) -> Finding:
    """All is well."""
    return Finding(check=check, state="ok", found=found)


def warning(check: str, found: str, fix: str) -> Finding:
    """The loop runs, and somebody should know."""
    return Finding(check=check, state="warning", found=found, fix=fix)


def failed(check: str, found: str, fix: str) -> Finding:
    """The loop does not run until it is mended."""
    return Finding(check=check, state="FAIL", found=found, fix=fix)


def attempt(check: str, look: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    """What a look finds; an error that csift raises on purpose is a finding, too. Any other exception is a bug and is raised."""
    try:
        yield from look()
    except CsiftError as error:  # its message ends in what to do, after a semicolon
        found, _, fix = " ".join(str(error).split()).rpartition("; ")
        yield failed(check, found or fix, fix if found else "correct that")
