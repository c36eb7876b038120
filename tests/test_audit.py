"""The audit of locked packages: what fails lint, and what is only said."""

import runpy
from pathlib import Path
from typing import Any

import pytest

AUDIT = runpy.run_path(str(Path(__file__).parents[1] / "requirements" / "audit.py"))
CLEAN: dict[str, Any] = {"name": "requests", "version": "2.34.2", "vulns": []}
FLAW = {"id": "PYSEC-2026-1", "fix_versions": ["1.1"]}
UNKNOWN = {"name": "csift", "skip_reason": "not on PyPI"}


@pytest.mark.parametrize(
    ("packages", "fine", "says"),
    [
        ([CLEAN], True, "audit: no known vulnerability in 1 packages"),
        ([CLEAN, UNKNOWN], True, "audit: no known vulnerability in 1 packages; 1 without advisories: csift"),
        ([UNKNOWN], True, "audit: NOT DONE, this index has no advisories for any of 1 packages"),
        ([CLEAN, {**CLEAN, "vulns": [FLAW]}], False, "audit: requests 2.34.2: PYSEC-2026-1, mended in 1.1"),
        (
            [{**CLEAN, "vulns": [{**FLAW, "fix_versions": []}]}],
            False,
            "audit: requests 2.34.2: PYSEC-2026-1, mended in no release yet",
        ),
    ],
)
def test_a_known_vulnerability_fails_and_what_is_not_known_is_said(packages: list[Any], fine: bool, says: str) -> None:
    assert AUDIT["verdict"]({"dependencies": packages}) == (fine, says)
