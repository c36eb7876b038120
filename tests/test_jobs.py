"""Each job has one holder; one that fell silent is overtaken and cannot publish; the asker gets the result or the error."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import count
from threading import Barrier, Event
from typing import Any, ClassVar

import pytest
import sqlalchemy as sa
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from csift.db import Database
from csift.db.operations import TaskResultRow
from csift.exceptions import DatabaseError, TrainingError
from csift.interfaces import no_progress
from csift.jobs import LOST, MAX_ATTEMPTS, Held, Job, JobState, Stand, enqueue, listening, load, of_project, take, take_next, wait

PATIENCE = 30.0  # seconds


def until(look: Callable[[], Any], holds: Callable[[Any], bool] = bool) -> Any:
    """Looks again and again until it holds of what is seen."""
    deadline = time.monotonic() + PATIENCE
    while not holds(seen := look()):
        assert time.monotonic() < deadline, f"still {seen!r} after {PATIENCE} s"
        time.sleep(0.01)
    return seen


def silence(db: Database, id_: str, seconds: float = LOST + 1) -> None:
    """As if the holder's last heartbeat were so long ago."""
    with db.session() as session:
        session.execute(
            sa.text("UPDATE jobs SET heartbeat_at = clock_timestamp() - make_interval(secs => :s) WHERE id = :id"),
            {"s": seconds, "id": id_},
        )


def taken(db: Database, id_: str, holder: str = "a worker") -> Held:
    """A job that can be taken."""
    held = take(db, id_, holder)
    assert held is not None
    return held


@pytest.fixture
def job(db: Database, project: str) -> str:
    """A job in the queue, of a kind of its own."""
    return enqueue(db, project, project, {"steps": 3}).id


# --- the queue ------------------------------------------------------------------------------------------------------------


def test_asking_again_gives_the_same_job(db: Database, job: str) -> None:
    first = load(db, job)
    assert (first.state, first.spec, first.attempts, first.silent) == (JobState.QUEUED, {"steps": 3}, 0, None)
    held = taken(db, job)
    assert enqueue(db, job, job, {"steps": 4}).state is JobState.RUNNING
    held.finish({"adapter": "a"})
    again = enqueue(db, job, job, {"steps": 4})
    assert (again.state, again.result, again.spec) == (JobState.DONE, {"adapter": "a"}, {"steps": 3})
    assert take(db, job, "another") is None


def test_a_failed_job_is_queued_again_as_it_is_asked_for_now(db: Database, job: str) -> None:
    held = taken(db, job)
    held.progress("train", 1, 3)
    held.fail("the loss is nan")
    assert load(db, job).error == "the loss is nan"
    assert take(db, job, "another") is None
    again = enqueue(db, job, job, {"steps": 4})
    assert (again.state, again.spec, again.error, again.progress) == (JobState.QUEUED, {"steps": 4}, None, None)
    assert taken(db, job).job.token > held.job.token


def test_a_job_that_is_not_there_is_named(db: Database, project: str) -> None:
    for ask in (lambda: take(db, project, "w"), lambda: load(db, project), lambda: wait(db, project, no_progress, print)):
        with pytest.raises(TrainingError, match=f"there is no job {project}; .*CSIFT_DATABASE_URL"):
            ask()


def test_the_oldest_of_a_kind_is_next(db: Database, project: str) -> None:
    for name, kind in (("b", "x"), ("a", "x"), ("c", "y")):
        enqueue(db, f"{project}-{name}", f"{project}-{kind}", {})
    order = [take_next(db, f"{project}-x", "w") for _ in range(3)]
    assert [held and held.job.id for held in order] == [f"{project}-b", f"{project}-a", None]


