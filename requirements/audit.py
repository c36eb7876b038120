"""Asks PyPI's advisories about every locked package (pip-audit). Part of `make lint`; fails on a known vulnerability."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
LOCKS = ("base.lock", "dev.lock")


def verdict(report: dict[str, Any]) -> tuple[bool, str]:
    """(whether no package of pip-audit's report has a known vulnerability, what to print)."""
    packages = report["dependencies"]
    found = [
        f"audit: {one['name']} {one['version']}: {flaw['id']}, mended in {', '.join(flaw['fix_versions']) or 'no release yet'}"
        for one in packages
        for flaw in one.get("vulns", [])
    ]
    unknown = [one["name"] for one in packages if "skip_reason" in one]
    if found:
        return False, "\n".join(found)
    if len(unknown) == len(packages):
        return True, f"audit: NOT DONE, this index has no advisories for any of {len(packages)} packages"
    rest = f"; {len(unknown)} without advisories: {', '.join(unknown)}" if unknown else ""
    return True, f"audit: no known vulnerability in {len(packages) - len(unknown)} packages{rest}"


def main() -> int:
    """Exit status. Away from the network it says that it was not done, and lint goes on."""
    locks = [part for name in LOCKS for part in ("-r", str(HERE / name))]
    command = [sys.executable, "-m", "pip_audit", *locks, "--no-deps", "--disable-pip", "-f", "json", "--progress-spinner", "off"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "ConnectionError" in done.stderr or "Timeout" in done.stderr:
        print("audit: NOT DONE, PyPI's advisories cannot be reached from here")
        return 0
    if not done.stdout.startswith("{"):
        print(f"audit: pip-audit failed: {done.stderr.strip().splitlines()[-1]}")
        return 1
    fine, text = verdict(json.loads(done.stdout))
    print(text)
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
