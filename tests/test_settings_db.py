"""CSIFT_ variables, the connection to Postgres, and its migrations."""

import re
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from pydantic import SecretStr
from samples import sample_dataset

from csift.db import Database
from csift.db.base import Base
from csift.db.connection import HEAD, MIGRATIONS, open_database
from csift.exceptions import ConfigError, DatabaseError
from csift.registry import load
from csift.schemas import DatasetVersion
from csift.settings import Settings, settings

SECRET = "s3cr3t-word"


@pytest.fixture
def read_again() -> Iterator[None]:
    """Settings are read from the environment of the test, and afterwards from that of the session."""
    settings.cache_clear()
    yield
    settings.cache_clear()


def at(url: str, folder: Path = Path("/nowhere")) -> Settings:
    """Settings that name this database."""
    return Settings(data_dir=folder, database_url=SecretStr(url))


# --- settings -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [("CSIFT_THREADS", "0"), ("CSIFT_THREADS", "many"), ("CSIFT_PROGRESS_SECONDS", "-1")],
)
def test_an_impossible_value_names_its_variable(name: str, value: str, monkeypatch: pytest.MonkeyPatch, read_again: None) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=rf"^{name}: .*; correct this environment variable$"):
        settings()


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch, read_again: None, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CSIFT_DATA_DIR", "here")
    monkeypatch.setenv("CSIFT_DATABASE_URL", f"postgresql://u:{SECRET}@h/d")
    assert settings().root == tmp_path / "here"
    assert SECRET not in repr(settings())
    assert SECRET not in str(settings().model_dump(mode="json"))


def test_a_secret_may_be_a_file_as_containers_have_them(
    monkeypatch: pytest.MonkeyPatch, read_again: None, tmp_path: Path
) -> None:
    (tmp_path / "csift_openai_api_key").write_text(f"{SECRET}\n")
    (tmp_path / "csift_alert_webhook").write_text("http://file/")
    monkeypatch.setattr("csift.settings.SECRETS", tmp_path)
    monkeypatch.setenv("CSIFT_ALERT_WEBHOOK", "http://environment/")
    assert settings().openai_api_key == SecretStr(SECRET)
    assert settings().alert_webhook == SecretStr("http://environment/")


# --- databases that cannot be used ----------------------------------------------------------------------------------------


def refused(where: Settings) -> str:
    """The message with which a database is refused; it is one line and tells no secret."""
    with pytest.raises(DatabaseError) as caught:
        open_database(where)
    message = str(caught.value)
    assert SECRET not in message
    assert "\n" not in message
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None or caught.value.__suppress_context__  # a traceback would print the URL
    return message


def test_what_is_no_url_is_refused() -> None:
    assert "CSIFT_DATABASE_URL is not a URL; write postgresql://" in refused(at(f"the database with {SECRET}"))


@pytest.mark.parametrize("kind", ["mysql", "sqlite", "postgres", "mongodb"])
def test_a_url_of_another_kind_is_refused(kind: str) -> None:
    message = refused(at(f"{kind}://user:{SECRET}@host/name"))
    assert f"CSIFT_DATABASE_URL names {kind}, and csift needs Postgres; write postgresql://" in message


def test_a_server_that_is_not_there_is_named() -> None:
    with closing(socket.socket()) as unused:
        unused.bind(("127.0.0.1", 0))  # taken, but nobody listens
        message = refused(at(f"postgresql://user:{SECRET}@127.0.0.1:{unused.getsockname()[1]}/name"))
    assert re.search(
        r"cannot reach 127\.0\.0\.1/name \(CSIFT_DATABASE_URL\): .*refused.*; start the server or correct the URL", message
    )


def test_a_host_that_does_not_exist_is_named() -> None:
    assert "cannot reach nowhere.invalid/name" in refused(at(f"postgresql://user:{SECRET}@nowhere.invalid/name"))