def test_of_a_project_are_its_jobs_that_are_queued_or_running_the_oldest_first(db: Database, project: str) -> None:
    for name, owner in (("b", project), ("a", project), ("c", project), ("d", project), ("e", f"{project}-other")):
        enqueue(db, f"{project}-{name}", project, {"project": owner})
    enqueue(db, f"{project}-f", project, {})
    running, done = taken(db, f"{project}-a"), taken(db, f"{project}-c")
    running.progress("train", 1, 3)
    done.finish({})
    assert [(job.id, job.state) for job in of_project(db, project)] == [
        (f"{project}-b", JobState.QUEUED), (f"{project}-a", JobState.RUNNING), (f"{project}-d", JobState.QUEUED),
    ]  # fmt: skip
    assert of_project(db, "none") == []


def test_of_twenty_jobs_eight_workers_take_each_exactly_once(db: Database, project: str) -> None:
    ids = [enqueue(db, f"{project}-{i}", project, {}).id for i in range(20)]
    ready = Barrier(8)

    def work(n: int) -> list[tuple[str, int]]:
        ready.wait(PATIENCE)
        found = []
        while held := take_next(db, project, f"worker {n}"):
            found.append((held.job.id, held.job.token))
        return found

    with ThreadPoolExecutor(8) as pool:
        everything = [pair for found in pool.map(work, range(8)) for pair in found]
    # A worker that meets only locked rows goes home; what it left is taken by those who held them.
    assert sorted(everything) == sorted((id_, 1) for id_ in ids)


def test_of_many_that_want_one_job_one_gets_it(db: Database, job: str) -> None:
    ready = Barrier(8)

    def attempt(n: int) -> bool:
        ready.wait(PATIENCE)
        return take(db, job, f"worker {n}") is not None

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(attempt, range(8))) == [False] * 7 + [True]


# --- silence --------------------------------------------------------------------------------------------------------------


def test_a_job_with_a_fresh_heartbeat_is_not_taken(db: Database, job: str) -> None:
    taken(db, job)
    silence(db, job, LOST - 5)
    assert take(db, job, "another") is None
    assert take_next(db, job, "another") is None


def test_a_silent_one_is_taken_and_its_old_holder_refused(db: Database, job: str) -> None:
    old = taken(db, job, "the old one")
    silence(db, job)
    new = taken(db, job, "the new one")
    assert (new.job.token, new.job.attempts) == (old.job.token + 1, 2)
    assert (old.earlier_keys, new.earlier_keys) == ([], [old.key])
    assert new.key not in (old.key, *new.earlier_keys)
    told = (
        rf"job {job} \(token 1, the old one\) was silent and passed on \(token 2, the new one, running\); nothing was published"
    )
    with pytest.raises(TrainingError, match=told), db.session() as session:
        old.check(session)
    with pytest.raises(TrainingError, match=told):
        old.finish({"by": "old"}, lambda session: pytest.fail("it published"))
    with pytest.raises(TrainingError, match=told):
        old.fail("late")
    assert old.lost.is_set()
    with pytest.raises(TrainingError, match=told):
        old.progress("train", 1, 2)
    with db.session() as session:
        new.check(session)
    new.finish({"by": "new"})
    assert load(db, job).result == {"by": "new"}
    with pytest.raises(TrainingError, match=r"token 2, the new one, done"):
        old.finish({"by": "old"})


def test_a_job_that_workers_die_of_fails_and_names_the_last(db: Database, job: str) -> None:
    for n in range(MAX_ATTEMPTS):
        last = taken(db, job, f"worker {n}")
        silence(db, job)
    assert take(db, job, "one more") is None
    with pytest.raises(TrainingError, match=rf"{MAX_ATTEMPTS} workers took this job and died, the last was worker {n}; .* \(job"):
        wait(db, job, no_progress, lambda job: pytest.fail("it is over"))
    with pytest.raises(TrainingError, match="passed on"):
        last.finish({})
    assert enqueue(db, job, job, {}).attempts == 0
    assert taken(db, job).job.attempts == 1


