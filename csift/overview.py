"""What a project is at this moment, read from Postgres for `csift status` and pages."""

from csift import cycles, registry
from csift.db.connection import Database
from csift.leases import holder
from csift.reports.status import Lineage, PastCycle, Status
from csift.schemas import Adapter, CorpusSnapshot, Cycle, DatasetVersion, DriftReport, PromotionDecision, System

CYCLES_SHOWN = 10


def read_status(db: Database, project: str) -> Status:
    """Champion with its lineage down to the documents, the last cycles, and who runs now."""
    champion = registry.champion(db, project)
    log = registry.champion_log(db, project)
    return Status(
        project=project,
        champion=champion,
        since=log[0].at if log else None,
        lineage=_lineage(db, champion) if champion else None,
        cycles=tuple(_past(db, cycle) for cycle in cycles.recent(db, project, CYCLES_SHOWN)),
        holder=holder(db, f"cycle of {project}"),
    )


def _lineage(db: Database, champion: System) -> Lineage:
    adapter = registry.load(db, Adapter, champion.adapter_id) if champion.adapter_id else None
    dataset = registry.load(db, DatasetVersion, adapter.dataset_id) if adapter else None
    snapshot = registry.load(db, CorpusSnapshot, dataset.snapshot_id if dataset else champion.snapshot_id)
    return Lineage(
        adapter_id=adapter.id if adapter else None,
        dataset_id=dataset.id if dataset else None,
        sources=dataset.sources if dataset else {},
        snapshot_id=snapshot.id,
        documents=snapshot.documents,
    )


def _past(db: Database, cycle: Cycle) -> PastCycle:
    return PastCycle(
        cycle=cycle,
        decision=registry.load(db, PromotionDecision, cycle.decision_id) if cycle.decision_id else None,
        drift=registry.load(db, DriftReport, cycle.drift_id) if cycle.drift_id else None,
    )
