"""When the files of a corpus were last changed, as far as their place tells it."""

from collections.abc import Iterable
from datetime import date
from typing import Any

from csift.config import CorpusConfig
from csift.corpus.sources import list_files


def changed_on(corpus: CorpusConfig, documents: Iterable[str], s3: Any = None) -> dict[str, date]:
    """Document id → the day (UTC) on which its file or object was last changed; a row's is that of its file.

    A contract in CUAD's layout may come from several files and has none. Raises CorpusError as `list_files`.
    """
    files = {
        (f"{source.name}/" if source.name else "") + file.name: file.modified.date()
        for source in corpus.sources
        if source.format == "files"
        for file in list_files(source.location, s3).files
    }
    found = {id_: files.get(id_) or files.get(id_.partition("#")[0]) for id_ in documents}
    return {id_: day for id_, day in found.items() if day}
