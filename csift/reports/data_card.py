"""The data card: what a DatasetVersion is made of and what was kept out of it, as a single HTML file.

After Gebru et al., Datasheets for Datasets, CACM 2021, and Pushkarna et al., Data Cards, FAccT 2022: where the data come from,
under what terms, how they were cleaned, what is in them, with examples. The file loads nothing and runs nothing; texts of the
corpus and of models are shown as text. The same records give the same bytes.
"""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from markupsafe import Markup, escape

from csift.reports import plots, tables
from csift.reports.dataset import (
    DatasetView,
    deletion_sentence,
    documents_table,
    lengths,
    lengths_table,
    opinions,
    recipe_table,
    rows_table,
    teacher_sentence,
)
from csift.reports.page import render_page
from csift.reports.tables import Table
from csift.reports.wording import count, percent
from csift.schemas import CorpusSnapshot, Example, IngestReport, PreferencePair, Rejection
from csift.textmatch import REFUSAL

LISTED = 30  # skipped and near-duplicate documents that are listed


@dataclass(frozen=True)
class Topic:
    """Questions about one thing: the words that set them apart, how many there are, and one of them."""

    words: tuple[str, ...]
    rows: int
    example: str


@dataclass(frozen=True)
class DataCard:
    """The records of one version. `ingest` is None for a corpus that an older csift read; `samples`: refused candidates by
    reason; `texts`: chunk id → text of the chunks that the examples show.
    """

    view: DatasetView
    snapshot: CorpusSnapshot
    ingest: IngestReport | None
    topics: tuple[Topic, ...]
    samples: Mapping[str, tuple[Rejection, ...]]
    examples: tuple[Example, ...]
    preferences: tuple[PreferencePair, ...]
    texts: Mapping[str, str]


@dataclass(frozen=True)
class Passage:
    """A chunk beside a question; gold ones hold the answer, which is marked."""

    text: Markup
    gold: bool


def render(card: DataCard) -> str:
    """One self-contained HTML page, light and dark, readable without scripts."""
    view, ingest = card.view, card.ingest
    return render_page(
        "data_card.html",
        card=card,
        view=view,
        version=view.version,
        headline=f"{count(len(view.rows), 'training row')} from {count(_trained_on(card), 'document')}",
        written=_written(view),
        deleted=deletion_sentence(view),
        teacher=teacher_sentence(view),
        by_source=rows_table(view, "Source", "source"),
        by_style=rows_table(view, "Style", "style"),
        by_split=documents_table(view.version.documents),
        sources=_sources_table(card),
        scrubbed=tables.counts_table("Personal data replaced, by kind", "Kind", ingest.scrubbed) if ingest else None,
        skipped=_skipped_table(ingest) if ingest else None,
        near_duplicates=_near_duplicates_table(ingest) if ingest else None,
        refused=tables.counts_table("Refused by reason", "Reason", view.rejected),
        leaks=tables.counts_table("Removed against leakage", "How it was found", view.version.decontaminated),
        topics=_topics_table(card),
        lengths=lengths_table(view),
        recipe=recipe_table(view.version.recipe),
        shown=[(example, _passages(example, card.texts)) for example in card.examples],
        refusal=REFUSAL,
        ids=_ids(card),
        **_pictures(view),
    )


def _written(view: DatasetView) -> str:
    """Who wrote the rows, and what stands beside them."""
    words = {"human": "by people", "synthetic": "by the teacher", "feedback": "by customers"}
    writers = [f"{number:,} {words[source]}" for source, number in view.version.sources.items() if number]
    parts = [f"Written {' and '.join([', '.join(writers[:-1]), writers[-1]] if writers[1:] else writers)}"]
    if view.version.replayed:
        parts.append(f"{view.version.replayed:,} replayed from earlier versions")
    if view.version.preference_ids or view.version.rating_ids or view.version.score_ids:
        parts.append(f"{opinions(view.version)} beside them")
    return f"{'; '.join(parts)}."


