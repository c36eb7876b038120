"""`csift status --watch`: what people see of a cycle that goes on, on a terminal, in a log and in a script."""

import io
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import pytest
import sqlalchemy as sa
from rich.console import Console
from samples import sample_cycle, sample_status, sample_system

from csift import cycles, jobs, overview
from csift.db import Database
from csift.exceptions import DatabaseError
from csift.jobs import LOST, Job, JobState, Stand
from csift.leases import hold, holder_name
from csift.reports import console, status_console
from csift.reports.status import Now, now_json, status_json
from csift.reports.watch import EVERY_SECONDS, Changes, facts, picture, print_watch, print_watch_json
from csift.schemas import CycleState, PartitionState, StageRun, Verdict

AT = datetime(2026, 11, 20, 2, 5, tzinfo=UTC)
RUNNER = "box pid 77 since 2026-11-20 02:00:00 UTC"


def training(done: int, holder: str | None = "gpu-1 pid 7 since 2026-11-20 02:04:00 UTC", silent: float = 2.0) -> Job:
    """A training job at a step of 60."""
    return Job(
        id="adapter-9a0364b9e99bb480",
        kind="train",
        spec={"cycle_id": "c", "project": "tarnbeck"},
        state=JobState.RUNNING if holder else JobState.QUEUED,
        holder=holder,
        token=2,
        attempts=2,
        silent=silent if holder else None,
        progress=Stand("train", done, 60, f"sft loss 0.{done}, 310 tokens/s, 1.2 min left"),
        result=None,
        error=None,
    )


def goes_on(*work: Job, seconds: float = 42.0) -> Now:
    """A cycle in its training."""
    stages = (
        StageRun(stage="drift", state="completed", seconds=3.4, record_id=None),
        StageRun(stage="train", state="running", seconds=seconds, record_id=None),
    )
    cycle = sample_cycle(CycleState.RUNNING, "").model_copy(update={"stages": stages})
    return Now(AT, "tarnbeck", sample_system(), AT, RUNNER, cycle, None, work)


