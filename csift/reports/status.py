"""What `csift status` knows about a project, and its form for scripts."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from csift.schemas import Cycle, CycleState, DocumentRef, DriftReport, PromotionDecision, System

# These turn nothing over: what the cycle before them decided still stands.
_IDLE = {CycleState.NOTHING_NEW, CycleState.SKIPPED}


@dataclass(frozen=True)
class Lineage:
    """What the champion was made from: adapter, its dataset by source, the corpus and its documents."""

    adapter_id: str | None
    dataset_id: str | None
    sources: Mapping[str, int]
    snapshot_id: str
    documents: tuple[DocumentRef, ...]


@dataclass(frozen=True)
class PastCycle:
    """A cycle with the records it made, where it made them."""

    cycle: Cycle
    decision: PromotionDecision | None
    drift: DriftReport | None


@dataclass(frozen=True)
class Status:
    """One project now. `cycles` are the last ones, newest first; `holder` names the run that goes on at this moment."""

    project: str
    champion: System | None
    since: datetime | None
    lineage: Lineage | None
    cycles: tuple[PastCycle, ...]
    holder: str | None


def last_cycle(status: Status) -> PastCycle | None:
    """The newest cycle that had something to do; nights with nothing new and skipped ones are passed over."""
    return next((past for past in status.cycles if past.cycle.state not in _IDLE), None)


def status_json(status: Status) -> dict[str, Any]:
    """JSON-ready status; `decision`, `low`, `high` (shares, not points) and `drift` are `last_cycle`'s, or None."""
    last = last_cycle(status)
    decision = last.decision if last else None
    return {
        "project": status.project,
        "cycle": last.cycle.id if last else None,
        "decision": decision.verdict.value if decision else None,
        "difference": decision.difference.value if decision else None,
        "low": decision.difference.low if decision else None,
        "high": decision.difference.high if decision else None,
        "reason": decision.reason if decision else None,
        "drift": drift_verdict(last.drift) if last else None,
        "champion": status.champion.model_dump(mode="json") if status.champion else None,
        "since": status.since.isoformat() if status.since else None,
        "lineage": _lineage_json(status.lineage) if status.lineage else None,
        "cycles": [_cycle_json(past) for past in status.cycles],
        "running": status.holder,
    }


def drift_verdict(drift: DriftReport | None) -> str | None:
    """ "drift", "no drift", or None where drift was not checked."""
    if drift is None:
        return None
    return "drift" if drift.drifted else "no drift"


def _lineage_json(lineage: Lineage) -> dict[str, Any]:
    return {
        "adapter": lineage.adapter_id,
        "dataset": lineage.dataset_id,
        "sources": dict(lineage.sources),
        "corpus": lineage.snapshot_id,
        "documents": {document.document_id: document.sha256 for document in lineage.documents},
    }


def _cycle_json(past: PastCycle) -> dict[str, Any]:
    cycle, decision = past.cycle, past.decision
    return {
        **cycle.model_dump(mode="json", exclude={"project"}),
        "seconds": sum(stage.seconds for stage in cycle.stages),
        "decision": decision.verdict.value if decision else None,
        "low": decision.difference.low if decision else None,
        "high": decision.difference.high if decision else None,
        "drift": drift_verdict(past.drift),
    }
