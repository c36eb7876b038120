"""A teacher in memory, partitions for it, and calls that were booked for them."""

from collections.abc import Mapping, Sequence
from typing import Any

from encoders import WordEmbedder

from csift import backfill
from csift.config import SynthesisConfig
from csift.db import Database
from csift.exceptions import TeacherError
from csift.leases import Lease
from csift.ledger import Call, Ledger
from csift.schemas import (
    BackfillPlan,
    Chunk,
    DocumentRef,
    Generation,
    GenerationParams,
    Label,
    Partition,
    TaughtPartition,
)
from csift.synthesis import Assignment, Candidate, Drafts


class Scribe:
    """Writes a question about each chunk, or fails after so many."""

    id = "scribe"
    at_once = 2

    def __init__(self, fails_after: int = 99) -> None:
        self.written = 0
        self.fails_after = fails_after

    def reword(self, labels: Sequence[Label], chunks: Sequence[Chunk], config: SynthesisConfig) -> Drafts:
        """Nothing."""
        return Drafts(written=0, candidates=(), rejections=())

    def deal(self, chunks: Sequence[Chunk], config: SynthesisConfig, number: int, *_: Any) -> list[Assignment]:
        """A chunk each, in the first round."""
        return [] if number else [Assignment.of((chunk.id,), 1, 0, (), (), 0) for chunk in chunks]

    def write(self, assignment: Assignment, chunks: Mapping[str, Chunk]) -> Drafts:
        """One question."""
        if self.written == self.fails_after:
            raise TeacherError("gone")
        self.written += 1
        chunk = chunks[assignment.chunk_ids[0]]
        candidate = Candidate(
            question=f"What does {chunk.text} say?", answer=chunk.text, style="factoid", document_id=chunk.document_id,
            chunk_ids=(chunk.id,), step="write",
        )  # fmt: skip
        return Drafts(written=1, candidates=(candidate,), rejections=(candidate.rejected("rating", "2 of 5"),))


def partition_of(project: str, name: str = "2024-01") -> Partition:
    """Three documents of a month."""
    refs = tuple(DocumentRef(document_id=f"{name}/{n}.md", sha256=str(n)) for n in range(3))
    return Partition(id=f"partition-{project}-{name}", name=name, documents=refs, others=1)


def teaching(db: Database, project: str, lease: Lease, partition: Partition, scribe: Scribe) -> TaughtPartition:
    """Has a scribe write about a partition."""
    words = ("kestrel", "harrier", "merlin")
    chunks = [
        Chunk(
            id=f"{ref.document_id}-{words[n]}",
            document_id=ref.document_id,
            ordinal=0,
            text=f"{words[n]} {project} {partition.name}",
        )
        for n, ref in enumerate(partition.documents)
    ]
    other = Chunk(id="other", document_id="other.md", ordinal=0, text="of another partition")
    return backfill.teach(
        db, lease, project, partition, scribe, [*chunks, other], [], WordEmbedder(), SynthesisConfig(max_topic_share=1.0), 0.99
    )


def plan_with(*partitions: Partition) -> BackfillPlan:
    """A plan of these partitions."""
    return BackfillPlan(id="x", snapshot_id="x", partitions=partitions, idle=(), undated=(), outside=0, at_once=1)


def booked(db: Database, project: str, partition: str, calls: int) -> None:
    """Answered calls for a partition, of a teacher that takes 100 tokens in, 20 out and half a second."""
    answer = Generation(text="x", finish="stop", tokens_in=100, tokens_out=20, seconds=0.5)
    told = [
        Call(f"openai/{project}", "teacher", [{"role": "user", "content": f"{partition} {n}"}], GenerationParams(), partition)
        for n in range(calls)
    ]
    Ledger(db).book((call, answer) for call in told)
