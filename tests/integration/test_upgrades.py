"""Every earlier revision of the database, with a cycle's rows in it, is upgraded to the newest and read."""

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from pumps import configure, toml_of, write_catalogue

from csift import cycles, registry
from csift.db.connection import HEAD, MIGRATIONS, Database, open_database
from csift.models import BaseModel
from csift.settings import Settings

pytestmark = pytest.mark.slow
REVISIONS = [script.revision for script in ScriptDirectory(str(MIGRATIONS)).walk_revisions()][
    1:
]  # newest first, without the head


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory, tiny_model: BaseModel) -> Iterator[Database]:
    """A database in which a cycle ran to its end."""
    folder = tmp_path_factory.mktemp("lived")
    write_catalogue(folder)
    (folder / "csift.toml").write_text(toml_of(configure(folder, "lived", tiny_model.path)))
    environment = {**os.environ, "CSIFT_DATA_DIR": str(folder / "data")}
    db = open_database(Settings(data_dir=folder / "data"))
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", "run", "nightly"], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    yield db
    db.close()


def moved(db: Database, revision: str, up: bool) -> None:
    told = Config()
    told.set_main_option("script_location", str(MIGRATIONS))
    with db.engine.begin() as connection:
        told.attributes["connection"] = connection
        (command.upgrade if up else command.downgrade)(told, revision)


def rows(db: Database) -> dict[str, int]:
    names = [name for name in sa.inspect(db.engine).get_table_names() if name != "alembic_version"]
    with db.session() as session:
        return {name: session.scalar(sa.text(f"SELECT count(*) FROM {name}")) or 0 for name in names}


@pytest.mark.parametrize("revision", REVISIONS)
def test_rows_of_an_earlier_revision_are_kept_and_read(lived: Database, revision: str) -> None:
    if revision < "0005":  # which knew no adapters but those of datasets
        with lived.session() as session:
            session.execute(sa.text("DELETE FROM adapters WHERE dataset_id NOT IN (SELECT id FROM datasets)"))
    moved(lived, revision, up=False)
    before = rows(lived)
    moved(lived, HEAD, up=True)
    after = rows(lived)

    assert {name: count for name, count in after.items() if name in before} == before
    for kind, table in registry.TABLES.items():
        with lived.session() as session:
            records = session.scalars(sa.select(table.record)).all()
        assert all(kind.model_validate(record) for record in records)
    assert registry.champion(lived, "lived")
    assert [(cycle.state, bool(cycle.stages)) for cycle in cycles.recent(lived, "lived", 1)] == [("completed", True)]
