"""Prometheus metrics, read from Postgres at every scrape. Nothing is kept in between, so any number of exporters say the same.

When Postgres cannot be read the scrape fails with 500 and Prometheus sets `up` to 0; no figure is made up for what is not known.
Names and units follow prometheus.io/docs/practices/naming: times are Unix timestamps, whose age is `time() - x`. The totals of
`calls` are summed over the whole table at each scrape; scrape once a minute.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import sqlalchemy as sa
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import ThreadingWSGIServer, make_wsgi_app
from prometheus_client.registry import Collector
from sqlalchemy.exc import DBAPIError

from csift import registry
from csift.config import LoopConfig
from csift.db.connection import Database
from csift.ledger import IN_FLIGHT
from csift.promotion import left

CHAMPION = """
    WITH newest AS (SELECT DISTINCT ON (project) project, id, record FROM decisions ORDER BY project, created_at DESC),
         move AS (SELECT DISTINCT ON (project) project, decision_id FROM champion_log ORDER BY project, version DESC)
    SELECT project, (CASE WHEN move.decision_id = newest.id THEN record->'challenger_accuracy'
                     ELSE record->'champion_accuracy' END ->> '{}')::float
    FROM newest JOIN move USING (project)"""
DRIFT = """
    SELECT project, signal->>'name', (signal->>'{}')::float
    FROM (SELECT DISTINCT ON (project) project, record FROM drift_reports ORDER BY project, created_at DESC) AS newest,
         jsonb_array_elements(record->'signals') AS signal"""
# A local model's name goes on with its revision and the adapter of the night: as a label it would be a new series every night.
CALLS = f"""
    SELECT coalesce(cycles.project, ''), calls.role, split_part(calls.model, '@', 1), {{}}
    FROM calls LEFT JOIN cycles ON cycles.id = calls.cycle_id WHERE calls.outcome <> '{IN_FLIGHT}' GROUP BY 1, 2, 3"""
SPENDING = """
    SELECT project, coalesce(spending.{}, 0)
    FROM (SELECT DISTINCT ON (project) project, id FROM cycles ORDER BY project, started_at DESC) AS newest
         LEFT JOIN spending ON spending.cycle_id = newest.id"""


@dataclass(frozen=True)
class Metric:
    """A gauge, or a counter where the name ends in _total. The query gives the labels' values, then the figure."""

    name: str
    help: str
    labels: tuple[str, ...]
    query: str


METRICS = (
    Metric(
        "csift_cycle_state", "1 for the state of the newest cycle", ("project", "state"),
        "SELECT DISTINCT ON (project) project, state, 1 FROM cycles ORDER BY project, started_at DESC",
    ),
    Metric(
        "csift_cycle_started_timestamp_seconds", "When the newest cycle began", ("project",),
        "SELECT project, extract(epoch FROM max(started_at)) FROM cycles GROUP BY 1",
    ),
    Metric(
        "csift_cycle_succeeded_timestamp_seconds", "When the newest cycle that ended well began", ("project",),
        "SELECT project, extract(epoch FROM max(started_at)) FROM cycles WHERE state IN ('completed', 'nothing-new') GROUP BY 1",
    ),
    Metric(
        "csift_cycles_total", "Cycles by how they ended", ("project", "state"),
        "SELECT project, state, count(*) FROM cycles WHERE state <> 'running' GROUP BY 1, 2",
    ),
    Metric(
        "csift_stage_seconds", "Wall time of each stage when it last completed", ("project", "stage"),
        """SELECT DISTINCT ON (project, stage) project, stage, seconds FROM stages JOIN cycles ON cycles.id = stages.cycle_id
        WHERE stages.state = 'completed' ORDER BY project, stage, stages.started_at DESC""",
    ),
    Metric("csift_champion_accuracy", "The champion's accuracy on the eval set, a share", ("project",), CHAMPION.format("value")),
    Metric("csift_champion_accuracy_low", "Lower bound of its interval", ("project",), CHAMPION.format("low")),
    Metric("csift_champion_accuracy_high", "Upper bound of its interval", ("project",), CHAMPION.format("high")),
    Metric(
        "csift_champion_since_timestamp_seconds", "When the champion was last changed", ("project",),
        "SELECT project, extract(epoch FROM max(at)) FROM champion_log GROUP BY 1",
    ),
    Metric(
        "csift_rated_accuracy", "Share of right answers among those that people rated, by the newest look", ("project",),
        """SELECT DISTINCT ON (project) project, (record->'accuracy'->>'now')::float FROM monitor_reports
        WHERE jsonb_typeof(record->'accuracy') = 'object' ORDER BY project, created_at DESC""",
    ),
    Metric("csift_drift_p_value", "Of each signal of the newest check", ("project", "signal"), DRIFT.format("p_value")),
    Metric("csift_drift_level", "The p-value below which the signal drifted", ("project", "signal"), DRIFT.format("level")),
    Metric("csift_calls_total", "Model calls that ended", ("project", "role", "model"), CALLS.format("count(*)")),
    Metric("csift_tokens_in_total", "Prompt tokens of them", ("project", "role", "model"), CALLS.format("sum(tokens_in)")),
    Metric("csift_tokens_out_total", "Answer tokens of them", ("project", "role", "model"), CALLS.format("sum(tokens_out)")),
    Metric(
        "csift_spent_usd_total", "Their price in US$, where it is known", ("project", "role", "model"),
        CALLS.format("coalesce(sum(cost_usd), 0)"),
    ),
    Metric("csift_cycle_spent_usd", "US$ that the newest cycle took, or may take", ("project",), SPENDING.format("usd")),
    Metric("csift_cycle_spent_tokens", "Tokens that the newest cycle took, or may take", ("project",), SPENDING.format("tokens")),
    Metric(
        "csift_jobs", "Training jobs by where they stand", ("kind", "state"),
        "SELECT kind, state, count(*) FROM jobs GROUP BY 1, 2",
    ),
)  # fmt: skip
EVALSETS = """
    SELECT DISTINCT ON (project) project, (record->>'life')::int FROM evalsets ORDER BY project, created_at DESC"""


