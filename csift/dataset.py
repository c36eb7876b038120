"""Human and synthetic examples → a DatasetVersion: duplicates dropped, decontaminated against the eval and golden questions,
fingerprinted.

Leaks are looked for three ways: the same question after normalisation, a shared run of eight words (Brown et al., GPT-3, 2020,
appendix C), and cosine similarity of embeddings, for paraphrases.
"""

from collections.abc import Sequence

import numpy as np
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from csift.config import DatasetConfig
from csift.db.connection import Database
from csift.db.learning import DatasetRow, ExampleRow
from csift.exceptions import LabelError
from csift.hashing import content_id
from csift.interfaces import Embedder, Retriever
from csift.schemas import Chunk, DatasetVersion, Example, Label, Rejection, SynthesisReport
from csift.textmatch import REFUSAL, normalise

NGRAM = 8
NO_SPANS = ("Yes", "No", REFUSAL)


def from_labels(labels: Sequence[Label]) -> list[Example]:
    """Human labels as examples; an unanswerable question is taught its refusal."""
    return [
        Example(
            id=content_id("example", [label.id, label.question, label.answer, label.document_id]),
            question=label.question,
            answer=REFUSAL if label.answer is None else label.answer,
            document_id=label.document_id,
            context_chunk_ids=(),
            source="human",
            generator=None,
            prompt_hash=None,
        )
        for label in labels
    ]


def clean(
    examples: Sequence[Example], protected: Sequence[tuple[str, str]], embedder: Embedder, config: DatasetConfig
) -> tuple[list[Example], list[Rejection]]:
    """Keeps the first of equal or nearly equal examples and none that leaks a protected (question, answer); the others with why.

    A leak has the question and the answer: "Which law governs this contract?" with another contract's answer teaches nothing
    about the one in the eval set, and such questions are asked of every contract alike.

    Put human examples first: they win over their synthetic copies. Two human questions may resemble each other, they are only
    checked for equality and leaks.
    """
    leaks = _Leaks(protected, embedder, config.leak)
    vectors = embedder.embed([example.question for example in examples])
    kept: list[int] = []
    exact: set[tuple[str, str]] = set()
    rejected = []
    for i, example in enumerate(examples):
        reason, detail = leaks.reason(example, vectors[i]), ""
        if not reason and _identity(example) in exact:
            reason = "duplicate"
        if not reason and kept and example.source != "human":
            similarity = vectors[kept] @ vectors[i]
            nearest = int(np.argmax(similarity))
            if similarity[nearest] >= config.near_duplicate:
                reason, detail = "near duplicate", examples[kept[nearest]].question
        if reason:
            rejected.append(
                Rejection(
                    reason=reason,
                    question=example.question,
                    answer=example.answer,
                    document_id=example.document_id,
                    detail=detail,
                )
            )
        else:
            kept.append(i)
            exact.add(_identity(example))
    return [examples[i] for i in kept], rejected


class _Leaks:
    """Protected questions with their answers, ready to be compared with."""

    def __init__(self, protected: Sequence[tuple[str, str]], embedder: Embedder, threshold: float) -> None:
        questions = [question for question, _ in protected]
        self.answers = [normalise(answer) for _, answer in protected]
        self.questions = [normalise(question) for question in questions]
        self.ngrams = [_ngrams(question) for question in questions]
        self.vectors = embedder.embed(questions)
        self.threshold = threshold

    def reason(self, example: Example, vector: np.ndarray) -> str:
        answer, question, ngrams = normalise(example.answer), normalise(example.question), _ngrams(example.question)
        same = [i for i, other in enumerate(self.answers) if _agree(answer, other)]
        if any(self.questions[i] == question for i in same):
            return "leak: same question"
        if any(self.ngrams[i] & ngrams for i in same):
            return f"leak: {NGRAM} words in a row"
        if same and float(np.max(self.vectors[same] @ vector)) >= self.threshold:
            return "leak: paraphrase"
        return ""


