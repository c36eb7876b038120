"""Frozen sample records of one dataset, for tests that show it. The same call gives the same record."""

from collections import Counter
from collections.abc import Sequence

from samples import AT, PROJECT, SCRIPT, SNAPSHOT, sample_dataset, sample_synthesis
from sqlalchemy.dialects.postgresql import insert

from csift.corpus.chunking import CHUNKER
from csift.db import Database
from csift.db.corpus import ChunkRow, SnapshotRow
from csift.hashing import content_id, sha256
from csift.reports.data_card import DataCard, Topic
from csift.reports.dataset import DatasetView
from csift.schemas import (
    Chunk,
    Chunking,
    CorpusSnapshot,
    DocumentRef,
    Example,
    IngestReport,
    NearDuplicate,
    PreferencePair,
    RatedAnswer,
    Rejection,
    SkippedDocument,
    Source,
)
from csift.textmatch import REFUSAL

_TRAINING = (  # document, style, source, question, answer, chunks beside it (the gold ones first)
    ("kestrel-40", "factoid", "human", "How heavy is the Kestrel without hose?", "27.5 kg", ("kestrel-40", "orrin", "caddis")),
    ("orrin", "yes_no", "human", "Has the Orrin's stand a cut-out?", "Yes", ("orrin", "lindal", "averil")),
    ("averil", "factoid", "synthetic", f"What shows the Averil at {SCRIPT}?", f"{SCRIPT} and a bell", ("averil", "fathom")),
    ("harrier", "list", "synthetic", "Which oils suit the Harrier's gearbox?", "VG 68 and VG 100", ("harrier", "caddis")),
    ("caddis", "factoid", "synthetic", "How deep may the Caddis be lowered?", "7.5 m", ("caddis", "fathom", "harrier")),
    ("petrel", "unanswerable", "synthetic", "Who designed the Petrel?", REFUSAL, ("averil", "lindal", "fathom")),
    ("fathom", "multi_chunk", "feedback", "Which seal has the Fathom, and when is it changed?",
     "FM-0312, every 12 months", ("fathom", "fathom-2", "orrin")),
)  # fmt: skip
_CHUNKS = {
    "kestrel-40": "Kestrel 40 > Weight: The compressor weighs 29 kg with its hose and 27.5 kg without.",
    "orrin": "Orrin > Stand: The stand has a thermal cut-out. Keep solvents at least 600 mm away.",
    "averil": f"Averil > Display: At start-up the display shows {SCRIPT} and a bell.",
    "harrier": "Harrier > Gearbox: Fill with VG 68 in winter. VG 68 and VG 100 may be mixed.",
    "caddis": "Caddis > Lowering: Lower the pump on its rope, never on its cable, to 7.5 m at most.",
    "petrel": "Petrel > Battery: One charge lasts 9 hours.",
    "fathom": "Fathom > Spare parts: The seal is FM-0312.",
    "fathom-2": "Fathom > Service: Change the seal every 12 months.",
    "lindal": "Lindal > Stand: After 45 minutes in its stand it shuts down.",
}
_GOLD = {"multi_chunk": 2, "unanswerable": 0}


def sample_rows(copies: int = 1) -> tuple[Example, ...]:
    """Seven training rows of every style and source, one of them with a script in it; with more copies, as often again."""
    return tuple(
        Example(
            id=content_id("example", [question, copy]),
            question=question if copy == 0 else f"{question[:-1]}, edition {copy + 1}?",
            answer=answer,
            document_id=f"{document}.md",
            style=style,
            gold_chunk_ids=tuple(f"chunk-{name}" for name in chunks[: _GOLD.get(style, 1)]),
            context_chunk_ids=tuple(f"chunk-{name}" for name in (*chunks[1:], chunks[0])),
            source=source,
            generator=None if source == "human" else "smollm2-135m-instruct@gguf-0.1.2",
            prompt_hash=None if source == "human" else "prompt-2b7e151628aed2a6",
        )
        for copy in range(copies)
        for document, style, source, question, answer, chunks in _TRAINING
    )


def sample_texts() -> dict[str, str]:
    """Chunk id → text of the sample rows' chunks."""
    return {f"chunk-{name}": text for name, text in _CHUNKS.items()}


def sample_preferences() -> tuple[PreferencePair, ...]:
    """Two pairs; what one of them rejected is empty."""
    return tuple(
        PreferencePair(
            id=content_id("preference", [row.id]), question=row.question, document_id=row.document_id,
            context_chunk_ids=row.context_chunk_ids, chosen=row.answer, rejected=rejected, source="ai",
            judged_by="judge-2b7e151628aed2a6", margin=margin,
        )
        for row, rejected, margin in zip(sample_rows(), ("29 kg", ""), (0.62, 1.0), strict=False)
    )  # fmt: skip


def sample_ratings() -> tuple[RatedAnswer, ...]:
    """Three rated answers, one of them good."""
    return tuple(
        RatedAnswer(
            id=content_id("rating", [row.id]), question=row.question, document_id=row.document_id,
            context_chunk_ids=row.context_chunk_ids, answer=answer or row.answer, desirable=answer is None, raters=2,
        )
        for row, answer in zip(sample_rows(), (None, "No", "a bell"), strict=False)
    )  # fmt: skip


