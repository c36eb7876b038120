"""The hourly look at the champion: rated answers every time, drift once a day."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from csift import alerts, approvals, monitoring, registry
from csift.alerts import Alert
from csift.config import LoopConfig
from csift.db import database
from csift.schemas import ChampionMove, DriftReport, MonitorReport
from tasks.cycle import scheduled_time
from tasks.drift import compare, watch
from tasks.events import send
from tasks.retrying import RETRIES


@task(name="look at the champion", cache_policy=NO_CACHE, **RETRIES)
def look(config: LoopConfig) -> MonitorReport:
    """What was seen, kept; alerts for what is new of it. The look of one scheduled time is made once."""
    db, at = database(), scheduled_time()
    approvals.close_expired(db, config.project)
    id_ = monitoring.report_id(config.project, at)
    if known := registry.find(db, MonitorReport, id_):
        return known
    before = monitoring.last_look(db, config.project)
    log = registry.champion_log(db, config.project)
    drift = _drift_of_today(config)
    seen = MonitorReport(
        id=id_,
        project=config.project,
        at=at,
        champion_id=log[0].to_system_id if log else None,
        since=log[0].at if log else None,
        accuracy=watch(config, log[0].at if log else None),
        drift_id=drift.id,
        events=(),
        note="",
    )
    told: list[Alert] = []
    back = None
    if seen.accuracy and monitoring.worse_is_news(seen, before):
        back = _standing_before(config, log)
        told.append(alerts.accuracy_regressed(config.project, seen.accuracy, back, drift.html_uri))
        seen = seen.model_copy(update={"note": f"rolled back to {back}" if back else ""})
    last = registry.find(db, DriftReport, before.drift_id) if before and before.drift_id else None
    if monitoring.drift_is_news(drift, last):
        told.append(alerts.drift_detected(config.project, drift))
    for alert in told:  # before anything is done or kept: killed in between, the look is made again, and told again
        send(alert)
    if back:
        registry.rollback(db, config.project)
    return monitoring.save(db, seen.model_copy(update={"events": tuple(alert.event for alert in told)}))


def _drift_of_today(config: LoopConfig) -> DriftReport:
    db = database()
    made = monitoring.drift_of_day(db, config.project, scheduled_time())
    return registry.load(db, DriftReport, made) if made else compare(config)


def _standing_before(config: LoopConfig, log: list[ChampionMove]) -> str | None:
    """The System that is to answer again, where the configuration says so and the champion was promoted."""
    if not config.monitor.rollback or not log or log[0].kind != "promotion":
        return None
    return registry.standing_before(log)