def test_a_server_that_is_no_postgres_is_refused() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:

        def answer() -> None:
            for _ in range(2):  # libpq asks for encryption first
                connection, _ = server.accept()
                with connection:
                    connection.recv(1024)
                    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        threading.Thread(target=answer, daemon=True).start()
        message = refused(at(f"postgresql://user:{SECRET}@127.0.0.1:{server.getsockname()[1]}/name"))
    assert "cannot reach 127.0.0.1/name" in message


def test_a_database_that_does_not_exist_is_named(db: Database) -> None:
    url = db.url.set(database="no-such-name", password=SECRET).render_as_string(hide_password=False)
    assert 'database "no-such-name" does not exist' in refused(at(url))


def test_an_embedded_server_that_cannot_start_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    message = refused(Settings(data_dir=tmp_path / "data", database_url=None))
    assert message.startswith(f"the embedded Postgres in {tmp_path / 'data' / 'postgres'} did not start: ")
    assert "CSIFT_DATABASE_URL" in message


# --- sessions -------------------------------------------------------------------------------------------------------------


def test_a_block_that_raises_keeps_nothing(db: Database, project: str) -> None:
    with pytest.raises(KeyboardInterrupt), db.session() as session:
        session.execute(sa.text("INSERT INTO documents VALUES (:p, 'a.md', 'train', now())"), {"p": project})
        raise KeyboardInterrupt
    with db.session() as session:
        assert session.scalar(sa.text("SELECT count(*) FROM documents WHERE project = :p"), {"p": project}) == 0


# --- migrations -----------------------------------------------------------------------------------------------------------


def test_upgrading_from_nothing_gives_exactly_the_tables_of_the_models(empty: str) -> None:
    opened = open_database(at(empty))
    with closing(opened), opened.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, Base.metadata) == []
        assert context.get_current_revision() == HEAD


def test_a_dataset_of_before_people_rated_answers_loads_after_the_upgrade(empty: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    before = sample_dataset()
    with closing(Database(sa.make_url(empty))) as old, old.engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0007")
        connection.execute(sa.text("INSERT INTO snapshots VALUES ('p', :id, '{}', now())"), {"id": before.snapshot_id})
        row = {"snapshot": before.snapshot_id, "id": before.id, "record": before.model_dump_json(exclude={"rating_ids"})}
        connection.execute(sa.text("INSERT INTO datasets VALUES (:snapshot, :id, :record, now())"), row)
    with closing(open_database(at(empty))) as upgraded:
        assert load(upgraded, DatasetVersion, before.id) == before


def test_the_revisions_are_one_line_that_ends_at_head() -> None:
    script = ScriptDirectory(str(MIGRATIONS))
    assert script.get_heads() == [HEAD]
    assert len(script.get_bases()) == 1


def test_a_migrated_database_is_opened_as_it_is(empty: str) -> None:
    with closing(open_database(at(empty))) as first, first.session() as session:
        session.execute(sa.text("INSERT INTO documents VALUES ('p', 'a.md', 'eval', now())"))
    with closing(open_database(at(empty))) as again, again.session() as session:
        assert session.scalar(sa.text("SELECT split FROM documents")) == "eval"


def test_processes_that_start_together_migrate_once(empty: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        opened = list(pool.map(lambda _: open_database(at(empty)), range(4)))
    for database in opened:
        with closing(database), database.session() as session:
            assert session.scalar(sa.text("SELECT version_num FROM alembic_version")) == HEAD


def test_a_database_of_another_version_is_refused_and_left_alone(empty: str) -> None:
    with closing(open_database(at(empty))) as first, first.session() as session:
        session.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    assert re.match(r"this database belongs to another version of csift .*9999.*; upgrade csift", refused(at(empty)))
    with closing(Database(sa.make_url(empty))) as other, other.session() as session:
        assert session.scalar(sa.text("SELECT version_num FROM alembic_version")) == "9999"
