"""A project with Systems and promotions, without the stages that lead to them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from samples import sample_decision, sample_eval_report, sample_eval_set, sample_evidence, sample_items

from csift.config import CorpusConfig, SourceConfig
from csift.corpus import ingest
from csift.db import Database
from csift.interfaces import Progress, no_progress
from csift.leases import Lease, hold
from csift.rag import standard_program_hash
from csift.registry import champion, champion_log, promote, save_decision, save_system
from csift.schemas import Chunk, GenerationParams, PromotionDecision, System, Verdict


class NoIndex:
    """An index that keeps nothing."""

    def sync(self, snapshot_id: str, chunks: Sequence[Chunk], progress: Progress = no_progress) -> None:
        """Nothing."""


class Project:
    """A project with Systems that differ in k, and decisions about them."""

    def __init__(self, db: Database, name: str, snapshot_id: str, lease: Lease) -> None:
        self.db, self.name, self.snapshot_id, self.lease = db, name, snapshot_id, lease

    def system(self, k: int, adapter_id: str | None = None) -> System:
        """A System of this project's corpus."""
        system = System.of(
            base_model="m",
            base_revision="1",
            adapter_id=adapter_id,
            program="standard",
            program_hash=standard_program_hash(),
            snapshot_id=self.snapshot_id,
            embedder="words",
            k=k,
            generation=GenerationParams(),
        )
        return save_system(self.db, system)

    def decision(self, base: System, challenger: System, verdict: Verdict = Verdict.PROMOTE) -> PromotionDecision:
        """A stored decision on the two."""
        evalset = sample_eval_set(sample_items())
        reports = [sample_eval_report(system, evalset, [True] * len(evalset.items)) for system in (base, challenger)]
        evidence = sample_evidence(evalset, *reports).model_copy(update={"project": self.name})
        return save_decision(self.db, sample_decision(verdict, evidence))

    def promote(self, base: System, challenger: System, lease: Lease | None = None) -> int | None:
        """The version after the promotion, or None when it was made before."""
        move = promote(self.db, self.decision(base, challenger), base, challenger, lease or self.lease)
        return move.version if move else None

    def champion_k(self) -> int | None:
        """Which System is champion."""
        system = champion(self.db, self.name)
        return system.k if system else None

    def log(self) -> list[tuple[str, int]]:
        """Kind of each move and where it went, the oldest first."""
        ks = {self.system(k).id: k for k in range(1, 6)}
        return [(move.kind, ks[move.to_system_id]) for move in reversed(champion_log(self.db, self.name))]


@contextmanager
def open_project(db: Database, project: str, folder: Path) -> Iterator[Project]:
    """A project with a corpus of one document, whose lease is held for the length of the block."""
    (folder / "corpus").mkdir()
    (folder / "corpus" / "a.md").write_text(f"Of {project}.")
    snapshot = ingest(db, NoIndex(), project, CorpusConfig(sources=(SourceConfig(location=str(folder / "corpus")),))).snapshot
    with hold(db, project) as lease:
        yield Project(db, project, snapshot.id, lease)