def test_nobody_takes_it_while_its_holder_publishes(db: Database, job: str) -> None:
    held = taken(db, job)
    silence(db, job)
    tried: list[Held | None] = []
    held.finish({"by": "holder"}, lambda session: tried.append(take(db, job, "another")))
    assert (tried, load(db, job).result) == ([None], {"by": "holder"})


def test_a_holder_that_stands_still_while_it_publishes_loses_the_row(db: Database, job: str, project: str) -> None:
    enough = 0.2
    held = take(db, job, "the stopped one", enough)
    assert held is not None

    def publish(session: Session) -> None:
        session.add(TaskResultRow(key=project, content=b"old"))
        session.flush()
        assert until(lambda: take(db, job, "the next one", enough))  # the lock is not kept for good

    with pytest.raises(TrainingError, match=r"passed on \(token 2, the next one, running\)"):
        held.finish({}, publish)
    with db.session() as session:
        assert session.get(TaskResultRow, project) is None
    assert load(db, job).state is JobState.RUNNING


# --- the holder -----------------------------------------------------------------------------------------------------------


def test_result_and_what_is_published_with_it_are_there_together_or_not_at_all(db: Database, job: str, project: str) -> None:
    held = taken(db, job)

    def publish(session: Session) -> None:
        session.add(TaskResultRow(key=project, content=b"adapter"))

    def stumble(session: Session) -> None:
        publish(session)
        session.flush()
        raise ValueError("no such folder")

    with pytest.raises(ValueError, match="no such folder"):
        held.finish({"n": 1}, stumble)
    with db.session() as session:
        assert session.get(TaskResultRow, project) is None
    assert load(db, job).state is JobState.RUNNING
    held.finish({"n": 1}, publish)
    with db.session() as session:
        assert session.get(TaskResultRow, project) is not None
    with pytest.raises(TrainingError, match=f"job {job} .* is done already; nothing was published"):
        held.finish({"n": 2})
    assert load(db, job).result == {"n": 1}


def test_a_heartbeat_is_kept_for_the_length_of_the_block(db: Database, job: str) -> None:
    held = take(db, job, "w", 1.0)
    assert held is not None
    silence(db, job, 1000)
    with held:
        until(lambda: load(db, job).silent, lambda silent: silent < 100)
        silence(db, job, 1000)
        until(lambda: load(db, job).silent, lambda silent: silent < 100)
        held.finish({})
    silence(db, job, 1000)
    assert load(db, job).state is JobState.DONE


def test_the_heartbeat_finds_out_that_the_job_passed_on(db: Database, job: str) -> None:
    held = take(db, job, "w", 1.0)
    assert held is not None

    def overtake() -> Held | None:
        silence(db, job)  # until the next heartbeat
        return take(db, job, "another")

    with pytest.raises(TrainingError, match="passed on"), held:
        until(overtake)
        assert held.lost.wait(PATIENCE)
        held.progress("train", 1, 2)
    assert (load(db, job).state, load(db, job).holder) == (JobState.RUNNING, "another")


def waiting(db: Database) -> int | None:
    """The connection whose heartbeat waits for the job's row."""
    query = "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'UPDATE jobs SET%'"
    with db.session() as session:  # anew each time: a transaction sees the same activity all along
        pid: int | None = session.scalar(sa.text(query))
    return pid


