"""One cycle per project at a time, by Postgres's own lock, with a fencing token for whatever the holder publishes.

The lock is a session-level advisory lock on a connection of its own: Postgres frees it the moment the holder's process or
machine is gone (TCP keepalives, csift.db.connection), so that after a kill -9 the next run starts at once, and no clock is
compared. The row in `leases` names the holder for people. Its token grows with each holder; a holder that lost its connection
is refused when it publishes (`Lease.check`), because a later holder has a higher token.

When Postgres restarts the lock ends with its connection. A thread of the holder looks after it and takes it again, if nobody
took it meanwhile; csift.cycles refuses a stage of a cycle that another run has put an end to.
"""

import logging
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from threading import Event, Thread

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from csift.db.base import now
from csift.db.connection import CUT, Database
from csift.db.operations import LeaseRow
from csift.exceptions import CycleRunning, GateError

LOOK = 1.0  # seconds between two looks of the holder at its lock
TRY = sa.text("SELECT pg_try_advisory_lock(hashtextextended(:name, 0))")
FREE = sa.text("SELECT pg_advisory_unlock(hashtextextended(:name, 0))")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Lease:
    """A held lease."""

    name: str
    token: int

    def check(self, session: Session) -> None:
        """Locks the lease's row in the caller's transaction and makes sure that it is still ours.

        Raises:
            GateError: a later holder has taken the lease.
        """
        token = session.scalar(sa.select(LeaseRow.token).where(LeaseRow.name == self.name).with_for_update())
        if token != self.token:
            raise GateError(f"the lease {self.name} passed to another run while this one was cut off; nothing was published")


def cycle_lease(project: str) -> str:
    """The lease under which a project's records and champion change."""
    return f"cycle of {project}"


def holder_name() -> str:
    """Host, process and start time of this process, for people."""
    return f"{socket.gethostname()} pid {os.getpid()} since {now():%Y-%m-%d %H:%M:%S} UTC"


def holder(db: Database, name: str) -> str | None:
    """Who holds the lease at this moment, or None."""
    held = sa.text(
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted"
        " AND (classid::bigint << 32 | objid::bigint) = hashtextextended(:name, 0)"
    )
    with db.session() as session:
        if not session.scalar(held, {"name": name}):
            return None
        return session.scalar(sa.select(LeaseRow.holder).where(LeaseRow.name == name))


@contextmanager
def hold(db: Database, name: str) -> Iterator[Lease]:
    """Holds the lease for the length of the block.

    Raises:
        CycleRunning: somebody else holds it; the message names the holder.
    """
    connection = _lock(db, name)
    if connection is None:
        raise _running(db, name)
    try:
        lease = Lease(name, _sign(connection, name))
    except BaseException:
        _unlock(connection, name)
        raise
    with _Keeper(db, lease, connection):
        yield lease


@contextmanager
def hold_all(db: Database, names: Sequence[str]) -> Iterator[list[Lease]]:
    """Holds several leases on one connection, all of them or none, for what is short: after a restart of Postgres nobody takes
    them again. Raises CycleRunning as `hold` does.
    """
    with db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        locked: list[str] = []
        try:
            for name in names:
                if not connection.scalar(TRY, {"name": name}):
                    raise _running(db, name)
                locked.append(name)
            yield [Lease(name, _sign(connection, name)) for name in names]
        finally:
            with suppress(*CUT):
                for name in locked:
                    connection.scalar(FREE, {"name": name})


def _running(db: Database, name: str) -> CycleRunning:
    with db.session() as session:
        held_by = session.scalar(sa.select(LeaseRow.holder).where(LeaseRow.name == name))
    return CycleRunning(f"{name} is already running: held by {held_by or 'a run that just started'}; wait for it to end")


def _sign(connection: sa.Connection, name: str) -> int:
    """Writes this process down as the holder; returns its token."""
    fresh = insert(LeaseRow).values(name=name, holder=holder_name(), token=1, acquired_at=now())
    taken = fresh.on_conflict_do_update(
        index_elements=[LeaseRow.name],
        set_={"holder": fresh.excluded.holder, "token": LeaseRow.token + 1, "acquired_at": fresh.excluded.acquired_at},
    ).returning(LeaseRow.token)
    return connection.scalar(taken) or 0


def _lock(db: Database, name: str) -> sa.Connection | None:
    """The connection that has the lock from now on, or None when another has it."""
    connection = db.engine.connect().execution_options(isolation_level="AUTOCOMMIT")
    if connection.scalar(TRY, {"name": name}):
        return connection
    connection.close()
    return None


def _unlock(connection: sa.Connection, name: str) -> None:
    """Frees the lock and gives the connection back; of a connection that was cut the lock is free already."""
    with suppress(*CUT):
        connection.scalar(FREE, {"name": name})
    connection.close()


class _Keeper:
    """Looks after the lock of a lease for the length of the block, from a thread which alone uses the connection."""

    def __init__(self, db: Database, lease: Lease, connection: sa.Connection) -> None:
        self._db = Database(db.url)  # without patience, so that it ends as soon as it is told to
        self._lease = lease
        self._connection: sa.Connection | None = connection
        self._left = Event()
        self._thread = Thread(target=self._keep, name=f"lease {lease.name}", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._left.set()
        self._thread.join()
        if self._connection is not None:
            _unlock(self._connection, self._lease.name)
        self._db.close()

    def _keep(self) -> None:
        while not self._left.wait(LOOK):
            try:
                if self._connection is None:
                    self._connection = self._locked_again()
                self._connection.scalar(sa.select(1))
            except CUT:  # Postgres restarts, or the network is cut
                self._drop()
            except CycleRunning as passed:
                logger.warning("%s", passed)
                return

    def _locked_again(self) -> sa.Connection:
        """Raises CycleRunning when somebody else has, or had, the lease since then; one of CUT while Postgres is away."""
        name = self._lease.name
        connection = _lock(self._db, name)
        if connection is not None:
            if connection.scalar(sa.select(LeaseRow.token).where(LeaseRow.name == name)) == self._lease.token:
                logger.warning("Postgres was away; the lease %s is held again", name)
                return connection
            _unlock(connection, name)
        raise CycleRunning(f"Postgres was away, and another run took the lease {name}; this one publishes nothing")

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.invalidate()
            self._connection.close()
            self._connection = None
