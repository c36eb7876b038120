"""What the stores agree on: how keys look, what a manifest says, how files are hashed."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from csift.exceptions import StorageError

MANIFEST = "manifest.json"


def check_key(key: str) -> str:
    """The key, if it stays below the store's root. Raises StorageError."""
    if not _stays_below(key):
        raise StorageError(f"{key!r} is no key of an object; write names joined by /, none of them empty or of dots")
    return key


def _stays_below(key: str) -> bool:
    return "\\" not in key and key.isprintable() and all(part not in {"", ".", ".."} for part in key.split("/"))


def listed(folder: Path) -> dict[str, Path]:
    """The files of a folder and its sub-folders by name, with forward slashes, sorted; a manifest of its own apart.

    Raises:
        StorageError: the folder cannot be read, or holds a link to a folder or, below, a manifest: it would look like an
            artifact inside the artifact.
    """
    found: dict[str, Path] = {}
    for place, folders, names in os.walk(folder, onerror=_unreadable):
        for name in folders:
            if (Path(place) / name).is_symlink():
                raise StorageError(f"{Path(place) / name} is a link to a folder; put its files there to publish them")
        for path in (Path(place) / name for name in names):
            name = path.relative_to(folder).as_posix()
            if name != MANIFEST:
                found[check_key(name)] = path
            if path.name == MANIFEST != name:
                raise StorageError(f"{path} would look like an artifact inside another; publish that folder by itself")
    return dict(sorted(found.items()))


def _unreadable(error: OSError) -> NoReturn:
    raise StorageError(f"cannot read {error.filename}: {error.strerror}; correct the path or its permissions") from None


def file_sha256(path: Path) -> str:
    """Hex SHA-256 of a file, read in blocks. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_manifest(files: Mapping[str, str], facts: Mapping[str, Any]) -> bytes:
    """JSON of the files' hashes by name, and of the facts."""
    return json.dumps({**facts, "files": dict(files)}, indent=1, sort_keys=True).encode()


def read_manifest(content: bytes, artifact: str) -> dict[str, Any]:
    """The manifest of the artifact at a URI. Raises StorageError when it is damaged or names files outside."""
    try:
        manifest: dict[str, Any] = json.loads(content)
        sound = all(_stays_below(name) and isinstance(found, str) for name, found in manifest["files"].items())
    except (ValueError, KeyError, TypeError, AttributeError):
        sound = False
    if not sound:
        raise StorageError(f"the manifest of {artifact} is damaged; remove the folder and run again")
    return manifest