def test_a_heartbeat_outlives_its_connection(db: Database, job: str) -> None:
    held = taken(db, job)
    with held:
        held.progress("train", 1, 3)
        with db.session() as session:
            session.execute(sa.text("SELECT id FROM jobs WHERE id = :id FOR UPDATE"), {"id": job})
            beating = until(lambda: waiting(db))
            assert session.scalar(sa.text("SELECT pg_terminate_backend(:pid)"), {"pid": beating})
            until(lambda: waiting(db), lambda pid: pid not in (None, beating))
        until(lambda: load(db, job).progress)
        assert not held.lost.is_set()
        held.finish({})


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (TrainingError("the loss is nan at step 3; lower the rate"), "the loss is nan at step 3; lower the rate"),
        (ValueError("odd\nand long"), "ValueError: odd"),
        (MemoryError(), "MemoryError"),
        (None, "the worker ended without a result; see its log"),
    ],
)
def test_a_block_that_ends_badly_fails_the_job(db: Database, job: str, error: Exception | None, told: str) -> None:
    def work() -> None:
        with taken(db, job, "gpu-1"):
            if error:
                raise error

    if error:
        with pytest.raises(type(error)):
            work()
    else:
        work()
    with pytest.raises(TrainingError) as caught:
        wait(db, job, no_progress, lambda job: pytest.fail("it is over"))
    assert str(caught.value) == f"{told} (job {job}, gpu-1)"


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
def test_an_interrupted_worker_puts_it_back_and_it_counts_as_no_attempt(
    db: Database, job: str, interrupt: type[BaseException]
) -> None:
    with pytest.raises(interrupt), taken(db, job) as held:
        held.progress("train", 2, 3)
        raise interrupt
    back = load(db, job)
    assert (back.state, back.holder, back.attempts, back.token) == (JobState.QUEUED, None, 0, 1)
    assert taken(db, job).job.progress == Stand("train", 2, 3, "")
    with pytest.raises(TrainingError, match="passed on"):
        held.finish({})


# --- the asker ------------------------------------------------------------------------------------------------------------


def test_a_worker_whom_postgres_left_puts_it_back(db: Database, job: str) -> None:
    with pytest.raises(DatabaseError), taken(db, job):
        raise DatabaseError("Postgres was away for more than 60 s")
    put_back = load(db, job)
    assert (put_back.state, put_back.holder, put_back.attempts, put_back.error) == (JobState.QUEUED, None, 1, None)
    with pytest.raises(OperationalError), taken(db, job):
        raise OperationalError("SELECT 1", None, Exception("server closed the connection unexpectedly"))
    assert load(db, job).state is JobState.QUEUED


def test_the_asker_sees_progress_and_gets_the_result(db: Database, job: str) -> None:
    shown: list[tuple[str, int, int, str]] = []
    seen: list[Job] = []
    held = take(db, job, "w", 1.0)
    assert held is not None

    def look(job: Job) -> None:
        seen.append(job)
        if len(shown) == 0:
            held.progress("cpt", 1, 4, "loss 3.2")
            until(lambda: load(db, job.id).progress)
        elif len(shown) == 1:
            held.progress("sft", 2, 4)
            held.finish({"adapter": "a"})

    with held:
        result = wait(db, job, lambda stage, done, total, note="": shown.append((stage, done, total, note)), look)
    assert result == {"adapter": "a"}
    assert shown == [("cpt", 1, 4, "loss 3.2"), ("sft", 2, 4, "")]
    assert {job.state for job in seen} == {JobState.RUNNING}


def test_the_asker_can_tell_that_nobody_works(db: Database, job: str) -> None:
    silents: list[float | None] = []

    def look(seen: Job) -> None:
        silents.append(seen.silent)
        if seen.state is JobState.QUEUED:
            taken(db, job, "one that dies")
            silence(db, job, 100)
        elif seen.silent is not None and seen.silent > LOST:
            taken(db, job, "another").finish({"by": "another"})

    assert wait(db, job, no_progress, look) == {"by": "another"}
    assert silents[0] is None
    assert 100 <= (silents[1] or 0) < 100 + PATIENCE


def test_the_asker_wakes_when_something_changes(db: Database, job: str) -> None:
    asked, heard_of = Event(), []

    with listening(db) as heard, ThreadPoolExecutor(1) as pool:

        def look(seen: Job) -> None:
            asked.set()
            heard_of.append(heard(PATIENCE))

        assert not heard(0)
        answer = pool.submit(wait, db, job, no_progress, look)
        assert asked.wait(PATIENCE)
        taken(db, job).finish({"adapter": "a"})
        assert answer.result(PATIENCE) == {"adapter": "a"}
    assert heard_of
    assert all(heard_of)


