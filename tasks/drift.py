"""Check the current window of traffic for drift."""

from datetime import UTC, datetime

from prefect import task
from prefect.artifacts import create_markdown_artifact

from csift import cycles, registry
from csift.config import LoopConfig
from csift.corpus import last_ingest
from csift.corpus.scrub import Scrubber
from csift.db import database
from csift.drift import (
    Sample,
    TrafficRow,
    Window,
    comparable,
    drift_id,
    latest,
    monthly_level,
    read_window,
    uncompared,
    watch_samples,
)
from csift.drift import check_drift as check
from csift.feedback import RatedTraffic, rated_traffic
from csift.reports.status import drift_verdict
from csift.reports.wording import drift_sentence
from csift.schemas import AccuracyWatch, DriftReport
from csift.serving.traffic import scrubbed, served_window
from tasks.collaborators import embedder, index, store
from tasks.retrying import RETRIES


@task(name="check drift", **RETRIES)
def check_drift(cycle_id: str, config: LoopConfig) -> DriftReport:
    """Reference against current traffic; two windows that were compared before, over the same index, are not compared again."""
    with cycles.stage(database(), cycle_id, "drift") as made:
        report = compare(config)
        made.append(report.id)
    page = f" Report: `{report.html_uri}`" if report.html_uri else ""
    create_markdown_artifact(
        f"**{str(drift_verdict(report)).capitalize()}**: {drift_sentence(report)}{page}",
        key="drift",
        description="Drift of the traffic",
    )
    return report


def watch(config: LoopConfig, since: datetime | None) -> AccuracyWatch | None:
    """The champion's rated answers of this month, `since` being when it became champion, against those of before: labelled
    traffic against the reference's, and what people said of served answers against what they said earlier. None where too few
    are rated.
    """
    reference, current = read_window(config.drift.reference), _current(config)
    begin = datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    begin = max(begin, since) if since else begin
    month = [row for row in current.rows if row.at and row.at >= begin]
    samples = [Sample(reference.rows, month, self_selected=False), _feedback(config, begin)]
    return watch_samples(samples, monthly_level(config.drift.false_alarms, "accuracy"))


def _feedback(config: LoopConfig, begin: datetime) -> Sample:
    """What people said of the champion's answers since `begin`, and of any champion's before."""
    db, cap = database(), config.feedback.per_rater
    champion = registry.champion(db, config.project)
    before = rated_traffic(db, config.project, cap, datetime.min.replace(tzinfo=UTC), begin)
    now = rated_traffic(db, config.project, cap, begin, datetime.now(UTC))
    return Sample(
        reference=[_traffic(row) for row in before],
        month=[_traffic(row) for row in now if champion and row.system_id == champion.id],
        self_selected=True,
    )


def _traffic(row: RatedTraffic) -> TrafficRow:
    return TrafficRow(row.session, row.question, row.answer, row.correct, row.at)


def compare(config: LoopConfig) -> DriftReport:
    """The report of the two windows, from the registry where it is there already. People who have asked too little so far are no
    error; a file that has too little is."""
    db, now = database(), datetime.now(UTC)
    reference, current = read_window(config.drift.reference), latest(_current(config), now)
    if config.drift.current:
        comparable(current, f"the traffic until {now:%Y-%m-%d %H:%M} UTC")
    elif why := current.lacking:
        return registry.save_drift(db, config.project, uncompared(reference, current, embedder(), config.drift, why))
    else:  # what people asked was scrubbed before it was kept, and a placeholder is no drift
        scrubber = Scrubber(config.corpus.scrub, config.corpus.allow)
        reference = scrubbed(reference, lambda text: scrubber.scrub(text)[0])
    last = last_ingest(db, config.project)
    found = index(config.project, config.retrieval) if last else None  # AWS answers retrieval by the call, for money
    snapshot = last.snapshot.id if last and found else None
    known = registry.find(db, DriftReport, drift_id(reference, current, embedder(), snapshot, config.drift))
    return known or registry.save_drift(
        db, config.project, check(reference, current, embedder(), config.drift, store(), found, snapshot)
    )


def _current(config: LoopConfig) -> Window:
    """The traffic of the file that the configuration names; of `csift serve` where it names none."""
    return read_window(config.drift.current) if config.drift.current else served_window(database(), config.project)