def month(name: str, state: Literal["new", "partly", "done"], calls: int = 0) -> PartitionState:
    return PartitionState(id=f"partition-{name}", name=name, documents=3, state=state, calls=calls, accepted=calls // 4)


MONTHS = (month("2024-01", "done", 20), month("2024-02", "partly", 7), month("2024-03", "new"))


def later(now: Now, seconds: float) -> Now:
    return replace(now, at=now.at + timedelta(seconds=seconds))


def ended(now: Now) -> Now:
    """The same cycle, decided."""
    cycle = sample_cycle(reason="the interval contains zero")
    return replace(now, holder=None, cycle=cycle, verdict=Verdict.HOLD, jobs=())


def told(lines: list[str]) -> list[str]:
    """The lines without their times."""
    assert all(re.match(r"2026-11-20T02:\d\d:\d\dZ  ", line) for line in lines)
    return [line.split("  ", 1)[1] for line in lines]


def seen(now: Now, passed: float = 0.0, width: int = 80) -> str:
    """What stands on the terminal."""
    out = io.StringIO()
    Console(file=out, width=width, theme=console._THEME, highlight=False).print(picture(now, passed, width))
    return out.getvalue()


# --- on a terminal ----------------------------------------------------------------------------------------


def test_the_picture_has_champion_cycle_stages_and_the_training_with_its_worker() -> None:
    text = seen(goes_on(training(24)))
    for part in (
        f"Champion: {sample_system().id}, since 2026-11-20 02:05 UTC",
        "Running: manual run of 2026-11-20 02:00 UTC, by box pid 77",
        "336 model calls, $0.00",
        "24/60",
        "sft loss 0.24, 310 tokens/s, 1.2 min left",
        "on gpu-1 pid 7, attempt 2 of 5, last heartbeat 2 s ago",
        "Ctrl-C ends watching; the run goes on.",
    ):
        assert part in text
    assert re.search(r"drift +completed +3.40 s", text)
    assert re.search(r"train +running +0:42", text)


def test_seconds_go_on_between_two_looks_at_the_database() -> None:
    text = seen(goes_on(training(24)), passed=10.0)
    assert re.search(r"train +running +0:52", text)
    assert "last heartbeat 12 s ago" in text


def test_a_job_of_the_run_itself_and_one_that_waits_say_so() -> None:
    assert "in the run itself, attempt 2 of 5" in seen(goes_on(training(24, "box pid 77 since 2026-11-20 02:03:00 UTC")))
    waits = replace(training(0, None), progress=None, attempts=0)
    assert "queued, no worker has it\n" in seen(goes_on(waits))
    assert "nothing reported yet" in seen(goes_on(waits))


def test_a_worker_that_fell_silent_and_a_run_that_died_are_told() -> None:
    assert "the next worker takes it" in seen(goes_on(training(24, silent=LOST + 1)))
    dead = replace(goes_on(), holder=None)
    assert "Cut off: manual run of 2026-11-20 02:00 UTC; run it again and it continues" in seen(dead)
    assert re.search(r"train +running +0:42", seen(dead, passed=10.0))  # nobody runs it, so no time passes for it


def test_an_idle_project_shows_how_the_last_cycle_ended() -> None:
    assert "Last: manual run of 2026-11-20 02:00 UTC, HOLD: the interval contains zero" in seen(ended(goes_on()))
    nothing = replace(goes_on(), champion=None, since=None, holder=None, cycle=None)
    assert seen(nothing) == "tarnbeck\nNo champion yet\n\nCtrl-C ends watching.\n"


@pytest.mark.parametrize("width", [50, 80, 200])
def test_the_picture_fits_the_terminal(width: int) -> None:
    assert max(len(line) for line in seen(goes_on(training(24)), width=width).splitlines()) <= width


def test_a_terminal_shows_each_state_in_place_of_the_one_before() -> None:
    out = io.StringIO()
    terminal = Console(
        file=out, width=80, force_terminal=True, color_system=None, theme=console._THEME, _environ={"TERM": "xterm"}
    )
    print_watch([goes_on(training(24)), goes_on(training(25))], terminal, timer=lambda: 0.0)
    assert "24/60" in out.getvalue()
    last = out.getvalue().rsplit("\x1b[2K", 1)[1]  # after the last line that was wiped
    assert "25/60" in last
    assert "24/60" not in last


# --- in a log ---------------------------------------------------------------------------------------------


def test_the_first_state_is_told_whole_and_the_same_again_not_at_all() -> None:
    changes = Changes()
    assert told(changes(goes_on(training(24)))) == [
        f"Champion: {sample_system().id}, since 2026-11-20 02:05 UTC",
        "Running: manual run of 2026-11-20 02:00 UTC, by box pid 77",
        "drift completed after 3.40 s",
        "train running",
        "train 24/60, sft loss 0.24, 310 tokens/s, 1.2 min left; on gpu-1 pid 7, attempt 2 of 5",
    ]
    assert changes(later(goes_on(training(24, silent=9.0), seconds=99.0), 100.0)) == []


def test_progress_is_told_now_and_then_but_another_worker_and_the_end_at_once() -> None:
    changes = Changes()
    changes(goes_on(training(24)))
    assert changes(later(goes_on(training(25)), EVERY_SECONDS - 1)) == []
    assert len(changes(later(goes_on(training(26)), EVERY_SECONDS))) == 1
    assert "on gpu-2 pid 8" in changes(later(goes_on(training(26, "gpu-2 pid 8")), EVERY_SECONDS + 1))[0]
    assert "no heartbeat for over 30 s" in changes(later(goes_on(training(26, "gpu-2 pid 8", LOST + 1)), EVERY_SECONDS + 2))[0]
    assert "train 60/60" in changes(later(goes_on(training(60, "gpu-2 pid 8")), EVERY_SECONDS + 3))[0]


def test_the_end_of_a_cycle_comes_after_its_last_stage() -> None:
    changes = Changes()
    changes(goes_on(training(24)))
    lines = told(changes(later(ended(goes_on()), 1.0)))
    assert lines[-1] == "Last: manual run of 2026-11-20 02:00 UTC, HOLD: the interval contains zero"
    assert "training completed after 3 min 24 s" in lines


def test_what_workers_and_errors_say_is_one_line_without_control_codes() -> None:
    said = replace(training(24), progress=Stand("train", 24, 60, "a\x1b[2Jb\nc [red]d"))
    failed = sample_cycle(CycleState.FAILED, "no room\nfor the adapter\x07")
    for now in (goes_on(said), replace(goes_on(), cycle=failed)):
        assert not any(re.search(r"[\x00-\x1f\x7f]", fact.text) for fact in facts(now).values())
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", seen(now))


def test_a_pipe_gets_plain_lines_that_are_never_folded() -> None:
    out = io.StringIO()
    print_watch([goes_on(training(24)), later(ended(goes_on()), 1.0)], Console(file=out, width=40, theme=console._THEME))
    assert told(out.getvalue().splitlines())[4].endswith("1.2 min left; on gpu-1 pid 7, attempt 2 of 5")


# --- in a script ------------------------------------------------------------------------------------------


def test_json_is_an_object_a_line_one_a_change(capsys: pytest.CaptureFixture[str]) -> None:
    first = goes_on(training(24))
    beat = later(goes_on(training(24, silent=0.1), seconds=43.0), 1.0)
    print_watch_json([first, beat, goes_on(training(25)), ended(first)])
    lines: list[dict[str, Any]] = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["jobs"][0]["progress"]["done"] if line["jobs"] else None for line in lines] == [24, 25, None]
    job = lines[0]["jobs"][0]
    assert (job["holder"], job["here"], job["attempts"], job["silent_seconds"]) == (
        "gpu-1 pid 7 since 2026-11-20 02:04:00 UTC", False, 2, 2.0,
    )  # fmt: skip
    assert [line["cycles"][0]["state"] for line in lines] == ["running", "running", "completed"]
    assert [line["cycles"][0]["decision"] for line in lines] == [None, None, "HOLD"]


