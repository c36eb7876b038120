"""Prefect's task results in csift's Postgres, so that a run continued on another machine finds what was done before.

A flow opts in with `@flow(persist_result=True, result_storage=RESULT_STORAGE, result_serializer=RECORDS)`; its tasks
inherit all three. The name is resolved when a run starts, so the Prefect server must know the block by then:
`result_storage()` sees to it. prefect.yaml calls it as a step of every deployment, whoever runs a flow in one process
calls it first, and so do the tests.

Results are records as JSON, never pickle, and reading one builds nothing but csift's own records. Not covered: results
are never deleted here, and a process must import this module to read one.
"""

from importlib import import_module
from inspect import isclass
from typing import Any, ClassVar, cast

import sqlalchemy as sa
from prefect.filesystems import WritableFileSystem
from prefect.serializers import JSONSerializer, prefect_json_object_decoder, prefect_json_object_encoder
from sqlalchemy.dialects.postgresql import insert

from csift.db import database
from csift.db.base import now
from csift.db.connection import steady
from csift.db.operations import TaskResultRow
from csift.schemas import Record

RESULT_STORAGE = "postgres-results/csift"  # block type / block document, as Prefect names them
REGISTRATION_LOCK = 7_263_482  # any constant: one process registers the block at a time


class PostgresResults(WritableFileSystem):
    """Prefect result storage in the table `task_results`.

    The block holds neither address nor secret: each process finds the database through its own CSIFT_ settings.
    """

    _block_type_name: ClassVar[str] = "Postgres results"
    _block_type_slug: ClassVar[str] = RESULT_STORAGE.split("/")[0]

    # Prefect calls these by name, with `_sync=True` from sync runs and without it from its event loop; both get a plain
    # function.
    @steady
    def read_path(self, path: str, _sync: bool = True) -> bytes:  # type: ignore[override]
        """The stored bytes. Raises ValueError when there are none, as Prefect's own file systems do."""
        with database().session() as session:
            content = session.scalar(sa.select(TaskResultRow.content).where(TaskResultRow.key == path))
        if content is None:
            raise ValueError(f"no task result {path} in this Postgres; run the flow again, or set CSIFT_DATABASE_URL")
        return content

    @steady
    def write_path(self, path: str, content: bytes, _sync: bool = True) -> None:  # type: ignore[override]
        """Stores the bytes, in place of any under the same key."""
        row = insert(TaskResultRow).values(key=path, content=content, written_at=now())
        newest = {"content": row.excluded.content, "written_at": row.excluded.written_at}
        with database().session() as session:
            session.execute(row.on_conflict_do_update(index_elements=[TaskResultRow.key], set_=newest))


def encode_record(value: Any) -> dict[str, Any]:
    """JSON of a record, or of the error that a run ended with. Raises TypeError for anything else."""
    if isinstance(value, Record):
        kind = type(value)
        return {"record": f"{kind.__module__}.{kind.__name__}", "fields": value.model_dump(mode="json")}
    if isinstance(value, BaseException):
        return prefect_json_object_encoder(value)
    raise TypeError(f"a task's result is a csift record or plain JSON, not a {type(value).__name__}")


def decode_record(found: dict[str, Any]) -> Any:
    """Undoes `encode_record`. Raises ValueError for a record that this csift does not know."""
    if found.keys() != {"record", "fields"}:
        return prefect_json_object_decoder(found) if "__exc_type__" in found else found
    module, _, name = found["record"].rpartition(".")
    kind = getattr(import_module(module), name, None) if module.startswith("csift.") else None
    if not (isclass(kind) and issubclass(kind, Record)):
        raise ValueError(f"a stored task result is a {found['record']}, no record of this csift; run the flow again")
    return kind.model_validate(found["fields"])


# Prefect's own shape, {"__class__", "data"}, would come back from a flow as a bare dict: it takes the second key for
# that of an older format.
RECORDS: JSONSerializer[Any] = JSONSerializer(
    object_encoder="tasks.results.encode_record", object_decoder="tasks.results.decode_record"
)


def result_storage() -> PostgresResults:
    """The block as the present Prefect server knows it, registered there when it is new.

    Any number of processes may ask at once. To be called outside of event loops.
    """
    name = RESULT_STORAGE.split("/")[1]
    try:
        return cast("PostgresResults", PostgresResults.load(name))
    except ValueError:  # this server has never seen it
        with database().session() as session:
            session.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": REGISTRATION_LOCK})
            PostgresResults().save(name, overwrite=True)
        return cast("PostgresResults", PostgresResults.load(name))
