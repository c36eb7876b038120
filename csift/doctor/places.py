"""Where things are kept: the data folder, Postgres, the object store."""

import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import sqlalchemy as sa

from csift.db.base import now
from csift.db.connection import HEAD, connect, knows, reaching, revision
from csift.doctor.finding import Finding, failed, ok, warning
from csift.interfaces import ObjectStore
from csift.settings import Settings

GB = 1e9  # bytes
LITTLE, TOO_LITTLE = 5 * GB, 1 * GB  # free: a base model and the checkpoints of one training; nothing of use
OLDEST = 14  # major version of Postgres
CLOCK = 5.0  # seconds by which clocks may differ


def data_folder(root: Path) -> Iterator[Finding]:
    """Whether the data folder can be written, and how much room there is."""
    fix = "free some space, correct its permissions or set CSIFT_DATA_DIR"
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=root, prefix=".doctor-") as file:
            file.write(b"csift")
            file.flush()
        free = shutil.disk_usage(root).free
    except OSError as error:
        yield failed("data folder", f"{root} cannot be written: {error.strerror}", fix)
        return
    yield room(f"{root}, {free / GB:.1f} GB free", free, fix)


def room(found: str, free: float, fix: str) -> Finding:
    """What so many free bytes mean."""
    if free < TOO_LITTLE:
        return failed("data folder", found, fix)
    return warning("data folder", found, fix) if free < LITTLE else ok("data folder", found)


def database(where: Settings) -> Iterator[Finding]:
    """Which Postgres it is, the revision of its tables, and its clock. Migrates nothing. Raises DatabaseError when it cannot be
    reached."""
    db = connect(where)
    with closing(db), reaching(where, db):
        with db.session() as session:
            major = int(session.scalar(sa.text("SHOW server_version_num")) or 0) // 10_000
            server = str(session.scalar(sa.text("SHOW server_version"))).split()[0]
            may = session.scalar(sa.text("SELECT has_schema_privilege(current_schema(), 'CREATE')"))
            before, theirs, after = now(), session.scalars(sa.select(sa.func.clock_timestamp())).one(), now()
        at = revision(db)
    place = "embedded" if where.database_url is None else f"at {db.url.host or 'a local socket'}/{db.url.database}"
    found = f"Postgres {server} {place}"
    if major < OLDEST:
        yield warning("database", found, f"upgrade to Postgres {OLDEST} or newer; no older one was ever tried")
    else:
        yield ok("database", found)
    yield tables(at, bool(may))
    yield clock("clock", "Postgres", theirs, before + (after - before) / 2)


def tables(at: str | None, may_create: bool) -> Finding:
    """What the revision of the tables says; None is a database without any."""
    if at == HEAD:
        return ok("tables", f"revision {at}")
    if at is not None and not knows(at):
        return failed("tables", f"revision {at} is of another version of csift than this one, which has {HEAD}", "upgrade csift")
    if not may_create:
        return failed("tables", "the database's user may not make tables", "grant CREATE on its schema to this user")
    if at is None:
        return ok("tables", f"none yet; the first run makes them, revision {HEAD}")
    return warning("tables", f"revision {at}, and this csift has {HEAD}", "back up; the next command migrates them")


def clock(check: str, of: str, theirs: datetime, ours: datetime) -> Finding:
    """Whether two clocks agree; `ours` is this machine's at the same moment."""
    apart = (ours - theirs).total_seconds()
    if abs(apart) <= CLOCK:
        return ok(check, f"within {CLOCK:g} s of {of}'s")
    side = "ahead of" if apart > 0 else "behind"
    return warning(check, f"this machine's is {abs(apart):,.0f} s {side} {of}'s", "set both by NTP, as schedules go by them")


def object_store(store: ObjectStore) -> Iterator[Finding]:
    """Writes, reads and removes a small artifact. Raises StorageError where that is refused."""
    key, content = f"doctor-{uuid.uuid4().hex}", b"written by csift doctor"
    with TemporaryDirectory() as folder:
        (Path(folder) / "probe.txt").write_bytes(content)
        store.publish(key, Path(folder), {})
    same = (store.open_artifact(key) / "probe.txt").read_bytes() == content
    store.discard(key)
    if not same or store.has_artifact(key):
        what = "gives back other bytes than were written" if not same else "still has what was removed"
        yield failed("object store", f"{store.url} {what}", "set CSIFT_STORE_URL to another place")
    else:
        yield ok("object store", f"{store.url}: written, read, removed")
