"""Rows of earlier datasets beside the new ones, against forgetting.

Rolnick et al., Experience Replay for Continual Learning, NeurIPS 2019: a share of old rows in each batch keeps what was learnt.
"""

from collections.abc import Sequence

from csift.config import DatasetConfig
from csift.dataset.cleaning import clean, identity
from csift.dataset.mixing import draw
from csift.dataset.versions import load_examples_of, snapshot_of, versions
from csift.db.connection import Database
from csift.firewall import Firewall
from csift.interfaces import Embedder
from csift.schemas import Chunk, CorpusSnapshot, Example

TRIED = 4  # so many times the rows wanted are looked at for leaks and duplicates


def replay(
    db: Database,
    project: str,
    rows: Sequence[Example],
    snapshot: CorpusSnapshot,
    chunks: Sequence[Chunk],
    firewall: Firewall,
    embedder: Embedder,
    config: DatasetConfig,
) -> list[Example]:
    """Rows of the project's earlier versions, as they were, up to the share `config.replay` of the new ones.

    A row is still valid when all its chunks are among `chunks`, and, where no chunk of it is gold, when its document is the same;
    when it neither leaks nor repeats a new row. What people wrote is not replayed: labels and feedback tell what of it stands.
    """
    wanted = int(config.replay * len(rows))
    if not wanted:
        return []
    taken = {identity(row) for row in rows}
    old: dict[str, Example] = {}
    usable = {chunk.id for chunk in chunks}
    documents = {chunk.document_id for chunk in chunks}
    for earlier in versions(db, project):
        then = snapshot_of(db, earlier.version.snapshot_id).hashes()
        same = {id_ for id_, sha in snapshot.hashes().items() if then.get(id_) == sha} & documents
        for row in load_examples_of(db, set(earlier.version.example_ids) - old.keys()):
            stands = row.document_id in (documents if row.gold_chunk_ids else same)
            if row.source == "synthetic" and stands and usable.issuperset((*row.gold_chunk_ids, *row.context_chunk_ids)):
                old[row.id] = row
    drawn = sorted(
        (row for row in old.values() if identity(row) not in taken), key=lambda row: draw(config.seed, "replay", row.id)
    )
    kept, _ = clean([*rows, *drawn[: TRIED * wanted]], firewall, embedder, config)
    ids = {row.id for row in rows}
    return [row for row in kept if row.id not in ids][:wanted]
