"""Files read in a process apart: what that process dies of costs one file."""

import signal

import psutil
import pytest
from test_parsers import endless_pdf, pdf_of

from csift.corpus.document import Unusable
from csift.corpus.sandbox import Sandbox


def readers() -> list[psutil.Process]:
    """The processes that read for this one."""
    return [child for child in psutil.Process().children() if "csift.corpus.sandbox" in child.cmdline()]


def test_a_file_that_takes_too_long_is_told_and_the_next_one_is_read() -> None:
    with Sandbox(1) as sandbox:
        with pytest.raises(Unusable, match=r"takes more than 1 s to read; .* raise corpus\.read_seconds"):
            sandbox.parse("x.pdf", endless_pdf())
        assert sandbox.parse("x.pdf", pdf_of("First page.")) == "First page."
        with pytest.raises(Unusable, match="is a broken PDF"):
            sandbox.parse("x.pdf", b"no PDF")
        (reader,) = readers()
        reader.send_signal(signal.SIGSEGV)
        with pytest.raises(Unusable, match=r"crashes what reads it \(SIGSEGV\)"):
            sandbox.parse("x.html", b"<p>" + b"A pump. " * 100_000)
        assert sandbox.parse("x.html", b"<p>A pump.") == "A pump."
    assert readers() == []
