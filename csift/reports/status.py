"""What `csift status` knows about a project, and its form for scripts."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from csift.jobs import LOST, MAX_ATTEMPTS, Job, JobState
from csift.reports.forgetting import retention_json
from csift.schemas import (
    Cycle,
    CycleState,
    DocumentRef,
    DriftReport,
    PartitionState,
    PromotionDecision,
    Retention,
    System,
    Verdict,
)

# These turn nothing over: what the cycle before them decided still stands.
_IDLE = {CycleState.NOTHING_NEW, CycleState.SKIPPED}


@dataclass(frozen=True)
class Lineage:
    """What the champion was made from: adapter or custom model, its dataset by source, the corpus and its documents."""

    adapter_id: str | None
    dataset_id: str | None
    sources: Mapping[str, int]
    snapshot_id: str
    documents: tuple[DocumentRef, ...]
    custom_model: str | None = None
    deletion_id: str | None = None  # of a person's data, which took rows from the dataset


@dataclass(frozen=True)
class PastCycle:
    """A cycle with the records it made, where it made them, and a backfill's partitions as they are now."""

    cycle: Cycle
    decision: PromotionDecision | None
    drift: DriftReport | None
    retention: Retention | None
    partitions: tuple[PartitionState, ...] = ()


@dataclass(frozen=True)
class Status:
    """One project now. `cycles` are the last ones, newest first; `holder` names the run that goes on at this moment; `jobs` are
    those that are queued or worked on, `awaiting` the decisions that a person may approve, newest first."""

    project: str
    champion: System | None
    since: datetime | None
    lineage: Lineage | None
    cycles: tuple[PastCycle, ...]
    holder: str | None
    jobs: tuple[Job, ...]
    awaiting: tuple[PromotionDecision, ...] = ()


@dataclass(frozen=True)
class Now:
    """The little of a project that changes while a cycle goes on, read at the moment `at`.

    `cycle` is the newest one; its stages that go on have the seconds they have run so far. `verdict` is that of its decision,
    `partitions` are those that it has to teach.
    """

    at: datetime
    project: str
    champion: System | None
    since: datetime | None
    holder: str | None
    cycle: Cycle | None
    verdict: Verdict | None
    jobs: tuple[Job, ...]
    partitions: tuple[PartitionState, ...] = ()

    @property
    def cut_off(self) -> bool:
        """The cycle still counts as running, and nobody runs it: its process or its machine died."""
        return self.cycle is not None and self.cycle.state is CycleState.RUNNING and self.holder is None


def last_cycle(status: Status) -> PastCycle | None:
    """The newest cycle that had something to do; nights with nothing new and skipped ones are passed over."""
    return next((past for past in status.cycles if past.cycle.state not in _IDLE), None)


def status_json(status: Status) -> dict[str, Any]:
    """JSON-ready status; `decision`, `low`, `high` (shares, not points), `drift` and `retention` are `last_cycle`'s, or
    None."""
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
        "retention": retention_json(last.retention) if last and last.retention else None,
        "champion": status.champion.model_dump(mode="json") if status.champion else None,
        "since": status.since.isoformat() if status.since else None,
        "lineage": _lineage_json(status.lineage) if status.lineage else None,
        "cycles": [_cycle_json(past) for past in status.cycles],
        "running": status.holder,
        "jobs": [job_json(job, status.holder) for job in status.jobs],
        "awaiting": [
            {"decision": decision.id, "until": decision.approval.until.isoformat()}
            for decision in status.awaiting
            if decision.approval
        ],
    }


def now_json(now: Now) -> dict[str, Any]:
    """JSON-ready, a line of `csift status --watch --json`: `status_json` without lineage and past, `cycles` has the newest."""
    cycles = [
        {
            **cycle.model_dump(mode="json", exclude={"project"}),
            "seconds": sum(stage.seconds for stage in cycle.stages),
            "decision": now.verdict.value if now.verdict else None,
            "partitions": [partition.model_dump(mode="json") for partition in now.partitions],
        }
        for cycle in (now.cycle,)
        if cycle
    ]
    return {
        "at": now.at.isoformat(),
        "project": now.project,
        "champion": now.champion.model_dump(mode="json") if now.champion else None,
        "since": now.since.isoformat() if now.since else None,
        "cycles": cycles,
        "running": now.holder,
        "cut_off": now.cut_off,
        "jobs": [job_json(job, now.holder) for job in now.jobs],
    }


def job_json(job: Job, runner: str | None) -> dict[str, Any]:
    """JSON-ready; `here`: it is worked on by the process that runs the cycle, whose name is `runner`."""
    stand = job.progress
    return {
        "id": job.id,
        "kind": job.kind,
        "cycle": job.spec.get("cycle_id"),
        "state": job.state.value,
        "holder": job.holder,
        "here": is_here(job, runner),
        "attempts": job.attempts,
        "silent_seconds": job.silent,
        "progress": {"stage": stand.stage, "done": stand.done, "total": stand.total, "note": stand.note} if stand else None,
    }


def job_progress(job: Job) -> str:
    """ "train 24/60, sft loss 0.41, 310 tokens/s, 1.2 min left"; "train job" where nothing was reported yet."""
    if job.progress is None:
        return f"{job.kind} job"
    stand = job.progress
    return f"{stand.stage} {stand.done:,}/{stand.total:,}" + (f", {stand.note}" if stand.note else "")


def job_holder(job: Job, runner: str | None) -> str:
    """Who has a job, or that it waits; `runner` names the process that runs the cycle."""
    if job.state is JobState.QUEUED:
        return "queued, no worker has it" + (f" after attempt {job.attempts} of {MAX_ATTEMPTS}" if job.attempts else "")
    where = "in the run itself" if is_here(job, runner) else f"on {process(job.holder or 'an unknown worker')}"
    return f"{where}, attempt {job.attempts} of {MAX_ATTEMPTS}"


def job_silence(job: Job) -> str | None:
    """That the holder's last heartbeat is so long ago that another worker may take the job, or None."""
    lost = job.state is JobState.RUNNING and job.silent is not None and job.silent > LOST
    return f"no heartbeat for over {LOST:.0f} s: the next worker takes it" if lost else None


def job_line(job: Job, runner: str | None) -> str:
    """A job's progress and who has it."""
    silence = job_silence(job)
    return f"{job_progress(job)}; {job_holder(job, runner)}" + (f", {silence}" if silence else "")


def is_here(job: Job, runner: str | None) -> bool:
    """Whether the job is worked on by the process that runs the cycle."""
    return job.holder is not None and runner is not None and process(job.holder) == process(runner)


def process(holder: str) -> str:
    """Host and process of csift.leases.holder_name, without the time at which it took what it holds."""
    return holder.split(" since ")[0]


def drift_verdict(drift: DriftReport | None) -> str | None:
    """ "drift", "no drift", "not compared", or None where drift was not checked."""
    if drift is None:
        return None
    if not drift.signals:
        return "not compared"
    return "drift" if drift.drifted else "no drift"


def _lineage_json(lineage: Lineage) -> dict[str, Any]:
    return {
        "adapter": lineage.adapter_id,
        "custom_model": lineage.custom_model,
        "dataset": lineage.dataset_id,
        "sources": dict(lineage.sources),
        "deletion": lineage.deletion_id,
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
        "partitions": [partition.model_dump(mode="json") for partition in past.partitions],
    }