def _trained_on(card: DataCard) -> int:
    return len({row.document_id for row in card.view.rows})


def _sources_table(card: DataCard) -> Table:
    documents = Counter(document.source for document in card.snapshot.documents)
    document_source = {document.document_id: document.source for document in card.snapshot.documents}
    rows = Counter(document_source.get(row.document_id, "") for row in card.view.rows)
    columns = ("Source", "Location", "Licence", "Use", "Documents", "Rows")
    drawn = tuple(
        (
            source.name or "the corpus", source.location, source.licence,
            "trained on" if source.may_train else "retrieved from only",
            f"{documents[source.name]:,}", f"{rows[source.name]:,}",
        )
        for source in card.snapshot.sources
    )  # fmt: skip
    return Table("Where the documents come from", columns, drawn, frozenset(columns[4:]))


def _skipped_table(ingest: IngestReport) -> Table:
    rows = tuple((entry.document_id, entry.reason) for entry in ingest.skipped[:LISTED])
    return Table(_cut("Documents that were skipped", len(ingest.skipped)), ("Document", "Why"), rows)


def _near_duplicates_table(ingest: IngestReport) -> Table:
    rows = tuple((entry.document_id, entry.of, percent(entry.similarity)) for entry in ingest.near_duplicates[:LISTED])
    title = _cut("Documents that nearly repeat another", len(ingest.near_duplicates))
    return Table(title, ("Document", "Repeats", "In common"), rows, frozenset({"In common"}))


def _cut(title: str, total: int) -> str:
    return title if total <= LISTED else f"{title}, {LISTED} of {total:,}"


def _topics_table(card: DataCard) -> Table:
    total = sum(topic.rows for topic in card.topics)
    rows = tuple((", ".join(topic.words), f"{topic.rows:,}", percent(topic.rows / total), topic.example) for topic in card.topics)
    columns = ("Words that set it apart", "Questions", "Share", "One of them")
    return Table("What the questions are about", columns, rows, frozenset({"Questions", "Share"}))


def _passages(example: Example, texts: Mapping[str, str]) -> list[Passage]:
    gold = set(example.gold_chunk_ids)
    return [
        Passage(_marked(texts[id_], example.answer), gold=True) if id_ in gold else Passage(escape(texts[id_]), gold=False)
        for id_ in example.context_chunk_ids
    ]


def _marked(text: str, answer: str) -> Markup:
    """The text with the answer marked wherever it stands, whatever its case and spaces."""
    pattern = r"\s+".join(re.escape(word) for word in answer.split())
    parts = re.split(rf"({pattern})", text, flags=re.IGNORECASE) if pattern else [text]
    marked = (Markup("<mark>{}</mark>").format(part) if i % 2 else escape(part) for i, part in enumerate(parts))
    return Markup("").join(marked)


def _pictures(view: DatasetView) -> dict[str, Markup | None]:
    synthesis, measured = view.version.synthesis, lengths(view.different)
    counts: dict[str, Counter[str]] = {}
    for row in view.rows:
        counts.setdefault(row.style, Counter())[row.source] += 1
    return {
        "styles_plot": plots.both(lambda name, width: plots.styles_plot(counts, name, width), "styles"),
        "yield_plot": plots.both(lambda name, width: plots.yield_plot(synthesis, name, width), "yield")
        if synthesis.candidates
        else None,
        # plots.svg escapes every text that it draws.
        "question_plot": Markup(plots.lengths_plot("Words of a question", measured["Question, words"], "question", plots.NARROW)),
        "answer_plot": Markup(plots.lengths_plot("Words of an answer", measured["Answer, words"], "answer", plots.NARROW)),
    }


def _ids(card: DataCard) -> tuple[tuple[str, str], ...]:
    version = card.view.version
    return (
        ("Dataset", version.id),
        ("Corpus", version.snapshot_id),
        ("Guarded eval set", version.evalset_id),
        ("Ingest", card.ingest.id if card.ingest else "not recorded"),
    )
