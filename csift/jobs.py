"""Work that is asked for in one place and done by a worker in another, each job by one holder at a time.

The asker enqueues a job and waits; a worker takes it, and while it works a thread writes a heartbeat by the database's clock.
When the heartbeat is older than `LOST` seconds, the next worker takes the job with a higher token (Kleppmann, How to do
distributed locking, 2016: fencing tokens). A lock of Postgres, as csift.leases has it, would not be enough: a process that is
stopped keeps its connection, and with it the lock. When such a worker comes back it is stopped in three places:

- its files: all that a holder writes goes under `Held.key`, which no other holder has. What is under such a key counts only
  when a row names it.
- its rows: they are written by `Held.finish`, or after `Held.check` in the same transaction, which lets only the present token
  through.
- its time: the heartbeat finds the other token, sets `Held.lost`, and the next `Held.progress` ends the work.

Not covered: a worker whose machine cannot reach Postgres works on to its end and is refused there.
"""

import select
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from enum import StrEnum
from threading import Event, Thread
from types import TracebackType
from typing import Any, Self

import psycopg2
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from csift.db.connection import CUT, Database
from csift.db.jobs import JobRow
from csift.exceptions import CsiftError, DatabaseError, TrainingError
from csift.interfaces import Progress

LOST = 30.0  # seconds without a heartbeat after which a job may be taken from its holder
BEATS = 6  # heartbeats in that time
PROGRESS_SECONDS = 1.0  # progress is written at most this often
MAX_ATTEMPTS = 5  # workers that may die of a job
CHANNEL = "csift_jobs"
RING = sa.text(f"SELECT pg_notify('{CHANNEL}', :id)")  # wakes those in `listening` when the transaction is committed
CLOCK = sa.func.clock_timestamp()  # not now(), which is when the transaction began
_BLANK: dict[str, Any] = {"holder": None, "heartbeat_at": None, "progress": sa.null(), "error": None, "finished_at": None}


class JobState(StrEnum):
    """Where a job stands."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True)
class Stand:
    """How far a holder has come, in the words of csift.interfaces.Progress."""

    stage: str
    done: int
    total: int
    note: str


@dataclass(frozen=True)
class Job:
    """A job as it was when it was read; `silent` is the seconds since its holder's last heartbeat, None when there was none."""

    id: str
    kind: str
    spec: Mapping[str, Any]
    state: JobState
    holder: str | None
    token: int
    attempts: int
    silent: float | None
    progress: Stand | None
    result: Mapping[str, Any] | None
    error: str | None


# --- the asker ------------------------------------------------------------------------------------------------------------


def enqueue(db: Database, id_: str, kind: str, spec: Mapping[str, Any]) -> Job:
    """Asks for a job. `id_` is a hash of what is to be done, so that asking again gives the same job; only one that failed is
    queued again, with the new `spec`."""
    fresh: dict[str, Any] = {"spec": dict(spec), "state": JobState.QUEUED, "attempts": 0}
    with _locking(db) as session:
        session.execute(
            insert(JobRow)
            .values(id=id_, kind=kind, token=0, **fresh)
            .on_conflict_do_update(index_elements=[JobRow.id], set_=fresh | _BLANK, where=JobRow.state == JobState.FAILED)
        )
        session.execute(RING, {"id": id_})
        return _read(session, id_)


def again(db: Database, id_: str) -> None:
    """Queues a job that is done once more: what it made is gone."""
    with _locking(db) as session:
        _write(session, id_, JobRow.state == JobState.DONE, state=JobState.QUEUED, attempts=0, **_BLANK)


def load(db: Database, id_: str) -> Job:
    """The job as it stands. Raises TrainingError when there is none of that id."""
    with db.session() as session:
        return _read(session, id_)


