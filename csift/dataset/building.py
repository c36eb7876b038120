"""Everything a training set is made of → a stored DatasetVersion."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from csift.config import DatasetConfig
from csift.dataset.cleaning import allowed_only, clean, clean_pairs, from_labels, without_leaks
from csift.dataset.contexts import with_contexts
from csift.dataset.mixing import mix
from csift.dataset.people import opinions, origins, with_documents
from csift.dataset.replay import replay
from csift.dataset.versions import save
from csift.db.connection import Database
from csift.firewall import Firewall, Protected, Scorer
from csift.interfaces import Embedder, Retriever
from csift.schemas import (
    Chunk,
    CorpusSnapshot,
    DatasetVersion,
    Example,
    HumanFeedback,
    LabelSet,
    PreferencePair,
    Rejection,
    Split,
    SynthesisReport,
)

SAMPLES = 3  # refused candidates of each reason that the version's own record shows; all are in Postgres


@dataclass(frozen=True)
class Ingredients:
    """What people, teacher and customers contributed, and the corpus that it is about. `splits`: document id → split."""

    snapshot: CorpusSnapshot
    chunks: Sequence[Chunk]
    splits: Mapping[str, Split]
    labels: LabelSet
    synthetic: Sequence[Example]
    feedback: HumanFeedback
    preferences: Sequence[PreferencePair]
    synthesis: SynthesisReport
    rejections: Sequence[Rejection]


def build(
    db: Database,
    project: str,
    given: Ingredients,
    *,
    evalset_id: str,
    embedder: Embedder,
    retriever: Retriever,
    k: int,
    config: DatasetConfig,
    recipe: Mapping[str, str | int | float | None],
    scorer: Scorer | None = None,
) -> DatasetVersion:
    """Finds the documents of feedback, cleans, adds the chunks beside the questions, replays, mixes and stores. The same
    ingredients in any order and the same earlier versions give the same version.

    Only documents of the train split whose source may be trained on give rows and chunks to rows: nothing of a document that is
    judged on or only retrieved from is in a training set.

    Args:
        embedder: compares questions; the leak scorer must have been fitted on it.
        scorer: tells leaks; by default the bundled one, for MiniLM.

    Raises:
        LabelError: nothing is left to train on.
        CorpusError: a synthetic example rests on a chunk that may not be trained on.
        ConfigError: the scorer was fitted on another embedder.
    """
    allowed = {id_ for id_ in given.snapshot.trainable() if given.splits.get(id_) == "train"}
    chunks = [chunk for chunk in given.chunks if chunk.document_id in allowed]
    held_out = from_labels([*given.labels.of_split("eval"), *given.labels.of_split("golden")])
    embedder = _Remembering(embedder)
    firewall = Firewall([Protected(row.question, row.answer) for row in held_out], embedder, scorer)
    human = from_labels(given.labels.of_split("train"))
    said = with_documents(given.feedback, retriever)
    candidates = [row for part in (human, said.examples, given.synthetic) for row in sorted(part, key=lambda row: row.id)]
    usable, barred = allowed_only(candidates, allowed)
    kept, refused = clean(usable, firewall, embedder, config)
    pairs, refused_pairs = clean_pairs([pair for pair in given.preferences if pair.document_id in allowed], firewall)
    told = opinions(said, firewall, retriever, chunks, allowed, k, config)
    # A row that teaches the refusal now may be one of the eval questions that have no answer.
    fresh, refusals = without_leaks(with_contexts(kept, retriever, chunks, k, config), firewall)
    old = replay(db, project, fresh, given.snapshot, chunks, firewall, embedder, config)
    weights = {"human": config.human_weight, "synthetic": config.synthetic_weight, "feedback": config.feedback_weight}
    rows = mix([*fresh, *old], weights, config.seed)
    old_ids = {row.id for row in old}
    written = {(row.question, row.document_id) for row in given.synthetic}
    return save(
        db,
        rows,
        snapshot_id=given.snapshot.id,
        evalset_id=evalset_id,
        recipe={**recipe, "k": k, "retriever": retriever.id, **config.model_dump()},
        synthesis=_account(given.synthesis, fresh, [e for e in (*refused, *refusals) if (e.question, e.document_id) in written]),
        rejected=[*given.rejections, *barred, *refused, *refusals, *refused_pairs, *told.refused],
        preferences=[*pairs, *told.preferences],
        ratings=told.ratings,
        scores=told.scores,
        origins=origins(said, [*fresh, *told.preferences, *told.ratings, *told.scores]),
        replayed=sum(row.id in old_ids for row in rows),
        documents=dict(sorted(Counter(given.splits[d.document_id] for d in given.snapshot.documents).items())),
    )


class _Remembering:
    """An Embedder that embeds a text once, however many checks compare it."""

    def __init__(self, embedder: Embedder) -> None:
        self.id, self.dim = embedder.id, embedder.dim
        self._embedder = embedder
        self._known: dict[str, NDArray[np.float32]] = {}

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Texts → float32 [n, dim]."""
        fresh = [text for text in dict.fromkeys(texts) if text not in self._known]
        if fresh:
            self._known.update(zip(fresh, self._embedder.embed(fresh), strict=True))
        return np.array([self._known[text] for text in texts], dtype=np.float32).reshape(len(texts), self.dim)


def _account(report: SynthesisReport, kept: Sequence[Example], refused: Sequence[Rejection]) -> SynthesisReport:
    """The teacher's report with what became of its examples here."""
    rejected = Counter(report.rejected) + Counter(entry.reason for entry in refused)
    samples = list(report.samples)
    for entry in sorted(refused, key=lambda entry: (entry.reason, entry.question)):
        if sum(sample.reason == entry.reason for sample in samples) < SAMPLES:
            samples.append(entry)
    return report.model_copy(
        update={
            "accepted": sum(row.source == "synthetic" for row in kept),
            "rejected": dict(sorted(rejected.items())),
            "samples": tuple(samples),
        }
    )
