"""The look between nights: a real Prefect server, real Postgres, real embeddings of short questions."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from pumps import configure, write_catalogue
from samples import sample_decision, sample_system

from csift import registry
from csift.config import LoopConfig, MonitorConfig
from csift.corpus import ingest
from csift.db import Database
from csift.db.operations import DriftReportRow
from csift.leases import hold
from csift.models import BaseModel
from csift.schemas import DriftReport, MonitorReport, System
from flows.monitor import monitor
from tasks.collaborators import index

Sent = Callable[[], list[dict[str, Any]]]
NOW = datetime.now(UTC)


@pytest.fixture
def config(tmp_path: Path, project: str, tiny_model: BaseModel) -> LoopConfig:
    write_catalogue(tmp_path)
    told = configure(tmp_path, project, tiny_model.path)
    write(told.drift.reference, asked(60, "How heavy is the pump", right=9))
    return told.model_copy(update={"drift": told.drift.model_copy(update={"current": tmp_path / "now.jsonl"})})


def asked(sessions: int, question: str, right: int) -> list[dict[str, Any]]:
    """Sessions of the last hour, `right` of ten with a right answer."""
    first = NOW - timedelta(seconds=sessions)
    return [
        {
            "session": f"{question}-{n}", "question": f"{question} {n % 7}?", "answer": f"It is {n} kg.",
            "correct": n % 10 < right, "at": (first + timedelta(seconds=n)).isoformat(),
        }
        for n in range(sessions)
    ]  # fmt: skip


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def look(config: LoopConfig) -> MonitorReport:
    return monitor(config, return_state=True).result()


def drifts(db: Database, project: str) -> int:
    with db.session() as session:
        count = sa.select(sa.func.count()).select_from(DriftReportRow).where(DriftReportRow.project == project)
        return session.scalar(count) or 0


def test_what_holds_is_kept_and_nobody_is_told(db: Database, config: LoopConfig, sent: Sent) -> None:
    write(config.drift.current, asked(60, "How heavy is the pump", right=9))
    first, second = look(config), look(config)

    assert (first.events, second.events, sent()) == ((), (), [])
    assert first.accuracy and not first.accuracy.regressed
    assert first.accuracy.before == pytest.approx(0.9)
    assert second.drift_id == first.drift_id
    assert drifts(db, config.project) == 1  # one check a day, as its level says
    assert registry.load(db, MonitorReport, first.id) == first
    assert not registry.load(db, DriftReport, first.drift_id or "").drifted


def test_worse_answers_are_told_once_with_the_numbers(config: LoopConfig, sent: Sent) -> None:
    write(config.drift.current, asked(120, "How heavy is the pump", right=3))
    first, second = look(config), look(config)

    assert (first.events, second.events) == (("csift.accuracy.regressed",), ())
    (told,) = sent()
    assert told["project"] == config.project
    assert "30.0% of 120 rated sessions" in told["numbers"] and "90.0% before" in told["numbers"]
    assert "csift rollback" in told["what_to_do"]
    assert told["link"].endswith(".html")


def test_drift_is_told_once_with_its_report(db: Database, config: LoopConfig, sent: Sent) -> None:
    write(config.drift.current, asked(60, "Do you deliver to the islands on Sundays, and what does that cost me", right=9))
    first, second = look(config), look(config)

    assert (first.events, second.events) == (("csift.drift.detected",), ())
    (told,) = sent()
    report = registry.load(db, DriftReport, first.drift_id or "")
    assert report.drifted and told["link"] == report.html_uri
    assert "questions" in told["happened"] and "120 sessions" in told["numbers"]


@pytest.mark.parametrize("rollback", [True, False])
def test_a_promotion_after_which_answers_got_worse_is_taken_back_where_the_policy_says_so(
    db: Database, config: LoopConfig, sent: Sent, rollback: bool
) -> None:
    snapshot = ingest(db, index(config.project, config.retrieval), config.project, config.corpus).snapshot
    parts = {**dict(sample_system()), "snapshot_id": snapshot.id}
    parts.pop("id")
    base, challenger = (System.of(**{**parts, "k": k}) for k in (2, 3))
    decision = sample_decision()
    evidence = decision.evidence.model_copy(update={"project": config.project, "challenger_system_id": challenger.id})
    registry.bootstrap_champion(db, config.project, base)
    registry.save_system(db, challenger)
    with hold(db, f"cycle of {config.project}") as lease:
        registry.promote(db, decision.model_copy(update={"evidence": evidence}), base, challenger, lease)
    later = datetime.now(UTC)
    rows = [
        {**row, "at": (later + timedelta(microseconds=n)).isoformat()} for n, row in enumerate(asked(120, "How heavy", right=3))
    ]
    write(config.drift.current, rows)

    seen = look(config.model_copy(update={"monitor": MonitorConfig(rollback=rollback)}))

    champion = registry.champion(db, config.project)
    assert champion and champion.id == (base.id if rollback else challenger.id)
    assert seen.champion_id == challenger.id
    assert seen.note == (f"rolled back to {base.id}" if rollback else "")
    told = next(payload for payload in sent() if payload["event"] == "csift.accuracy.regressed")
    assert ("taken back" in told["what_to_do"]) is rollback


def test_without_ratings_the_answers_are_not_judged(config: LoopConfig, sent: Sent) -> None:
    write(config.drift.current, [{**row, "correct": None} for row in asked(60, "How heavy is the pump", right=0)])
    assert look(config).accuracy is None
    assert sent() == []