def test_a_change_between_two_looks_is_heard(db: Database, job: str) -> None:
    with listening(db) as heard:
        taken(db, job)
        assert heard(PATIENCE)
        assert not heard(0)


def test_a_listener_that_is_cut_off_says_so(db: Database) -> None:
    with listening(db) as heard:
        with db.session() as session:
            cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query = 'LISTEN csift_jobs'"
            assert session.scalar(sa.text(cut))
        with pytest.raises(DatabaseError, match=r"Postgres went away while a job was waited for: .*; run again to go on$"):
            until(lambda: heard(1.0), lambda _: False)


# --- any order ------------------------------------------------------------------------------------------------------------


class Workers(RuleBasedStateMachine):
    """Workers come, fall silent, come back and end in any order; beside the row a model of who may do what."""

    db: ClassVar[Database]
    name: ClassVar[str]
    games: ClassVar[Iterator[int]] = count()

    @initialize()
    def ask(self) -> None:
        self.id = f"{self.name}-{next(self.games)}"
        self.held: list[Held] = []
        self.published: list[int] = []
        self.state, self.silent, self.attempts = JobState.QUEUED, False, 0
        enqueue(self.db, self.id, self.name, {})

    @rule()
    def ask_again(self) -> None:
        enqueue(self.db, self.id, self.name, {})
        if self.state is JobState.FAILED:
            self.state, self.attempts = JobState.QUEUED, 0

    @rule()
    def come(self) -> None:
        got = take(self.db, self.id, f"worker {len(self.held)}")
        if self.state is JobState.QUEUED or (self.state is JobState.RUNNING and self.silent):
            if self.attempts == MAX_ATTEMPTS:
                assert got is None
                self.state = JobState.FAILED
                return
            assert got is not None
            assert all(got.job.token > other.job.token for other in self.held)
            self.held.append(got)
            self.state, self.silent, self.attempts = JobState.RUNNING, False, self.attempts + 1
        assert got is None or got is self.held[-1]

    @precondition(lambda self: self.state is JobState.RUNNING)
    @rule()
    def fall_silent(self) -> None:
        silence(self.db, self.id)
        self.silent = True

    @precondition(lambda self: self.held)
    @rule(back=st.integers(1, 3), how=st.sampled_from(["finish", "fail", "interrupt", "check"]))
    def go_on(self, back: int, how: str) -> None:
        held = self.held[-min(back, len(self.held))]
        ours = held is self.held[-1] and self.state is JobState.RUNNING
        if how == "interrupt":
            with suppress(KeyboardInterrupt), Held(self.db, held.job):
                raise KeyboardInterrupt
        elif ours:
            self.do(held, how)
        else:
            with pytest.raises(TrainingError, match="nothing was published"):
                self.do(held, how)
        if ours:
            self.attempts -= how == "interrupt"
            self.state = {"finish": JobState.DONE, "fail": JobState.FAILED, "interrupt": JobState.QUEUED}.get(how, self.state)

    def do(self, held: Held, how: str) -> None:
        """What a worker does that thinks that it holds the job."""
        if how == "finish":
            held.finish({"token": held.job.token}, lambda session: self.published.append(held.job.token))
        elif how == "fail":
            held.fail("it failed")
        else:
            with self.db.session() as session:
                held.check(session)

    @invariant()
    def the_row_is_as_the_model_says(self) -> None:
        seen = load(self.db, self.id)
        assert (seen.state, seen.attempts) == (self.state, self.attempts)
        assert len(self.published) <= 1
        assert seen.result == ({"token": self.published[0]} if self.published else None)
        if seen.state is JobState.RUNNING:
            assert seen.token == self.held[-1].job.token


def test_in_whatever_order_workers_come_and_go_one_publishes(db: Database, project: str) -> None:
    Workers.db, Workers.name = db, project
    run_state_machine_as_test(Workers, settings=settings(max_examples=25, stateful_step_count=20, deadline=None))
