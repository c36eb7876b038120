"""The files of a source: of a folder or a single file on this machine, or under an s3:// prefix."""

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from csift.corpus.document import Unusable
from csift.exceptions import CorpusError
from csift.schemas import SkippedDocument

MAX_BYTES = 50 * 2**20  # of one file


@dataclass(frozen=True)
class SourceFile:
    """A file that was not read yet. `version` changes with the content where the listing tells it (S3); None: read to know."""

    name: str
    size: int
    modified: datetime
    version: str | None
    read: Callable[[], bytes]


@dataclass
class Listing:
    """The files of a source in order of their names, and what is there and cannot be read."""

    files: list[SourceFile] = field(default_factory=list)
    skipped: list[SkippedDocument] = field(default_factory=list)

    def skip(self, name: str, reason: str) -> None:
        """Notes a file that cannot be read."""
        self.skipped.append(SkippedDocument(document_id=_shown(name), reason=reason))


def list_files(location: str, s3: Any = None) -> Listing:
    """All files of a source, hidden ones apart. `s3` is a boto3 client; without it one is made from boto3's own settings.

    Raises:
        CorpusError: the folder is missing; the bucket is missing, cannot be reached, or may not be listed.
    """
    if location.startswith("s3://"):
        from csift.corpus.s3 import list_prefix

        listing = list_prefix(location, s3)
    elif "://" in location:
        raise CorpusError(f"cannot read {location}; a source is a folder, a file or s3://bucket/prefix")
    else:
        listing = _list_path(Path(location))
    listing.files.sort(key=lambda file: file.name)
    return listing


def too_large(size: int) -> str | None:
    """Why a file of that many bytes is not read, or None."""
    if size <= MAX_BYTES:
        return None
    return f"has {size / 2**20:,.0f} MB, and {MAX_BYTES // 2**20} MB is the limit; split it into several files"


def _list_path(place: Path) -> Listing:
    listing = Listing()
    if place.is_file():
        _take(listing, place, place.name, None)
    elif place.is_dir():
        for path in _walk(place, listing):
            _take(listing, path, path.relative_to(place).as_posix(), place.resolve())
    else:
        raise CorpusError(f"there is no corpus folder {place}; create it or correct the location in corpus.sources")
    return listing


def _walk(root: Path, listing: Listing) -> Iterator[Path]:
    def unreadable(error: OSError) -> None:
        name = Path(error.filename).relative_to(root).as_posix()
        if name == ".":
            raise CorpusError(f"cannot read the corpus folder {root}: {error.strerror}; correct its permissions") from None
        listing.skip(name, f"cannot be read: {error.strerror}; correct the permissions of this folder")

    for folder, folders, files in os.walk(root, onerror=unreadable):
        for name in _visible(folders):
            path = Path(folder, name)
            if path.is_symlink():
                listing.skip(
                    path.relative_to(root).as_posix(), "is a link to a folder, which is not followed; name it as a source"
                )
        folders[:] = _visible(folders)
        yield from (Path(folder, name) for name in _visible(files))


def _visible(names: Iterable[str]) -> list[str]:
    return sorted(name for name in names if not name.startswith("."))


def _shown(name: str) -> str:
    """A name as text, where the file system has bytes that are none."""
    return name.encode(errors="backslashreplace").decode()


def _take(listing: Listing, path: Path, name: str, root: Path | None) -> None:
    """Takes a file into the listing; `root` is the resolved folder that links must not leave."""
    if name != _shown(name):
        listing.skip(name, "has a name that is not UTF-8; rename it")
        return
    if root is not None and path.is_symlink() and not path.resolve().is_relative_to(root):
        listing.skip(name, "is a link that leaves the folder; copy the file here or name its folder as a source")
        return
    try:
        found = path.stat()
    except OSError as error:
        listing.skip(name, f"cannot be read: {error.strerror}; correct or remove it")
        return
    if not path.is_file():
        listing.skip(name, "is no regular file; remove it")
    elif problem := too_large(found.st_size):
        listing.skip(name, problem)
    else:
        modified = datetime.fromtimestamp(found.st_mtime, UTC)
        listing.files.append(SourceFile(name, found.st_size, modified, None, partial(_read, path)))


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)  # it may have grown since it was listed
    except OSError as error:
        raise Unusable(f"cannot be read: {error.strerror}; correct its permissions or remove it") from None
    if problem := too_large(len(content)):
        raise Unusable(problem)
    return content