class PostgresCollector(Collector):
    """Reads all metrics in one read-only transaction. `config` names the project whose budget is told, too."""

    def __init__(self, db: Database, config: LoopConfig | None = None) -> None:
        self._db = db
        self._config = config

    def collect(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
        """The metrics. Raises sqlalchemy's DBAPIError when Postgres cannot be read."""
        with self._db.engine.connect() as connection:
            connection.execute(sa.text("SET TRANSACTION READ ONLY"))
            found = {metric: [tuple(row) for row in connection.execute(sa.text(metric.query))] for metric in METRICS}
            lives = [(str(project), int(life)) for project, life in connection.execute(sa.text(EVALSETS))]
        for metric, rows in found.items():
            yield _family(metric.name, metric.help, metric.labels, rows)
        histories = [(project, registry.history(self._db, project, life)) for project, life in lives]
        text = "Share of the eval set's false-promotion rate that is left"
        yield _family("csift_evalset_budget_left", text, ("project",), [(name, left(one)) for name, one in histories])
        text = "Conclusive decisions on the present eval set"
        yield _family("csift_evalset_decisions", text, ("project",), [(name, one.decisions) for name, one in histories])
        yield from self._budget({metric.name: rows for metric, rows in found.items()})

    def _budget(self, found: dict[str, list[tuple[Any, ...]]]) -> Iterator[GaugeMetricFamily]:
        if self._config is None:
            return
        project, told = self._config.project, self._config.budget
        for unit, most in (("usd", told.usd), ("tokens", told.tokens)):
            if most is not None:
                spent = dict(found[f"csift_cycle_spent_{unit}"]).get(project, 0)
                text = f"{unit} that the newest cycle may still take"
                yield _family(f"csift_budget_left_{unit}", text, ("project",), [(project, float(most) - float(spent))])


def _family(name: str, text: str, labels: tuple[str, ...], rows: Iterable[tuple[Any, ...]]) -> Any:
    kind = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
    family = kind(name, text, labels=labels)
    for *values, figure in rows:
        family.add_metric([str(value) for value in values], float(figure))
    return family


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing of each scrape."""


def exporter(collector: Collector, host: str, port: int) -> WSGIServer:
    """An HTTP server that answers each GET with the metrics; call `serve_forever` on it. Raises OSError when it cannot listen."""
    metrics = CollectorRegistry()
    metrics.register(collector)
    inner = make_wsgi_app(metrics)

    def told(environ: Any, start_response: Callable[..., Any]) -> list[bytes]:
        try:
            answer: list[bytes] = inner(environ, start_response)
            return answer
        except DBAPIError as error:
            first = str(error.orig).strip().splitlines()[0]
            start_response("500 Internal Server Error", [("Content-Type", "text/plain; charset=utf-8")])
            return [f"Postgres cannot be read: {first}\n".encode()]

    return make_server(host, port, told, ThreadingWSGIServer, _Quiet)
