"""Task results in Postgres, as flows and other processes meet them."""

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from prefect import Flow, flow, task
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL
from samples import sample_cycle

from csift.db import Database
from csift.db.operations import TaskResultRow
from csift.exceptions import GateError
from csift.schemas import CorpusSnapshot, Interval
from csift.settings import settings
from tasks.results import RECORDS, RESULT_STORAGE, PostgresResults, result_storage

READ_BACK = """
import sys
from prefect.client.orchestration import get_client
import tasks.results
with get_client(sync_client=True) as client:
    print(repr(client.read_flow_run(sys.argv[1]).state.result()))
"""


def measuring(key: str, calls: list[str]) -> Flow[[], Interval]:
    """A flow of one task that is keyed by `key`; notes each time the task really runs."""

    @task(cache_key_fn=lambda context, parameters: key)
    def measure() -> Interval:
        calls.append(key)
        return Interval(value=0.5, low=0.25, high=0.75)

    @flow(persist_result=True, result_storage=RESULT_STORAGE, result_serializer=RECORDS)
    def measuring_flow() -> Interval:
        return measure()

    return measuring_flow


def test_the_last_bytes_written_are_read() -> None:
    storage, key = PostgresResults(), uuid.uuid4().hex
    storage.write_path(key, b"first")
    storage.write_path(key, b"\x00second")
    assert storage.read_path(key) == b"\x00second"


def test_a_missing_result_says_what_to_do() -> None:
    with pytest.raises(ValueError, match=r"no task result nowhere .*; run the flow again"):
        PostgresResults().read_path("nowhere")


def test_a_task_that_is_done_is_not_done_again() -> None:
    calls: list[str] = []
    run = measuring(uuid.uuid4().hex, calls)
    assert run() == run() == Interval(value=0.5, low=0.25, high=0.75)
    assert len(calls) == 1


def test_a_result_is_kept_in_postgres_and_nowhere_else(db: Database) -> None:
    calls: list[str] = []
    key = uuid.uuid4().hex
    run = measuring(key, calls)
    run()
    with db.session() as session:
        stored = session.scalar(sa.select(TaskResultRow.content).where(TaskResultRow.key == key))
        session.execute(sa.delete(TaskResultRow).where(TaskResultRow.key == key))
    assert json.loads(json.loads(stored)["result"])["fields"]["low"] == 0.25
    run()
    assert len(calls) == 2


def test_another_process_reads_a_result_through_the_state() -> None:
    state = measuring(uuid.uuid4().hex, [])(return_state=True)
    environment = {
        **os.environ, "PREFECT_API_URL": str(PREFECT_API_URL.value()), "CSIFT_DATA_DIR": str(settings().root),
    }  # fmt: skip
    command = [sys.executable, "-c", READ_BACK, str(state.state_details.flow_run_id)]
    read = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert read.stdout.strip() == "Interval(value=0.5, low=0.25, high=0.75)"


@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(0, 1))
def test_numbers_come_back_to_the_last_bit(value: float, low: float) -> None:
    record = Interval(value=value, low=low, high=1.0)
    assert RECORDS.loads(RECORDS.dumps(record)) == record


@pytest.mark.parametrize("make", [sample_cycle, lambda: [*sample_cycle().stages], lambda: {"loss": [0.5, None]}])
def test_records_come_back_as_what_they_were(make: Callable[[], object]) -> None:
    assert RECORDS.loads(RECORDS.dumps(make())) == make()


def test_an_error_comes_back_as_itself() -> None:
    back = RECORDS.loads(RECORDS.dumps(GateError("lost the race; run again")))
    assert type(back) is GateError
    assert str(back) == "lost the race; run again"


def test_what_is_no_record_is_not_stored() -> None:
    with pytest.raises(TypeError, match="not a set"):
        RECORDS.dumps({1, 2})


@pytest.mark.parametrize("name", ["subprocess.Popen", "csift.storage.LocalStore", "csift.schemas.NoSuchRecord"])
def test_nothing_but_records_is_built_from_what_is_stored(name: str) -> None:
    planted = json.dumps({"record": name, "fields": {"args": "true"}}).encode()
    with pytest.raises(ValueError, match="no record of this csift"):
        RECORDS.loads(planted)


def test_no_foreign_module_is_even_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "planted.py").write_text("raise SystemExit('planted code ran')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match="no record of this csift"):
        RECORDS.loads(b'{"record": "planted.Record", "fields": {}}')


def test_a_damaged_record_is_refused() -> None:
    planted = {"record": f"{CorpusSnapshot.__module__}.CorpusSnapshot", "fields": {"id": "corpus-1"}}
    with pytest.raises(ValueError, match="documents"):
        RECORDS.loads(json.dumps(planted).encode())


def test_processes_that_meet_a_new_server_at_once_share_one_block() -> None:
    with get_client(sync_client=True) as client:
        client.delete_block_type(result_storage()._block_type_id)
    contexts = [copy_context() for _ in range(12)]
    with ThreadPoolExecutor(12) as pool:
        blocks = list(pool.map(lambda context: context.run(result_storage), contexts))
    assert len({block._block_document_id for block in blocks}) == 1
