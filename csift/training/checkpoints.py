"""Checkpoints in the ObjectStore, where the next worker finds them whichever machine it runs on.

Each is an artifact: its manifest is written last and holds the files' hashes, so that a half or a damaged one is told from a
whole. Every holder of a job writes under its own name and reads everybody's: they are of one trajectory.
"""

from dataclasses import dataclass
from pathlib import Path

from csift.exceptions import StorageError
from csift.interfaces import ObjectStore

KEPT = 2  # of each holder


@dataclass(frozen=True)
class Checkpoints:
    """Those of one adapter; `holder` names whoever writes them."""

    store: ObjectStore
    adapter_id: str
    holder: str

    @property
    def root(self) -> str:
        """The key under which all of the adapter's checkpoints are."""
        return f"checkpoints/{self.adapter_id}"

    def save(self, folder: Path, step: int) -> None:
        """Keeps a folder as the checkpoint after `step`. Raises StorageError when there is no room."""
        mine = f"{self.root}/{self.holder}"
        self.store.publish(f"{mine}/{step:08d}", folder, {"step": step})
        for older in self.store.artifacts(mine)[:-KEPT]:
            self.store.discard(older)

    def latest(self) -> Path | None:
        """The newest whole one as a folder of this machine; damaged ones are removed, and the one before them is taken."""
        for key in sorted(self.store.artifacts(self.root), key=lambda key: key.rpartition("/")[2], reverse=True):
            try:
                return self.store.open_artifact(key)
            except StorageError:
                self.store.discard(key)
        return None

    def clear(self) -> None:
        """Removes all of them: the adapter is published."""
        self.store.discard(self.root)
