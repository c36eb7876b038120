"""What is shown of a version, read from Postgres: for the command line and for the data card."""

from csift.dataset.mixing import draw
from csift.dataset.topics import topics
from csift.dataset.versions import (
    StoredVersion,
    count_rejections,
    load_examples,
    load_ingest,
    load_preferences,
    load_rejections,
    load_texts,
    snapshot_of,
)
from csift.db.connection import Database
from csift.interfaces import Embedder
from csift.registry import deletion_of
from csift.reports.data_card import DataCard
from csift.reports.dataset import DatasetView
from csift.schemas import Example

EXAMPLES_PER_STYLE = 3
PAIRS = 4
REJECTIONS_PER_REASON = 5


def read_view(db: Database, project: str, stored: StoredVersion, card: str | None) -> DatasetView:
    """The version with its rows and counts; `card`: where its data card is."""
    return DatasetView(
        project=project,
        made_at=stored.made_at,
        version=stored.version,
        rows=tuple(load_examples(db, stored.version)),
        rejected=count_rejections(db, stored.version.id),
        card=card,
        deletion=deletion_of(db, stored.version.id),
    )


def read_card(db: Database, project: str, stored: StoredVersion, embedder: Embedder) -> DataCard:
    """All that a data card shows. Questions are embedded once, for the topics."""
    view = read_view(db, project, stored, None)
    examples = _some(view.different)
    pairs = tuple(sorted(load_preferences(db, stored.version), key=lambda pair: draw(0, "card", pair.id))[:PAIRS])
    shown = {id_ for row in examples for id_ in row.context_chunk_ids}
    questions = [row.question for row in view.different]
    samples = {
        reason: tuple(load_rejections(db, stored.version.id, reason, REJECTIONS_PER_REASON)) for reason in view.rejected
    }  # fmt: skip
    return DataCard(
        view=view,
        snapshot=snapshot_of(db, stored.version.snapshot_id),
        ingest=load_ingest(db, stored.version.snapshot_id),
        topics=topics(questions, embedder.embed(questions)),
        samples=samples,
        examples=examples,
        preferences=pairs,
        texts=load_texts(db, shown),
    )


def _some(rows: tuple[Example, ...]) -> tuple[Example, ...]:
    """A few rows of each style, drawn by their ids."""
    by_style: dict[str, list[Example]] = {}
    for row in sorted(rows, key=lambda row: (row.style, draw(0, "card", row.id))):
        by_style.setdefault(row.style, []).append(row)
    return tuple(row for some in by_style.values() for row in some[:EXAMPLES_PER_STYLE])