def test_a_script_reads_the_same_keys_with_watch_and_without() -> None:
    watched = now_json(goes_on(training(24)))
    once = status_json(replace(sample_status(), holder=RUNNER, jobs=(training(24),)))
    assert set(watched) - set(once) == {"at", "cut_off"}
    assert set(watched["cycles"][0]) <= set(once["cycles"][0])
    assert (watched["jobs"], watched["running"]) == (once["jobs"], once["running"])


def test_status_without_watch_shows_the_training_too() -> None:
    out = io.StringIO()
    status = replace(sample_status(), holder=RUNNER, jobs=(training(24),))
    status_console.print_status(status, Console(file=out, width=200, theme=console._THEME))
    assert "train 24/60, sft loss 0.24, 310 tokens/s, 1.2 min left; on gpu-1 pid 7, attempt 2 of 5\n" in out.getvalue()


# --- from the database ------------------------------------------------------------------------------------


@pytest.fixture
def running(db: Database, project: str) -> Iterator[str]:
    """A cycle of the project whose training goes on in this process; gives its id."""
    with hold(db, f"cycle of {project}"):
        id_ = cycles.begin(db, project, "manual", AT)
        with cycles.stage(db, id_, "train"):
            yield id_


def test_the_cycle_that_goes_on_is_read_with_the_seconds_of_its_stage(db: Database, project: str, running: str) -> None:
    with db.session() as session:
        earlier = sa.text("UPDATE stages SET started_at = now() - make_interval(secs => 90) WHERE cycle_id = :id")
        session.execute(earlier, {"id": running})
    cycles.skip(db, project, "schedule", AT + timedelta(minutes=1), "another one goes on")
    now = overview.read_now(db, project)
    assert now.cycle is not None
    assert (now.cycle.id, now.cut_off, now.holder is not None) == (running, False, True)
    assert now.cycle.stages[0].seconds >= 90


def test_a_cycle_that_nobody_runs_is_cut_off(db: Database, project: str) -> None:
    id_ = cycles.begin(db, project, "manual", AT)
    assert overview.read_now(db, project).cut_off
    cycles.note(db, id_, state=CycleState.FAILED, reason="no room")
    assert not overview.read_now(db, project).cut_off


def test_a_project_without_anything_is_read(db: Database, project: str) -> None:
    now = overview.read_now(db, project)
    assert (now.champion, now.cycle, now.holder, now.jobs) == (None, None, None, ())


