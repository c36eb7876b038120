"""Checkpoints that were written whole: a marker file, written last, tells them from halves."""

import shutil
from pathlib import Path

WHOLE = "whole"


def mark(folder: Path) -> None:
    """Called when everything of a checkpoint is on disk."""
    (folder / WHOLE).touch()


def latest(work: Path) -> Path | None:
    """The newest whole checkpoint under `work`; halves are removed."""
    whole = []
    for folder in work.glob("checkpoint-*"):
        if (folder / WHOLE).exists():
            whole.append(folder)
        else:
            shutil.rmtree(folder)
    return max(whole, key=lambda folder: int(folder.name.rpartition("-")[2]), default=None)