def wait(db: Database, id_: str, progress: Progress, look: Callable[[Job], object]) -> Mapping[str, Any]:
    """The job's result, once it is there.

    `progress` gets whatever the holder reports. `look` is called with the job while it is not finished and returns when it is
    time to look again: see `listening`. Whoever starts workers on demand starts another one there when `Job.silent` is above
    `LOST`.

    Raises:
        TrainingError: the job failed; the message is the worker's, with the job and the worker.
    """
    told: Stand | None = None
    while True:
        job = load(db, id_)
        if job.progress is not None and job.progress != told:
            told = job.progress
            progress(told.stage, told.done, told.total, told.note)
        if job.state is JobState.FAILED:
            raise TrainingError(f"{job.error} (job {id_}, {job.holder})")
        if job.state is JobState.DONE and job.result is not None:
            return job.result
        look(job)


@contextmanager
def listening(db: Database) -> Iterator[Callable[[float], bool]]:
    """Gives a function that waits until any job changes, at most so many seconds, and says whether one did.

    A change between two calls is not missed. It raises DatabaseError when the connection ends.
    """
    pooled = db.engine.raw_connection()
    raw: Any = pooled.dbapi_connection
    pooled.detach()  # a connection that listens does not go back among the pooled ones
    with closing(raw):
        raw.autocommit = True
        with raw.cursor() as cursor:
            cursor.execute(f"LISTEN {CHANNEL}")

        def heard(seconds: float) -> bool:
            try:
                if not raw.notifies:
                    select.select([raw], [], [], seconds)
                    raw.poll()
            except psycopg2.Error as error:
                first = (str(error).strip() or type(error).__name__).splitlines()[0]
                raise DatabaseError(f"Postgres went away while a job was waited for: {first}; run again to go on") from None
            changed = bool(raw.notifies)
            raw.notifies.clear()
            return changed

        yield heard


def of_project(db: Database, project: str) -> list[Job]:
    """The jobs of a project (`spec["project"]`) that are queued or running, the oldest first."""
    open_ = JobRow.state.in_([JobState.QUEUED, JobState.RUNNING])
    with db.session() as session:
        return _jobs(session, JobRow.spec["project"].as_string() == project, open_)


# --- the worker -----------------------------------------------------------------------------------------------------------


