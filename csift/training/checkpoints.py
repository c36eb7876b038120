"""Checkpoints that were written whole: a list of files with their hashes, written last, tells them from halves and from damaged
ones."""

import json
import shutil
from pathlib import Path

from csift.hashing import sha256

WHOLE = "whole.json"


def mark(folder: Path) -> None:
    """Called when everything of a checkpoint is written."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    hashes = {path.relative_to(folder).as_posix(): sha256(path.read_bytes()) for path in files}
    part = folder.with_name(f"{folder.name}.part")
    part.write_text(json.dumps(hashes))
    part.replace(folder / WHOLE)


def latest(work: Path) -> Path | None:
    """The newest whole checkpoint under `work`; halves and damaged ones are removed, and the one before them is taken."""
    found = (path for path in work.glob("checkpoint-*") if path.is_dir())
    folders = sorted(found, key=lambda folder: int(folder.name.rpartition("-")[2]), reverse=True)
    for folder in folders:
        if _whole(folder):
            return folder
        shutil.rmtree(folder)
    return None


def _whole(folder: Path) -> bool:
    try:
        hashes = json.loads((folder / WHOLE).read_text())
        return all(sha256((folder / name).read_bytes()) == expected for name, expected in hashes.items())
    except (OSError, ValueError, AttributeError):
        return False
