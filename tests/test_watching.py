"""Metrics and the Grafana dashboard against a real Postgres with something in every table that they read."""

import json
import re
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample
from pydantic import SecretStr
from watched import PROJECT, fill

from csift import registry
from csift.config import LoopConfig
from csift.db import Database
from csift.db.connection import open_database
from csift.db.judging import DecisionRow
from csift.leases import hold
from csift.schemas import PromotionDecision, System, Verdict
from csift.settings import Settings
from csift.telemetry.metrics import PostgresCollector, exporter

ROOT = Path(__file__).parents[1]
DASHBOARD = ROOT / "deployments" / "grafana" / "csift.json"
CONFIG = LoopConfig.model_validate({
    "project": PROJECT,
    "corpus": {"sources": [{"location": "docs"}]},
    "drift": {"reference": "r.jsonl", "current": "c.jsonl"},
    "budget": {"usd": 12.0, "tokens": 2000},
})  # fmt: skip


@pytest.fixture
def watched(empty: str, tmp_path: Path) -> Iterator[Database]:
    """A database of the test's own, with rows."""
    with closing(open_database(Settings(data_dir=tmp_path, database_url=SecretStr(empty), database_patience=0))) as opened:
        fill(opened)
        yield opened


@contextmanager
def exporting(db: Database, config: LoopConfig | None = None) -> Iterator[str]:
    """The exporter on a port of its own."""
    server = exporter(PostgresCollector(db, config), "127.0.0.1", 0)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/metrics"
    finally:
        server.shutdown()
        server.server_close()


def scrape(url: str) -> list[Sample]:
    """What Prometheus reads."""
    with urllib.request.urlopen(url, timeout=30) as answer:
        return [sample for family in text_string_to_metric_families(answer.read().decode()) for sample in family.samples]


def test_every_figure_is_exported_as_it_stands_in_postgres(watched: Database) -> None:
    with exporting(watched, CONFIG) as url:
        samples = scrape(url)
    found = {(one.name, *sorted(one.labels.values())): one.value for one in samples}
    assert found["csift_cycle_state", "failed", PROJECT] == 1
    assert found["csift_cycles_total", "completed", PROJECT] == 1
    assert ("csift_stage_seconds", "drift", PROJECT) in found
    assert ("csift_stage_seconds", PROJECT, "train") not in found  # it never completed
    assert found["csift_calls_total", "openai/teach", PROJECT, "teacher"] == 2
    assert found["csift_calls_total", "rag", PROJECT, "small"] == 2  # one series, whatever the night's adapter
    assert found["csift_tokens_in_total", "openai/teach", PROJECT, "teacher"] == 11
    assert found["csift_spent_usd_total", "openai/teach", PROJECT, "teacher"] == 0.5
    assert found["csift_cycle_spent_usd", PROJECT] == 9.5
    assert found["csift_budget_left_usd", PROJECT] == 2.5
    assert found["csift_budget_left_tokens", PROJECT] == 985
    assert found["csift_rated_accuracy", PROJECT] == 0.61
    assert found["csift_drift_p_value", "questions", PROJECT] == 0.0002
    assert found["csift_jobs", "queued", "train"] == 1
    assert found["csift_evalset_decisions", PROJECT] == 1
    assert 0 < found["csift_evalset_budget_left", PROJECT] < 1
    low, mid, high = (found[f"csift_champion_accuracy{end}", PROJECT] for end in ("_low", "", "_high"))
    assert low < mid == 0.5 < high


def test_after_a_promotion_the_champions_accuracy_is_that_of_the_challenger(watched: Database) -> None:
    with watched.session() as session:
        decision = PromotionDecision.model_validate(session.scalars(sa.select(DecisionRow.record)).one())
        base, better = (
            registry.load(watched, System, id_)
            for id_ in (decision.evidence.champion_system_id, decision.evidence.challenger_system_id)
        )
        won = decision.model_copy(update={"id": "decision-won", "verdict": Verdict.PROMOTE})
    registry.save_decision(watched, won)
    with hold(watched, "cycle") as lease:
        registry.promote(watched, won, base, better, lease)
    assert won.champion_accuracy.value != won.challenger_accuracy.value
    with exporting(watched) as url:
        assert next(one.value for one in scrape(url) if one.name == "csift_champion_accuracy") == won.challenger_accuracy.value
        registry.rollback(watched, PROJECT)
        assert next(one.value for one in scrape(url) if one.name == "csift_champion_accuracy") == won.champion_accuracy.value


def test_each_documented_metric_is_exported_and_no_other(watched: Database) -> None:
    documented = set(re.findall(r"^\| `(csift_\w+)` ", (ROOT / "docs" / "operations.md").read_text(), re.MULTILINE))
    with exporting(watched, CONFIG) as url:
        assert {one.name for one in scrape(url)} == documented


def test_a_database_that_is_away_fails_the_scrape_and_the_next_one_works_again(watched: Database, db: Database) -> None:
    name = watched.url.database
    with exporting(watched) as url, db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as admin:
        assert scrape(url)
        admin.execute(sa.text(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false'))
        admin.execute(sa.text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name"), {"name": name})
        with pytest.raises(urllib.error.HTTPError) as caught:
            scrape(url)
        assert caught.value.code == 500
        told = caught.value.read()
        assert told.startswith(b"Postgres cannot be read: ")
        assert b"csift_" not in told
        admin.execute(sa.text(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true'))
        assert scrape(url)


def test_a_database_without_tables_fails_the_scrape(empty: str) -> None:
    with (
        closing(Database(sa.make_url(empty))) as bare,
        exporting(bare) as url,
        pytest.raises(urllib.error.HTTPError, match="500"),
    ):
        scrape(url)


# --- grafana --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def dashboard() -> dict[str, Any]:
    told: dict[str, Any] = json.loads(DASHBOARD.read_text())
    return told


def plain(sql: str) -> str:
    """The SQL as Grafana sends it for the last month and one project."""
    sql = re.sub(r"\$__timeFilter\(([\w.]+)\)", r"\1 BETWEEN now() - interval '31 days' AND now() + interval '1 day'", sql)
    sql = sql.replace("${project:sqlstring}", f"'{PROJECT}'")
    assert "$" not in sql.replace('"US$"', ""), sql
    return sql


def test_every_panel_shows_something(watched: Database, dashboard: dict[str, Any]) -> None:
    with watched.engine.connect() as connection:
        for panel in dashboard["panels"]:
            for target in panel["targets"]:
                found = connection.execute(sa.text(plain(target["rawSql"]).replace(":", r"\:")))
                columns, rows = list(found.keys()), found.all()
                assert rows, panel["title"]
                if target["format"] == "time_series":
                    assert columns[:2] == ["time", "metric"], panel["title"]
                    assert all(float(value) >= 0 for value in rows[0][2:]), panel["title"]
        projects = connection.execute(sa.text(dashboard["templating"]["list"][1]["query"])).scalars().all()
        assert projects == [PROJECT]


def test_panels_ask_the_chosen_postgres_and_lie_side_by_side(dashboard: dict[str, Any]) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        sources = [panel["datasource"], *(target["datasource"] for target in panel["targets"])]
        assert {source["uid"] for source in sources} == {"${datasource}"}
        place = panel["gridPos"]
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
        assert not cells & taken
        assert max(x for x, _ in cells) < 24
        taken |= cells
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    assert dashboard["templating"]["list"][0]["type"] == "datasource"
