"""What `csift doctor` prints: a line a check."""

import json
import sys
from collections.abc import Iterable

from rich.console import Console
from rich.text import Text

from csift.doctor import Finding
from csift.reports.console import make_console, plain
from csift.reports.wording import count

_TONES = {"ok": "good", "warning": "hold", "FAIL": "bad"}


def print_findings(findings: Iterable[Finding], console: Console | None = None) -> list[Finding]:
    """Each finding as it comes, then how many there were; returns them."""
    out, seen = console or make_console(), []
    for finding in findings:
        seen.append(finding)
        fix = f"; {finding.fix}" if finding.fix else ""
        line = (f"{finding.state:<8}", _TONES[finding.state]), f"{finding.check}: ", plain(f"{finding.found}{fix}")
        out.print(Text.assemble(*line), soft_wrap=True)
    states = [finding.state for finding in seen]
    failures, warnings = states.count("FAIL"), states.count("warning")
    out.print(f"{count(len(seen), 'check')}: {failures} failed, {count(warnings, 'warning')}.", style="head")
    return seen


def print_findings_json(findings: Iterable[Finding]) -> list[Finding]:
    """All of them as a list of objects; returns them."""
    seen = list(findings)
    sys.stdout.write(json.dumps([finding.model_dump() for finding in seen], indent=2, ensure_ascii=False) + "\n")
    return seen