class Held:
    """A job that this worker has taken. As a context manager it keeps the heartbeat going.

    A block that ends in an error, or without `finish`, fails the job; one that is interrupted (Ctrl-C, SystemExit, a cancelled
    run) puts it back into the queue, and the attempt does not count. One whom Postgres left puts it back too.
    """

    def __init__(self, db: Database, job: Job, lost_after: float = LOST) -> None:
        self.job = job
        self.lost = Event()  # another worker has the job, so that going on is to no purpose
        self._db = db
        self._lost_after = lost_after
        self._stand = job.progress
        self._left = Event()
        self._heart = Thread(target=self._keep, name=f"heartbeat of {job.id}", daemon=True)

    @property
    def key(self) -> str:
        """A name for this holder's files (checkpoints, artifacts) under which no other holder writes: `<job>.<token>`."""
        return f"{self.job.id}.{self.job.token}"

    @property
    def earlier_keys(self) -> list[str]:
        """The keys of those who held the job before, the last first: where to look for a checkpoint to go on from."""
        return [f"{self.job.id}.{token}" for token in range(self.job.token - 1, 0, -1)]

    def progress(self, stage: str, done: int, total: int, note: str = "") -> None:
        """A csift.interfaces.Progress: kept for the asker, and written by the heartbeat's thread, at most once a second.

        Raises:
            TrainingError: another worker has the job.
        """
        if self.lost.is_set():
            raise TrainingError(_passed(load(self._db, self.job.id), self.job))
        self._stand = Stand(stage, done, total, note)

    def check(self, session: Session) -> None:
        """Locks the job's row in the caller's transaction and makes sure that it is still ours.

        Nobody can take the job until the transaction ends. Nothing slow belongs between here and there: Postgres ends it when
        it is idle for `lost_after`.

        Raises:
            TrainingError: the job passed to another worker, or is finished.
        """
        _limit_idling(session, self._lost_after)
        session.execute(sa.select(JobRow.id).where(JobRow.id == self.job.id).with_for_update())
        found = _read(session, self.job.id)
        if found.token != self.job.token:
            self.lost.set()
        if found.token != self.job.token or found.state is not JobState.RUNNING:
            raise TrainingError(_passed(found, self.job))

    def finish(self, result: Mapping[str, Any], publish: Callable[[Session], object] | None = None) -> None:
        """The job is done. What `publish` writes in the session is committed together with the result, or not at all.

        Raises:
            TrainingError: the job passed to another worker, or is finished; nothing was written.
        """
        self._end(publish, state=JobState.DONE, result=dict(result))

    def fail(self, error: str) -> None:
        """The job cannot be done; the asker is told this one line. Raises TrainingError as `finish` does."""
        self._end(None, state=JobState.FAILED, error=error)

    def __enter__(self) -> Self:
        self._heart.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._left.set()
        self._heart.join()
        if isinstance(error, (*CUT, DatabaseError)):  # no fault of the job: whoever takes it goes on from its checkpoint
            self._let_go(state=JobState.QUEUED, holder=None, heartbeat_at=None)
        elif error is None or isinstance(error, Exception):
            told = _one_line(error) if error else "the worker ended without a result; see its log"
            self._let_go(state=JobState.FAILED, error=told, finished_at=CLOCK)
        else:
            self._let_go(state=JobState.QUEUED, holder=None, heartbeat_at=None, attempts=JobRow.attempts - 1)

    def _end(self, publish: Callable[[Session], object] | None, **columns: Any) -> None:
        try:
            with self._db.session() as session:
                self.check(session)
                if publish is not None:
                    publish(session)
                self._write(session, finished_at=CLOCK, **columns)
        except CUT as error:
            now = load(self._db, self.job.id)
            if now.token == self.job.token:
                raise
            self.lost.set()
            raise TrainingError(_passed(now, self.job)) from error

    def _let_go(self, **columns: Any) -> None:
        """Nothing when the job is finished, or another worker's."""
        with _locking(self._db) as session:
            self._write(session, JobRow.state == JobState.RUNNING, **columns)

    def _keep(self) -> None:
        """The heartbeat's thread, on a connection of its own: neither the work nor a pool that is used up delays it."""
        own, every = Database(self._db.url), self._lost_after / BEATS
        written, due = self._stand, 0.0
        try:
            while not self._left.wait(min(every, PROGRESS_SECONDS)):
                stand = self._stand
                if stand is written and time.monotonic() < due:
                    continue
                try:
                    with _locking(own) as session:
                        if not self._write(session, heartbeat_at=CLOCK):
                            return
                except CUT:
                    # Postgres restarts or the network is cut: the work goes on, and `check` decides whether it still counts.
                    continue
                written, due = stand, time.monotonic() + every
        finally:
            own.close()
            if not self._left.is_set():  # overtaken, or without a heartbeat for another reason
                self.lost.set()

    def _write(self, session: Session, *where: sa.ColumnElement[bool], **columns: Any) -> bool:
        """Whether the row was ours to write."""
        if self._stand is not None:
            columns["progress"] = asdict(self._stand)
        return _write(session, self.job.id, JobRow.token == self.job.token, *where, **columns)


def take(db: Database, id_: str, holder: str, lost_after: float = LOST) -> Held | None:
    """Takes the job if it is queued, or if its holder's last heartbeat is more than `lost_after` seconds ago; else None.

    `holder` names the worker for people (csift.leases.holder_name). A job that `MAX_ATTEMPTS` workers died of fails instead.

    Raises:
        TrainingError: there is no such job.
    """
    load(db, id_)
    return _take(db, JobRow.id == id_, holder, lost_after)


