"""Objects in a folder of this machine."""

import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from threading import get_ident
from typing import Any

from csift.exceptions import StorageError
from csift.schemas import StoredObject
from csift.storage.artifact import MANIFEST, check_key, file_sha256, listed, read_manifest, write_manifest

BLOCK = 2**20  # bytes


class LocalStore:
    """An ObjectStore in a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def url(self) -> str:
        """The folder's absolute path."""
        return str(self.root.absolute())

    def uri(self, key: str) -> str:
        """The path of what is under `key`."""
        return str(self._path(key))

    def put(self, key: str, content: bytes) -> str:
        """Writes whole or not at all; returns the file's path. Raises StorageError when there is no room."""
        self._write(self._path(key), [content])
        return self.uri(key)

    def get(self, key: str) -> bytes:
        """Raises StorageError when there is no such object."""
        path = self._path(key)
        with _readable(path):
            return path.read_bytes()

    def has(self, key: str) -> bool:
        """Whether there is such an object. Raises StorageError when it may not be looked up."""
        path = self._path(key)
        with _readable(path):
            return path.is_file()

    def objects(self, prefix: str = "") -> list[StoredObject]:
        """All files below `prefix`, sorted by key. Raises StorageError when a folder may not be read."""
        top = self._path(prefix) if prefix else self.root
        with _readable(top):
            paths = [Path(place) / name for place, _, names in os.walk(top, onerror=_look_on) for name in names]
        found = (self._listed(path) for path in paths)
        return sorted((one for one in found if one), key=lambda one: one.key)

    def remove(self, key: str) -> None:
        """Removes one object; that there is none is fine. Raises StorageError when it may not."""
        _unlink(self._path(key))

    def publish(self, key: str, folder: Path, facts: dict[str, Any]) -> str:
        """Copies a folder's files under `key`, then writes the manifest with their hashes and `facts`; returns the path.

        Raises:
            StorageError: no room or no permission; nothing that looks whole is left behind.
        """
        target, files = self._path(key), listed(folder)
        _unlink(target / MANIFEST)  # an artifact that is written anew is not whole meanwhile
        hashes = {name: self._copy(source, target / name) for name, source in files.items()}
        self.put(f"{key}/{MANIFEST}", write_manifest(hashes, facts))
        return self.uri(key)

    def open_artifact(self, key: str) -> Path:
        """The folder of a published artifact, its files checked against the manifest.

        Raises:
            StorageError: the manifest is missing, or a file is missing or altered.
        """
        folder = self._path(key)
        for name, expected in self.manifest(key)["files"].items():
            with _readable(folder / name):
                found = file_sha256(folder / name)
            if found != expected:
                raise StorageError(f"{folder / name} is not what its manifest says; remove the folder and run again")
        return folder

    def manifest(self, key: str) -> dict[str, Any]:
        """The manifest of a published artifact: its files with their hashes, and the facts given. Raises StorageError."""
        return read_manifest(self.get(f"{key}/{MANIFEST}"), self.uri(key))

    def has_artifact(self, key: str) -> bool:
        """Whether a whole artifact is there: its manifest is written last. Raises StorageError as `has` does."""
        return self.has(f"{key}/{MANIFEST}")

    def artifacts(self, prefix: str = "") -> list[str]:
        """The keys of the whole artifacts below `prefix`, sorted. Raises StorageError when a folder may not be read."""
        top = self._path(prefix) if prefix else self.root
        with _readable(top):
            places = [Path(place) for place, _, names in os.walk(top, onerror=_look_on) if MANIFEST in names]
        return sorted(place.relative_to(self.root).as_posix() for place in places if place != top)

    def discard(self, key: str) -> None:
        """Removes what is under `key`, whole or half, the manifest first. Raises StorageError when it may not."""
        folder = self._path(key)
        _unlink(folder / MANIFEST)
        while folder.is_dir():
            try:
                shutil.rmtree(folder)
            except FileNotFoundError:
                continue  # another process removes it too
            except OSError as error:
                raise StorageError(f"cannot remove {folder}: {error.strerror}; correct its permissions") from None

    def _listed(self, path: Path) -> StoredObject | None:
        """None for what is gone by now."""
        with _readable(path):
            try:
                told = path.lstat()
            except FileNotFoundError:
                return None
        modified = datetime.fromtimestamp(told.st_mtime, UTC)
        return StoredObject(key=path.relative_to(self.root).as_posix(), size=told.st_size, modified=modified)

    def _path(self, key: str) -> Path:
        return self.root / check_key(key)

    def _copy(self, source: Path, target: Path) -> str:
        """Returns the hex SHA-256 of what was written."""
        digest = hashlib.sha256()

        def blocks() -> Iterator[bytes]:
            with _readable(source), source.open("rb") as file:
                while block := file.read(BLOCK):
                    digest.update(block)
                    yield block

        self._write(target, blocks())
        return digest.hexdigest()

    def _write(self, path: Path, blocks: Iterable[bytes]) -> None:
        temporary = path.with_name(f".{path.name}.{os.getpid()}.{get_ident()}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as file:
                file.writelines(blocks)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except OSError as error:
            raise StorageError(f"cannot write {path}: {error.strerror}; free some space or set CSIFT_DATA_DIR") from None
        finally:
            with suppress(OSError):
                temporary.unlink()


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror}; restore it or run again") from None


def _look_on(error: OSError) -> None:
    """A folder that is not there, or no longer, holds nothing; one that may not be read might."""
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise error


def _unlink(path: Path) -> None:
    try:
        with suppress(FileNotFoundError, NotADirectoryError):
            path.unlink()
    except OSError as error:
        raise StorageError(f"cannot remove {path}: {error.strerror}; correct its permissions") from None