def _identity(example: Example) -> tuple[str, str]:
    return normalise(example.question), example.document_id  # a question that is asked of every document is no duplicate


def _agree(answer: str, other: str) -> bool:
    return f" {answer} " in f" {other} " or f" {other} " in f" {answer} "


def _ngrams(text: str) -> set[tuple[str, ...]]:
    words = normalise(text).split()
    return {tuple(words[i : i + NGRAM]) for i in range(len(words) - NGRAM + 1)}


def with_contexts(examples: Sequence[Example], retriever: Retriever, chunks: Sequence[Chunk], k: int) -> list[Example]:
    """Gives each example the k chunks that the retriever returns for its question, as the model will see them when it is asked.

    Where none of them holds the answer and a chunk of the example's own document does, that chunk takes the place of the last,
    so that no row teaches an answer from thin air. Yes, no and the refusal stand in no particular chunk.
    """
    texts = {chunk.id: f" {normalise(chunk.text)} " for chunk in chunks}
    by_document: dict[str, list[str]] = {}
    for chunk in chunks:
        by_document.setdefault(chunk.document_id, []).append(chunk.id)
    rows = []
    for example, hits in zip(examples, retriever.search([e.question for e in examples], k), strict=True):
        ids = [hit.chunk_id for hit in hits]
        answer = f" {normalise(example.answer)} "
        if example.answer not in NO_SPANS and not any(answer in texts[id_] for id_ in ids):
            holders = [id_ for id_ in by_document[example.document_id] if answer in texts[id_]]
            ids = [*ids[: k - 1], holders[0]] if holders else ids
        rows.append(example.model_copy(update={"context_chunk_ids": tuple(ids)}))
    return rows


def save(
    db: Database,
    examples: Sequence[Example],
    *,
    snapshot_id: str,
    evalset_id: str,
    recipe: dict[str, str | int | float | None],
    synthesis: SynthesisReport,
    rejected: Sequence[Rejection],
) -> DatasetVersion:
    """Stores the examples and the version; the same examples and recipe give the same version.

    Raises:
        LabelError: nothing is left to train on.
    """
    if not examples:
        raise LabelError("no examples are left to train on; label questions of training documents or raise synthesis.candidates")
    rows = [_identified(example) for example in examples]
    ids = tuple(row.id for row in rows)
    sources = {source: sum(row.source == source for row in rows) for source in ("human", "synthetic", "feedback")}
    leaks: dict[str, int] = {}
    for entry in rejected:
        if entry.reason.startswith("leak"):
            leaks[entry.reason] = leaks.get(entry.reason, 0) + 1
    version = DatasetVersion(
        id=content_id("dataset", [ids, recipe, evalset_id]),
        snapshot_id=snapshot_id,
        evalset_id=evalset_id,
        example_ids=ids,
        recipe=recipe,
        sources=sources,
        decontaminated=leaks,
        synthesis=synthesis,
    )
    with db.session() as session:
        values = [{"id": row.id, "record": row.model_dump(mode="json")} for row in rows]
        session.execute(insert(ExampleRow).on_conflict_do_nothing(), values)
        record = {"id": version.id, "snapshot_id": snapshot_id, "record": version.model_dump(mode="json")}
        session.execute(insert(DatasetRow).values(record).on_conflict_do_nothing())
    return version


def _identified(example: Example) -> Example:
    """The id of a training row depends on the chunks beside it as well."""
    identity = [example.id, example.context_chunk_ids]
    return example.model_copy(update={"id": content_id("example", identity)})


def load_examples(db: Database, version: DatasetVersion) -> list[Example]:
    """The examples of a version, in its order."""
    with db.session() as session:
        found = session.execute(
            sa.select(ExampleRow.id, ExampleRow.record).where(ExampleRow.id.in_(version.example_ids))
        ).tuples()
        rows = {id_: Example.model_validate(record) for id_, record in found}
    return [rows[id_] for id_ in version.example_ids]