def take_next(db: Database, kind: str, holder: str, lost_after: float = LOST) -> Held | None:
    """Takes the oldest job of a kind that `take` would take, or None."""
    return _take(db, JobRow.kind == kind, holder, lost_after)


def _take(db: Database, which: sa.ColumnElement[bool], holder: str, lost_after: float) -> Held | None:
    silent = JobRow.heartbeat_at < CLOCK - sa.func.make_interval(0, 0, 0, 0, 0, 0, lost_after)
    free = (JobRow.state == JobState.QUEUED) | ((JobRow.state == JobState.RUNNING) & silent)
    first = sa.select(JobRow).where(which, free).order_by(JobRow.created_at, JobRow.id).limit(1)
    while True:
        with _locking(db) as session:
            found = session.scalar(first.with_for_update(skip_locked=True))
            if found is None:
                return None
            passed = {"token": found.token + 1}  # its holder, if it has one, is fenced out
            if found.attempts < MAX_ATTEMPTS:
                taken = {"state": JobState.RUNNING, "holder": holder, "heartbeat_at": CLOCK, "attempts": found.attempts + 1}
                _write(session, found.id, **passed, **taken)
                return Held(db, _read(session, found.id), lost_after)
            error = (
                f"{found.attempts} workers took this job and died, the last was {found.holder}; "
                "see their machines for memory and disk, then run again"
            )
            _write(session, found.id, **passed, state=JobState.FAILED, error=error, finished_at=CLOCK)


# --- rows -----------------------------------------------------------------------------------------------------------------


@contextmanager
def _locking(db: Database) -> Iterator[Session]:
    """A session for a short transaction that locks a job's row."""
    with db.session() as session:
        _limit_idling(session, LOST)
        yield session


def _limit_idling(session: Session, seconds: float) -> None:
    """Postgres ends this transaction when it is idle so long: a process that is stopped in it would lock the row for good."""
    limit = str(int(seconds * 1000))
    session.execute(sa.select(sa.func.set_config("idle_in_transaction_session_timeout", limit, True)))


def _write(session: Session, id_: str, *where: sa.ColumnElement[bool], **columns: Any) -> bool:
    """Whether there was such a row."""
    change = sa.update(JobRow).where(JobRow.id == id_, *where).values(columns).returning(JobRow.id)
    written = session.scalar(change.execution_options(synchronize_session=False)) is not None
    if written:
        session.execute(RING, {"id": id_})
    return written


def _read(session: Session, id_: str) -> Job:
    found = _jobs(session, JobRow.id == id_)
    if not found:
        raise TrainingError(f"there is no job {id_}; it was asked of another database, see CSIFT_DATABASE_URL")
    return found[0]


def _jobs(session: Session, *where: sa.ColumnElement[bool]) -> list[Job]:
    silent = sa.extract("epoch", CLOCK - JobRow.heartbeat_at).label("silent")
    rows = sa.select(JobRow.__table__, silent).where(*where).order_by(JobRow.created_at, JobRow.id)
    return [
        Job(
            id=row.id,
            kind=row.kind,
            spec=row.spec,
            state=JobState(row.state),
            holder=row.holder,
            token=row.token,
            attempts=row.attempts,
            silent=None if row.silent is None else float(row.silent),
            progress=Stand(**row.progress) if row.progress else None,
            result=row.result,
            error=row.error,
        )
        for row in session.execute(rows)
    ]


def _passed(now: Job, then: Job) -> str:
    mine = f"job {then.id} (token {then.token}, {then.holder})"
    if now.token == then.token:
        return f"{mine} is {now.state} already; nothing was published"
    return f"{mine} was silent and passed on (token {now.token}, {now.holder}, {now.state}); nothing was published by this worker"


def _one_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if isinstance(error, CsiftError) and lines else ": ".join([type(error).__name__, *lines[:1]])