def test_the_jobs_of_a_project_are_in_its_status(db: Database, project: str, running: str) -> None:
    jobs.enqueue(db, project, "train", {"project": project, "cycle_id": running})
    held = jobs.take(db, project, holder_name())
    assert held is not None
    now, status = overview.read_now(db, project), overview.read_status(db, project)
    assert [job.id for job in now.jobs] == [job.id for job in status.jobs] == [project]
    assert status_json(status)["jobs"][0]["here"] is True
    assert status_json(status)["jobs"][0]["cycle"] == running
    held.finish({})
    assert overview.read_now(db, project).jobs == ()


def test_watching_sees_a_job_change(db: Database, project: str, running: str) -> None:
    states = overview.watch(db, project)
    assert next(states).jobs == ()
    jobs.enqueue(db, project, "train", {"project": project, "cycle_id": running})
    assert [job.state for job in next(states).jobs] == [JobState.QUEUED]


@pytest.mark.parametrize("which", ["query = 'LISTEN csift_jobs'", "application_name = 'csift'"])
def test_a_database_that_goes_away_is_one_line(db: Database, project: str, which: str) -> None:
    other = Database(db.url)
    states = overview.watch(other, project)
    next(states)
    cut = f"SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE {which} AND pid <> pg_backend_pid()"
    with db.session() as session:
        assert session.scalar(sa.text(cut))
    with pytest.raises(DatabaseError, match=r"^Postgres went away while [^\n]+; [^\n]*again[^\n]*$"):
        for _ in states:
            pass
    other.close()
    db.close()  # its other connections were ended as well


# --- the command ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "first"),
    [("--json", lambda line: json.loads(line)["champion"] is None), (None, lambda line: line.endswith("No champion yet\n"))],
)
def test_ctrl_c_ends_watching_with_exit_code_0(
    db: Database, project: str, tmp_path: Path, option: str | None, first: Callable[[str], bool]
) -> None:
    (tmp_path / "csift.toml").write_text(
        f'project = "{project}"\n[corpus]\nsources = [{{ location = "docs" }}]\nquestions = ["labels.jsonl"]\n'
        '[drift]\nreference = "traffic.jsonl"\ncurrent = "traffic.jsonl"\n'
    )
    command = [sys.executable, "-m", "flows.cli", "status", "--watch", *([option] if option else [])]
    with subprocess.Popen(
        command, cwd=tmp_path, env=dict(os.environ), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as watching:
        assert watching.stdout is not None
        assert watching.stderr is not None
        assert first(watching.stdout.readline())
        watching.send_signal(signal.SIGINT)
        assert watching.wait(60) == 0
        assert (watching.stdout.read(), watching.stderr.read()) == ("", "")


def test_the_partitions_of_a_backfill_are_told_as_they_come_to_be_done() -> None:
    changes = Changes()
    start = replace(goes_on(), partitions=MONTHS)
    assert [line for line in told(changes(start)) if "partition" in line] == [
        "partition 2024-01 done, 5 accepted",
        "partition 2024-02 partly, 7 calls",
        "partition 2024-03 new, 0 calls",
    ]
    soon = later(replace(start, partitions=(MONTHS[0], month("2024-02", "done", 24), month("2024-03", "partly", 1))), 1)
    assert told(changes(soon)) == ["partition 2024-02 done, 6 accepted", "partition 2024-03 partly, 1 call"]
    assert now_json(soon)["cycles"][0]["partitions"][2]["state"] == "partly"


def test_the_picture_counts_partitions_and_names_those_in_work() -> None:
    out = io.StringIO()
    Console(file=out, width=80, theme=console._THEME).print(picture(replace(goes_on(), partitions=MONTHS), 0.0))
    text = out.getvalue()
    assert "3 partitions: 1 done, 1 partly, 1 new" in text
    assert "partition 2024-02 partly, 7 calls" in text
    assert "2024-01" not in text


def test_status_shows_the_partitions_of_the_last_backfill(capsys: pytest.CaptureFixture[str]) -> None:
    status = sample_status()
    status = replace(status, cycles=tuple(replace(past, partitions=MONTHS) for past in status.cycles))
    status_console.print_status(status)
    text = capsys.readouterr().out
    assert "3 partitions: 1 done, 1 partly, 1 new" in text
    assert re.search(r"2024-02 +3 +7 +partly", text)
    assert status_json(status)["cycles"][0]["partitions"][0]["accepted"] == 5