def sample_rejections() -> tuple[Rejection, ...]:
    """What synthesis and dataset refused, a script among it."""
    leak = Rejection(
        reason="leak: paraphrase", question="What does the Kestrel weigh?", answer="", document_id="kestrel-40.md", detail=""
    )
    return (leak, *sample_synthesis().samples)


def sample_view(copies: int = 1) -> DatasetView:
    """A stored version of the sample rows, two of which an epoch shows twice."""
    rows = sample_rows(copies)
    shown = tuple(sorted((*rows, *rows[:2]), key=lambda row: row.id))
    version = sample_dataset().model_copy(
        update={
            "example_ids": tuple(row.id for row in shown),
            "preference_ids": tuple(pair.id for pair in sample_preferences()),
            "rating_ids": tuple(rating.id for rating in sample_ratings()),
            "recipe": {"teacher": "smollm2-135m-instruct", "near_duplicate": 0.92, "human_weight": 2.0, "k": 3, "prompt": None},
            "sources": dict(Counter(row.source for row in shown)),
            "replayed": 1,
            "decontaminated": {"leak: paraphrase": 1},
        }
    )
    rejected = Counter(entry.reason for entry in sample_rejections())
    return DatasetView(PROJECT, AT, version, shown, dict(sorted(rejected.items())), None)


def sample_snapshot() -> CorpusSnapshot:
    """Nine manuals that may be trained on and two that are only retrieved from."""
    names = [*dict.fromkeys(document for document, *_ in _TRAINING), "lindal"]
    own = [DocumentRef(document_id=f"{name}.md", sha256=sha256(name), source="manuals") for name in names]
    bought = [DocumentRef(document_id=f"standards/{n}.pdf", sha256=sha256(str(n)), source="standards") for n in range(2)]
    sources = (
        Source(name="manuals", location="s3://tarnbeck/manuals", licence="CC BY 4.0", may_train=True),
        Source(name="standards", location="/srv/standards", licence="bought, no derivatives", may_train=False),
    )
    made = CorpusSnapshot.of(PROJECT, (*own, *bought), Chunking(size=450, overlap=60), sources)
    return made.model_copy(update={"id": SNAPSHOT})


def sample_ingest() -> IngestReport:
    """Two documents skipped, one near duplicate, seven pieces of personal data replaced."""
    return IngestReport(
        id="ingest-45c48cce2e2d7fbd",
        snapshot=sample_snapshot(),
        chunks=412,
        skipped=(
            SkippedDocument(document_id="heron.pdf", reason="the PDF is encrypted; save it without a password"),
            SkippedDocument(document_id=f"{SCRIPT}.docx", reason="not a docx file: no document.xml inside"),
        ),
        scrubber="Presidio 2.2 patterns; no NER model is installed, so names are not looked for",
        scrubbed={"EMAIL_ADDRESS": 4, "PHONE_NUMBER": 3},
        near_duplicates=(NearDuplicate(document_id="orrin-2.md", of="orrin.md", similarity=0.93),),
        labels=(),
    )


def sample_card(copies: int = 8) -> DataCard:
    """A data card with every part."""
    view = sample_view(copies)
    samples: dict[str, tuple[Rejection, ...]] = {}
    for entry in sample_rejections():
        samples[entry.reason] = (*samples.get(entry.reason, ()), entry)
    return DataCard(
        view=view,
        snapshot=sample_snapshot(),
        ingest=sample_ingest(),
        topics=(
            Topic(words=("seal", "fathom", "change"), rows=31, example="Which seal has the Fathom?"),
            Topic(words=("weight", "kestrel", SCRIPT), rows=25, example="How heavy is the Kestrel 40?"),
        ),
        samples=samples,
        examples=sample_rows(),
        preferences=sample_preferences(),
        texts=sample_texts(),
    )


def store_corpus(db: Database, project: str, **documents: Sequence[str]) -> tuple[CorpusSnapshot, list[Chunk]]:
    """Stores a snapshot with these chunks; the document `bought.md`, where there is one, may not be trained on."""
    chunks = [
        Chunk(id=content_id("chunk", [f"{name}.md", text]), document_id=f"{name}.md", ordinal=ordinal, text=text)
        for name, texts in documents.items()
        for ordinal, text in enumerate(texts)
    ]
    refs = tuple(
        DocumentRef(document_id=f"{name}.md", sha256=sha256("\n".join(texts)), source="bought" if name == "bought" else "own")
        for name, texts in documents.items()
    )
    own = Source(name="own", location="docs", licence="CC0", may_train=True)
    bought = Source(name="bought", location="bought", licence="theirs", may_train=False)
    snapshot = CorpusSnapshot.of(project, refs, Chunking(size=450, overlap=0), (own, bought))
    hashes = snapshot.hashes()
    with db.session() as session:
        row = {"id": snapshot.id, "project": project, "record": snapshot.model_dump(mode="json")}
        session.execute(insert(SnapshotRow).values(row).on_conflict_do_nothing())
        rows = [
            {
                "chunking": content_id("chunking", [CHUNKER, snapshot.chunking.model_dump()]), "document_id": chunk.document_id,
                "document_sha256": hashes[chunk.document_id], "ordinal": chunk.ordinal, "chunk_id": chunk.id, "text": chunk.text,
            }
            for chunk in chunks
        ]  # fmt: skip
        session.execute(insert(ChunkRow).on_conflict_do_nothing(), rows)
    return snapshot, chunks
