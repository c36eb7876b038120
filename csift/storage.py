"""The object store: bytes under names; an artifact is a folder of files whose manifest is written last, so a half is never
taken for a whole."""

import json
import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

from csift.exceptions import StorageError
from csift.hashing import sha256

MANIFEST = "manifest.json"


class LocalStore:
    """Objects in a folder of this machine, by key; keys use forward slashes."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def put(self, key: str, content: bytes) -> str:
        """Writes whole or not at all; returns the file's path. Raises StorageError when there is no room."""
        path = self.root / key
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except OSError as error:
            with suppress(OSError):
                temporary.unlink()
            raise StorageError(f"cannot write {path}: {error.strerror}; free some space or set CSIFT_DATA_DIR") from None
        return str(path)

    def get(self, key: str) -> bytes:
        """Raises StorageError when there is no such object."""
        try:
            return (self.root / key).read_bytes()
        except OSError as error:
            raise StorageError(f"cannot read {self.root / key}: {error.strerror}; restore it or run again") from None

    def publish(self, key: str, folder: Path, facts: dict[str, Any]) -> str:
        """Copies a folder's files under `key`, then writes the manifest with their hashes and `facts`; returns the path.

        Raises:
            StorageError: no room or no permission; nothing that looks whole is left behind.
        """
        files = {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file() and path.name != MANIFEST}
        with suppress(OSError):  # an artifact that is written anew is not whole meanwhile
            (self.root / key / MANIFEST).unlink()
        for name, content in files.items():
            self.put(f"{key}/{name}", content)
        manifest = {"files": {name: sha256(content) for name, content in files.items()}, **facts}
        self.put(f"{key}/{MANIFEST}", json.dumps(manifest, indent=1, sort_keys=True).encode())
        return str(self.root / key)

    def open_artifact(self, key: str) -> Path:
        """The folder of a published artifact, its files checked against the manifest.

        Raises:
            StorageError: the manifest is missing, or a file is missing or altered.
        """
        for name, expected in self.manifest(key)["files"].items():
            if sha256(self.get(f"{key}/{name}")) != expected:
                raise StorageError(f"{self.root / key / name} is not what its manifest says; remove the folder and run again")
        return self.root / key

    def manifest(self, key: str) -> dict[str, Any]:
        """The manifest of a published artifact: its files with their hashes, and the facts given. Raises StorageError."""
        try:
            manifest = json.loads(self.get(f"{key}/{MANIFEST}"))
            manifest["files"].items()
        except (ValueError, KeyError, TypeError, AttributeError):
            raise StorageError(f"the manifest of {self.root / key} is damaged; remove the folder and run again") from None
        return manifest

    def has_artifact(self, key: str) -> bool:
        """Whether a whole artifact is there: its manifest is written last."""
        return (self.root / key / MANIFEST).is_file()

    def discard(self, key: str) -> None:
        """Removes what is under `key`, whole or half."""
        shutil.rmtree(self.root / key, ignore_errors=True)
