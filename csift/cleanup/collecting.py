"""The collection itself. It is safe beside everything else that runs:

- What is young stays, so nothing that is being written is touched.
- What is old and in nobody's use may come into use again: a run that needs the same adapter takes it as it is. So the references
  are read, and the manifests of what goes are removed, while the leases of all projects are held: no cycle runs then, and the
  next one finds no adapter where none is. The files go afterwards, without the leases.
- Jobs of the gpu pool run on without a lease; what they need is in use (`Facts.in_work`).

Killed half-way it leaves halves, which the next collection takes away. Not covered: copies in the caches of other machines, and a
project whose first cycle begins in that moment over the corpus of another.
"""

from dataclasses import dataclass
from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from csift.cleanup.facts import read_facts
from csift.cleanup.rule import Collected, Fate, Item, items, judge
from csift.db.base import now
from csift.db.connection import Database
from csift.db.operations import LeaseRow, TaskResultRow
from csift.interfaces import ObjectStore
from csift.leases import hold_all
from csift.storage import MANIFEST

RESULTS_KEPT = timedelta(days=30)  # for which a run takes a task's result up again (tasks.synthesis)


@dataclass(frozen=True)
class Collection:
    """What was collected, or would be; how many things stay and their bytes; how many of them this database does not know; task
    results."""

    collected: tuple[Collected, ...]
    kept: int
    kept_bytes: int
    unknown: int
    unknown_bytes: int
    results: int
    result_bytes: int

    @property
    def bytes(self) -> int:
        """Of all that goes from the store."""
        return sum(one.size for one in self.collected)


def collect(db: Database, store: ObjectStore, grace: timedelta, dry_run: bool) -> Collection:
    """Removes what nothing refers to and what has not changed for the length of `grace`; with `dry_run` it only says so.

    Raises:
        CycleRunning: a cycle goes on; nothing was removed.
        StorageError: the store cannot be listed, or does not let go.
    """
    listed = items(store.objects())
    if dry_run:
        with db.session() as session:
            return _sorted_out(session, listed, grace)
    with db.session() as session:
        names = sorted(session.scalars(sa.select(LeaseRow.name)))
    with hold_all(db, names), db.session() as session:
        found = _sorted_out(session, listed, grace)
        for one in found.collected:
            store.remove(f"{one.key}/{MANIFEST}" if one.artifact else one.key)
        session.execute(sa.delete(TaskResultRow).where(_old_results()))
    for one in found.collected:
        if one.artifact:
            store.discard(one.key)
    return found


def _sorted_out(session: Session, listed: list[Item], grace: timedelta) -> Collection:
    facts, at = read_facts(session, grace), now()
    told = [(item, judge(item, facts, at, grace)) for item in listed]
    kept = [item for item, fate in told if fate is Fate.KEPT]
    unknown = [item for item, fate in told if fate is Fate.UNKNOWN]
    going = (Collected(item.key, item.size, why, item.artifact) for item, why in told if not isinstance(why, Fate))
    sizes = sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(sa.func.octet_length(TaskResultRow.content)), 0))
    results, result_bytes = session.execute(sizes.where(_old_results())).one()
    return Collection(
        collected=tuple(sorted(going, key=lambda one: (one.why, one.key))),
        kept=len(kept),
        kept_bytes=sum(item.size for item in kept),
        unknown=len(unknown),
        unknown_bytes=sum(item.size for item in unknown),
        results=int(results),
        result_bytes=int(result_bytes),
    )


def _old_results() -> sa.ColumnElement[bool]:
    return TaskResultRow.written_at < sa.func.now() - RESULTS_KEPT
