"""One holder at a time, named; freed when its process is gone; a holder that was overtaken cannot publish."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from threading import Barrier

import pytest
import sqlalchemy as sa

from csift import cycles
from csift.db import Database
from csift.exceptions import CycleRunning, GateError
from csift.leases import Lease, hold, holder

HOLD = """
import sys
from sqlalchemy.engine import make_url
from csift.db import Database
from csift.leases import hold
with hold(Database(make_url(sys.argv[1])), sys.argv[2]) as lease:
    print(lease.token, flush=True)
    sys.stdin.read()
"""


def test_a_second_holder_is_refused_and_told_who_holds_it(db: Database, project: str) -> None:
    with hold(db, project):
        with (
            pytest.raises(CycleRunning, match=rf"{project} is already running: held by .+ pid {os.getpid()} since .* UTC"),
            hold(db, project),
        ):
            pytest.fail("held twice")
        # Being refused frees nothing.
        with pytest.raises(CycleRunning), hold(db, project):
            pytest.fail("held twice")
        with hold(db, project + "-b"):
            pass


def test_it_is_free_after_the_block_however_it_ends(db: Database, project: str) -> None:
    for error in (None, ValueError, KeyboardInterrupt):
        with suppress(ValueError, KeyboardInterrupt), hold(db, project):
            if error:
                raise error
        assert holder(db, project) is None
    with hold(db, project) as lease:
        assert lease.token == 4


def test_people_can_ask_who_holds_it(db: Database, project: str) -> None:
    assert holder(db, project) is None
    with hold(db, project):
        assert f"pid {os.getpid()} since" in str(holder(db, project))
    assert holder(db, project) is None


def test_of_many_that_start_together_one_gets_it(db: Database, project: str) -> None:
    ready, done = Barrier(6), Barrier(6)

    def attempt(_: int) -> bool:
        ready.wait(20)
        try:
            with hold(db, project):
                done.wait(20)
                return True
        except CycleRunning:
            done.wait(20)
            return False

    with ThreadPoolExecutor(6) as pool:
        assert sorted(pool.map(attempt, range(6))) == [False] * 5 + [True]


def test_a_holder_that_was_overtaken_cannot_publish(db: Database, project: str) -> None:
    with hold(db, project) as stale, db.session() as session:
        stale.check(session)
    with hold(db, project) as fresh:
        assert fresh.token > stale.token
        with (
            pytest.raises(GateError, match=rf"the lease {project} passed to another run.*nothing was published"),
            db.session() as session,
        ):
            stale.check(session)
        with db.session() as session:
            fresh.check(session)


def cut(db: Database, name: str) -> None:
    """Ends the session that holds the lease, as a restart of Postgres does."""
    kill = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted"
    with db.session() as session:
        session.execute(
            sa.text(f"{kill} AND (classid::bigint << 32 | objid::bigint) = hashtextextended(:name, 0)"), {"name": name}
        )


def awaited(holds: Callable[[], object]) -> None:
    """Looks again and again until it holds."""
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_lock_that_ended_with_its_connection_is_taken_again(db: Database, project: str) -> None:
    with hold(db, project) as lease:
        cut(db, project)
        awaited(lambda: holder(db, project) is None)
        awaited(lambda: holder(db, project))
        assert str(os.getpid()) in str(holder(db, project))
        with db.session() as session:
            lease.check(session)
        with pytest.raises(CycleRunning), hold(db, project):
            pytest.fail("held twice")
    assert holder(db, project) is None


def test_one_that_another_took_meanwhile_is_lost_and_its_cycle_begins_no_stage(db: Database, project: str) -> None:
    night = datetime(2026, 11, 20, 2, tzinfo=UTC)

    def overtaken() -> bool:
        cut(db, project)
        with suppress(CycleRunning), hold(db, project):  # else the first was quicker to take it again
            cycles.begin(db, project, "manual", night + timedelta(hours=1))
            return True
        return False

    with hold(db, project) as stale:
        id_ = cycles.begin(db, project, "schedule", night)
        awaited(overtaken)
        with pytest.raises(GateError, match="nothing was published"), db.session() as session:
            stale.check(session)
        with (
            pytest.raises(GateError, match=f"another run took over from {id_}.* stops before train"),
            cycles.stage(db, id_, "train"),
        ):
            pytest.fail("trained")
    assert holder(db, project) is None


def test_a_lease_that_nobody_took_is_refused(db: Database, project: str) -> None:
    with pytest.raises(GateError), db.session() as session:
        Lease(project, 1).check(session)


@pytest.fixture
def other(db: Database, project: str) -> Iterator["subprocess.Popen[str]"]:
    """Another process that holds the lease."""
    url = db.url.render_as_string(hide_password=False)
    command = [sys.executable, "-c", HOLD, url, project]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "1\n"
        yield process
        process.kill()


@pytest.mark.slow
def test_kill_9_of_the_holder_frees_it(db: Database, project: str, other: "subprocess.Popen[str]") -> None:
    with pytest.raises(CycleRunning, match=f"pid {other.pid}"), hold(db, project):
        pytest.fail("held twice")
    other.send_signal(signal.SIGKILL)
    other.wait(20)
    until = time.monotonic() + 20
    while holder(db, project) is not None:  # Postgres notices the closed socket at once, but not before we can ask
        assert time.monotonic() < until
    with hold(db, project) as lease:
        assert lease.token == 2
