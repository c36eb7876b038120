"""Turns of the loop as they are recorded, also when they are cut off."""

from datetime import UTC, datetime, timedelta

import pytest

from csift import cycles
from csift.db import Database
from csift.exceptions import GateError
from csift.schemas import Cost, CycleState, StageRun

NIGHT = datetime(2026, 11, 20, 2, tzinfo=UTC)


def stages(db: Database, id_: str) -> list[tuple[str, str, str | None]]:
    return [(stage.stage, stage.state, stage.record_id) for stage in cycles.load(db, id_).stages]


def test_a_cycle_is_named_by_its_project_trigger_and_time(db: Database, project: str) -> None:
    ids = {
        cycles.begin(db, project, "schedule", NIGHT),
        cycles.begin(db, project, "manual", NIGHT),
        cycles.begin(db, project, "schedule", NIGHT + timedelta(milliseconds=1)),
        cycles.begin(db, project + "-b", "schedule", NIGHT),
    }
    assert len(ids) == 4
    assert cycles.begin(db, project, "schedule", NIGHT) in ids


def test_a_fresh_cycle_runs_and_costs_nothing(db: Database, project: str) -> None:
    cycle = cycles.load(db, cycles.begin(db, project, "schedule", NIGHT))
    assert (cycle.project, cycle.trigger, cycle.scheduled_at, cycle.state) == (project, "schedule", NIGHT, CycleState.RUNNING)
    assert (cycle.stages, cycle.cost, cycle.reason, cycle.decision_id) == ((), Cost(), "", None)


def test_stages_are_recorded_in_order_with_what_they_made(db: Database, project: str) -> None:
    id_ = cycles.begin(db, project, "manual", NIGHT)
    with cycles.stage(db, id_, "zeta") as made:
        assert stages(db, id_) == [("zeta", "running", None)]
        made.append("record-1")
    with cycles.stage(db, id_, "alpha"):
        pass
    assert stages(db, id_) == [("zeta", "completed", "record-1"), ("alpha", "completed", None)]
    assert all(0 <= stage.seconds < 60 for stage in cycles.load(db, id_).stages)


@pytest.mark.parametrize(
    ("error", "state"),
    [(ValueError("broken"), "failed"), (SystemExit(1), "failed"), (KeyboardInterrupt(), "interrupted")],
)
def test_a_stage_shows_how_it_ended_and_lets_the_error_through(
    error: BaseException, state: str, db: Database, project: str
) -> None:
    id_ = cycles.begin(db, project, "manual", NIGHT)
    with pytest.raises(type(error)), cycles.stage(db, id_, "train") as made:
        made.append("half")
        raise error
    assert stages(db, id_) == [("train", state, None)]
    with cycles.stage(db, id_, "train") as made:
        made.append("whole")
    assert stages(db, id_) == [("train", "completed", "whole")]


def test_a_cycle_that_was_killed_is_marked_when_the_next_one_begins(db: Database, project: str) -> None:
    killed = cycles.begin(db, project, "schedule", NIGHT)
    with cycles.stage(db, killed, "drift"):
        pass
    dying = cycles.stage(db, killed, "train")
    dying.__enter__()  # and the process dies
    elsewhere = cycles.begin(db, project + "-b", "schedule", NIGHT)
    cycles.begin(db, project, "schedule", NIGHT + timedelta(days=1))
    cycle = cycles.load(db, killed)
    assert (cycle.state, cycle.reason) == (CycleState.INTERRUPTED, "the process was killed")
    assert stages(db, killed) == [("drift", "completed", None), ("train", "interrupted", None)]
    assert cycles.load(db, elsewhere).state is CycleState.RUNNING


def test_a_cycle_begun_again_keeps_its_stages(db: Database, project: str) -> None:
    id_ = cycles.begin(db, project, "schedule", NIGHT)
    with cycles.stage(db, id_, "drift") as made:
        made.append("drift-1")
    cycles.note(db, id_, state=CycleState.INTERRUPTED, reason="Ctrl-C")
    assert cycles.begin(db, project, "schedule", NIGHT) == id_
    cycle = cycles.load(db, id_)
    assert (cycle.state, cycle.reason) == (CycleState.RUNNING, "")
    assert [stage.record_id for stage in cycle.stages] == ["drift-1"]
    assert isinstance(cycle.stages[0], StageRun)


def test_a_cycle_that_did_not_start_says_why(db: Database, project: str) -> None:
    running = cycles.begin(db, project, "schedule", NIGHT)
    skipped = cycles.skip(db, project, "manual", NIGHT, "held by host pid 7")
    assert (skipped.state, skipped.reason, skipped.stages) == (CycleState.SKIPPED, "held by host pid 7", ())
    assert cycles.load(db, running).state is CycleState.RUNNING


def test_what_became_of_a_cycle_is_noted(db: Database, project: str) -> None:
    id_ = cycles.begin(db, project, "backfill", NIGHT)
    cycles.note(db, id_, fingerprint="inputs-1", drift_id="drift-1", decision_id="decision-1", report_uri="/r.html")
    cycles.note(db, id_, state=CycleState.COMPLETED, reason="promoted")
    cycle = cycles.load(db, id_)
    assert (cycle.fingerprint, cycle.drift_id, cycle.decision_id, cycle.report_uri) == (
        "inputs-1", "drift-1", "decision-1", "/r.html",
    )  # fmt: skip
    assert (cycle.state, cycle.reason) == (CycleState.COMPLETED, "promoted")


def test_the_last_cycles_come_newest_first(db: Database, project: str) -> None:
    # Backfills are for the past: what counts is when a cycle was started.
    ids = [cycles.begin(db, project, "backfill", NIGHT - timedelta(days=day)) for day in range(4)]
    assert [cycle.id for cycle in cycles.recent(db, project, 3)] == ids[:0:-1]
    assert cycles.recent(db, project + "-b", 3) == []


def test_the_last_decided_cycle_is_one_that_trained(db: Database, project: str) -> None:
    assert cycles.last_decided(db, project) is None
    decided = cycles.begin(db, project, "schedule", NIGHT)
    cycles.note(db, decided, state=CycleState.COMPLETED, decision_id="decision-1")
    others: list[dict[str, str | None]] = [
        {"state": CycleState.NOTHING_NEW},
        {"state": CycleState.FAILED, "decision_id": "decision-2"},
        {"state": CycleState.COMPLETED},
    ]
    for day, columns in enumerate(others, 1):
        cycles.note(db, cycles.begin(db, project, "schedule", NIGHT + timedelta(days=day)), **columns)
    last = cycles.last_decided(db, project)
    assert last is not None
    assert last.id == decided


def test_a_cycle_that_does_not_exist_is_an_error(db: Database) -> None:
    with pytest.raises(GateError, match="there is no cycle nothing; see `csift status`"):
        cycles.load(db, "nothing")
