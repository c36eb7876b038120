"""Projects with Systems and decisions about them, for tests of what becomes champion."""

from collections.abc import Sequence
from pathlib import Path

from samples import sample_decision, sample_eval_report, sample_eval_set, sample_evidence, sample_items

from csift.config import CorpusConfig, SourceConfig
from csift.corpus import ingest
from csift.db import Database
from csift.interfaces import Progress, no_progress
from csift.leases import Lease
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
        return save_system(
            self.db,
            System.of(
                base_model="m", base_revision="1", adapter_id=adapter_id, program="standard",
                program_hash=standard_program_hash(), snapshot_id=self.snapshot_id, embedder="words", k=k,
                generation=GenerationParams(),
            ),
        )  # fmt: skip

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


def snapshot_of(db: Database, project: str, folder: Path) -> str:
    """The snapshot of a corpus of one document."""
    (folder / "corpus").mkdir()
    (folder / "corpus" / "a.md").write_text(f"Of {project}.")
    sources = (SourceConfig(location=str(folder / "corpus")),)
    return ingest(db, NoIndex(), project, CorpusConfig(sources=sources)).snapshot.id
