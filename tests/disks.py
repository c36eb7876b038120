"""Small disks that really fill up."""

import shutil
import subprocess
from pathlib import Path


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def private_disk(folder: Path, size: int) -> list[str] | None:
    """The start of a command that sees a disk of so many bytes at `folder`, or None where the system allows none."""
    script = 'mount -t tmpfs -o size="$0" csift-test "$1" && shift && exec "$@"'
    for unshare in (["unshare", "--mount"], ["unshare", "--mount", "--map-root-user"]):
        command = [*unshare, "sh", "-c", script, str(size), str(folder)]
        if shutil.which("unshare") and run([*command, "true"]).returncode == 0:
            return command
    return None
