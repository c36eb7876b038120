"""What Postgres refers to, as the rule takes it."""

from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from csift.cleanup.rule import Answering, Facts, Trained
from csift.db.corpus import SnapshotRow
from csift.db.jobs import JobRow
from csift.db.judging import ChampionLogRow, DecisionRow, SystemRow
from csift.db.learning import AdapterRow, CustomModelRow, DatasetRow
from csift.db.operations import CycleRow, DriftReportRow, MonitorReportRow
from csift.jobs import JobState


def read_facts(session: Session, grace: timedelta) -> Facts:
    """The facts as of one transaction. A job that gave no sign of life for the length of `grace` is not in work."""
    recipes = session.execute(sa.select(DatasetRow.id, DatasetRow.record["recipe"]["teacher"].astext)).tuples()
    drift = frozenset(session.scalars(sa.select(DriftReportRow.id)))
    return Facts(
        systems=_systems(session),
        adapters=_adapters(session),
        champions=frozenset(session.scalars(sa.select(ChampionLogRow.to_system_id))),
        decided=_decided(session),
        newest=frozenset(session.scalars(_newest_datasets())),
        teachers={id_: (teacher or "").partition("+")[2] or None for id_, teacher in recipes},
        in_work=_in_work(session, grace),
        drift=drift,
        quiet=drift - _telling_drift(session),
    )


def _systems(session: Session) -> dict[str, Answering]:
    models = dict(session.execute(sa.select(CustomModelRow.arn, CustomModelRow.dataset_id)).tuples().all())
    rows = session.execute(sa.select(SystemRow.id, SystemRow.adapter_id, SystemRow.record["base_model"].astext)).tuples()
    return {id_: Answering(adapter, models.get(str(base).partition("/")[2])) for id_, adapter, base in rows}


def _adapters(session: Session) -> dict[str, Trained]:
    record = AdapterRow.record
    rows = session.execute(sa.select(AdapterRow.id, record["artifact"].astext, record["stage_ids"], AdapterRow.dataset_id))
    return {id_: Trained(artifact, tuple(stages), dataset) for id_, artifact, stages, dataset in rows.tuples()}


def _decided(session: Session) -> frozenset[str]:
    evidence = DecisionRow.record["evidence"]
    rows = session.execute(sa.select(evidence["champion_system_id"].astext, evidence["challenger_system_id"].astext))
    return frozenset(id_ for row in rows for id_ in row)


def _newest_datasets() -> sa.Select[tuple[str]]:
    made = sa.select(DatasetRow.id).join(SnapshotRow, SnapshotRow.id == DatasetRow.snapshot_id)
    return made.distinct(SnapshotRow.project).order_by(SnapshotRow.project, DatasetRow.created_at.desc())


def _in_work(session: Session, grace: timedelta) -> frozenset[str]:
    seen = sa.func.greatest(JobRow.created_at, JobRow.heartbeat_at)
    alive = JobRow.state.in_([JobState.QUEUED, JobState.RUNNING]) & (seen > sa.func.now() - grace)
    # a teacher's tuning names no dataset; it counts for checkpoints all the same
    return frozenset(session.scalars(sa.select(sa.func.coalesce(JobRow.spec["dataset_id"].astext, JobRow.id)).where(alive)))


def _telling_drift(session: Session) -> frozenset[str]:
    """Reports in which something drifted, of cycles that were decided, of looks that told somebody, and each project's newest."""
    told = MonitorReportRow.record
    newest = sa.select(DriftReportRow.id).distinct(DriftReportRow.project)
    queries = (
        sa.select(DriftReportRow.id).where(DriftReportRow.drifted),
        sa.select(CycleRow.drift_id).where(CycleRow.drift_id.is_not(None), CycleRow.decision_id.is_not(None)),
        sa.select(told["drift_id"].astext).where(sa.func.jsonb_array_length(told["events"]) > 0),
        newest.order_by(DriftReportRow.project, DriftReportRow.created_at.desc()),
    )
    return frozenset(id_ for query in queries for id_ in session.scalars(query) if id_)
