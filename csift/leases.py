"""One cycle per project at a time, by Postgres's own lock, with a fencing token for whatever the holder publishes.

The lock is a session-level advisory lock on a connection of its own: Postgres frees it the moment the holder's process or
machine is
gone (TCP keepalives, csift.db.connection), so that after a kill -9 the next run starts at once, and no clock is compared.
The row in
`leases` names the holder for people. Its token grows with each holder; a holder that lost its connection without noticing is
refused
when it publishes (`Lease.check`), because a later holder has a higher token.
"""

import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from csift.db.base import now
from csift.db.connection import Database
from csift.db.operations import LeaseRow
from csift.exceptions import CycleRunning, GateError


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
    with hold_all(db, [name]) as leases:
        yield leases[0]


@contextmanager
def hold_all(db: Database, names: Sequence[str]) -> Iterator[list[Lease]]:
    """Holds several leases on one connection, all of them or none. Raises CycleRunning as `hold` does."""
    with db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection, ExitStack() as stack:
        yield [stack.enter_context(_held(connection, name)) for name in names]


@contextmanager
def _held(connection: sa.Connection, name: str) -> Iterator[Lease]:
    if not connection.scalar(sa.text("SELECT pg_try_advisory_lock(hashtextextended(:name, 0))"), {"name": name}):
        holder = connection.scalar(sa.select(LeaseRow.holder).where(LeaseRow.name == name))
        raise CycleRunning(f"{name} is already running: held by {holder or 'a run that just started'}; wait for it to end")
    try:
        fresh = insert(LeaseRow).values(name=name, holder=holder_name(), token=1, acquired_at=now())
        taken = fresh.on_conflict_do_update(
            index_elements=[LeaseRow.name],
            set_={
                "holder": fresh.excluded.holder,
                "token": LeaseRow.token + 1,
                "acquired_at": fresh.excluded.acquired_at,
            },
        ).returning(LeaseRow.token)
        yield Lease(name, connection.scalar(taken) or 0)
    finally:
        # The connection may be dead, and then the lock is gone already.
        if not connection.closed and not connection.invalidated:
            connection.scalar(sa.text("SELECT pg_advisory_unlock(hashtextextended(:name, 0))"), {"name": name})
