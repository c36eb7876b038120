"""`csift doctor`: each check says what it found and what to do, and looks without changing anything."""

import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from embedding_servers import aws_environment
from encoders import WordEmbedder
from packaging.requirements import Requirement
from pydantic import SecretStr
from replies import Replies
from stores import bucket_keys, empty_s3, serving_s3

from csift.config import TrainingConfig
from csift.db import Database
from csift.db.connection import HEAD, open_database
from csift.doctor import Finding, attempt, installation, models, places
from csift.exceptions import StorageError
from csift.models import BaseModel
from csift.retrieval import ChromaIndex
from csift.settings import Settings, settings
from csift.storage import LocalStore


def only(findings: Iterable[Finding]) -> Finding:
    """The one finding."""
    (found,) = findings
    return found


def on(tmp_path: Path, **told: Any) -> Settings:
    """Settings of the test's own."""
    return Settings(data_dir=tmp_path, **told)


# --- installation ---------------------------------------------------------------------------------------------------------


def test_this_installation_is_as_csift_asks() -> None:
    assert only(installation.python()).state == "ok"
    assert only(installation.libraries()).state == "ok"


def test_another_python_fails() -> None:
    found = only(installation.python((3, 10, 14)))
    assert (found.state, found.found) == ("FAIL", "3.10.14, and csift needs <3.13,>=3.11")


def test_the_version_with_which_schedules_never_fire_is_named() -> None:
    def installed(name: str) -> str | None:
        return "2.1.0" if name == "sqlalchemy" else installation.version_of(name)

    found = only(installation.libraries(installed=installed))
    assert found.state == "FAIL"
    assert "sqlalchemy 2.1.0, and csift needs <2.1,>=2.0.40: with 2.1 Prefect's cron schedules never fire" in found.found


def test_each_wrong_library_is_a_line_and_extras_are_not_asked_for() -> None:
    required = ["one>=2", "two", 'three; extra == "gpu"', "torch==2.13.0"]
    have = {"one": "1.9", "torch": "2.13.0+cpu"}
    found = list(installation.libraries(required, have.get))
    assert [one.found for one in found] == ["one 1.9, and csift needs >=2", "two is not installed, and csift needs "]


def test_what_csift_pins_is_what_is_looked_at() -> None:
    with (Path(__file__).parents[1] / "pyproject.toml").open("rb") as file:
        pinned = {Requirement(one).name for one in tomllib.load(file)["project"]["dependencies"]}
    asked: list[str] = []

    def installed(name: str) -> str | None:
        asked.append(name)
        return installation.version_of(name)

    list(installation.libraries(installed=installed))
    assert set(asked) == pinned


def test_a_gpu_is_asked_for_only_where_training_wants_one() -> None:
    import torch

    assert list(installation.gpu(TrainingConfig())) == []
    found = only(installation.gpu(TrainingConfig(adapter="qlora")))
    here = torch.cuda.is_available()
    assert found.state == ("ok" if here else "FAIL")
    pool = only(installation.gpu(TrainingConfig(adapter="qlora", run_on="gpu")))
    assert pool.state == ("ok" if here else "warning")
    assert here or "adapter qlora and run_on gpu" in pool.found


# --- places ---------------------------------------------------------------------------------------------------------------


def test_a_data_folder_that_is_a_file_fails(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    found = only(places.data_folder(tmp_path / "file"))
    assert found.state == "FAIL"
    assert "CSIFT_DATA_DIR" in found.fix


def test_a_data_folder_is_left_as_it_was(tmp_path: Path) -> None:
    assert only(places.data_folder(tmp_path / "new")).found.startswith(f"{tmp_path / 'new'}, ")
    assert list((tmp_path / "new").iterdir()) == []


@pytest.mark.parametrize(("free", "state"), [(0.9e9, "FAIL"), (4.9e9, "warning"), (5.1e9, "ok")])
def test_little_room_is_told_before_it_is_none(free: float, state: str) -> None:
    assert places.room("/data", free, "free some").state == state


def test_the_database_is_described(db: Database) -> None:
    found = {one.check: one for one in places.database(settings())}
    assert {one.state for one in found.values()} == {"ok"}
    assert found["database"].found.startswith("Postgres ")
    assert found["tables"].found == f"revision {HEAD}"


def test_a_database_is_not_migrated_by_looking_at_it(empty: str, tmp_path: Path) -> None:
    where = on(tmp_path, database_url=SecretStr(empty))
    assert [one.state for one in places.database(where)] == ["ok"] * 3
    with closing(Database(sa.make_url(empty))) as bare, bare.session() as session:
        assert session.scalar(sa.text("SELECT count(*) FROM information_schema.tables WHERE table_schema = 'public'")) == 0
    open_database(where).close()
    with closing(Database(sa.make_url(empty))) as old, old.session() as session:
        session.execute(sa.text("UPDATE alembic_version SET version_num = '0003'"))
    found = {one.check: one for one in places.database(where)}
    assert (found["tables"].state, found["tables"].found) == ("warning", f"revision 0003, and this csift has {HEAD}")
    with closing(Database(sa.make_url(empty))) as old, old.session() as session:
        assert session.scalar(sa.text("SELECT version_num FROM alembic_version")) == "0003"


def test_tables_of_a_newer_csift_and_a_user_without_rights_fail() -> None:
    assert places.tables("9999", True).fix == "upgrade csift"
    assert "GRANT" in places.tables(None, False).fix.upper()
    assert places.tables(None, True).state == "ok"


def test_a_database_that_is_away_fails_without_its_password(tmp_path: Path) -> None:
    where = on(tmp_path, database_url=SecretStr("postgresql://u:s3cr3t@127.0.0.1:1/d"))
    found = only(attempt("database", lambda: places.database(where)))
    assert (found.state, found.fix) == ("FAIL", "start the server or correct the URL")
    assert "127.0.0.1/d" in found.found
    assert "s3cr3t" not in found.model_dump_json()


@pytest.mark.parametrize(("apart", "words"), [(3.0, ""), (61.0, "61 s ahead of"), (-3600.0, "3,600 s behind")])
def test_clocks_that_differ_are_told(apart: float, words: str) -> None:
    at = datetime(2026, 11, 22, tzinfo=UTC)
    found = places.clock("clock", "Postgres", at, at + timedelta(seconds=apart))
    assert found.state == ("warning" if words else "ok")
    assert words in found.found


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    with serving_s3() as made:
        yield made


def test_stores_are_tried_and_left_as_they_were(tmp_path: Path, client: Any, request: pytest.FixtureRequest) -> None:
    local = LocalStore(tmp_path / "store")
    s3 = empty_s3(client, request.node.nodeid, tmp_path / "cache")
    for store in (local, s3):
        assert only(places.object_store(store)).state == "ok"
    assert list(local.root.iterdir()) == []
    assert bucket_keys(client, s3) == []
    assert not any(path.is_file() for path in (tmp_path / "cache").rglob("probe.txt"))


def test_a_store_that_is_full_or_forgets_nothing_fails(tmp_path: Path) -> None:
    class Full(LocalStore):
        def publish(self, key: str, folder: Path, facts: dict[str, Any]) -> str:
            raise StorageError("cannot write: no room; free some space")

    class Keeps(LocalStore):
        def discard(self, key: str) -> None:
            """Nothing."""

    full = only(attempt("object store", lambda: places.object_store(Full(tmp_path))))
    assert (full.state, full.found, full.fix) == ("FAIL", "cannot write: no room", "free some space")
    assert "still has" in only(places.object_store(Keeps(tmp_path))).found


def test_a_bug_is_no_finding() -> None:
    def look() -> Iterator[Finding]:
        raise ZeroDivisionError
        yield

    with pytest.raises(ZeroDivisionError):
        list(attempt("x", look))


# --- models ---------------------------------------------------------------------------------------------------------------


def test_a_model_on_disk_is_read_without_its_weights(tiny_model: BaseModel, tmp_path: Path) -> None:
    found = only(models.local("base model", str(tiny_model.path), on(tmp_path)))
    assert found.state == "ok"
    assert found.found.endswith("GB of weights, with a chat template")


def test_a_bundled_model_is_not_unpacked_by_looking(tmp_path: Path) -> None:
    assert only(models.local("base model", "smollm2-135m-instruct", on(tmp_path))).found.endswith("the first run unpacks it")
    assert list(tmp_path.iterdir()) == []


def test_weights_that_were_cut_off_fail(tiny_model: BaseModel, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(tiny_model.path, tmp_path / "model"))
    weights = next(copy.glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-10])
    found = only(attempt("base model", lambda: models.local("base model", str(copy), on(tmp_path))))
    assert found.state == "FAIL"
    assert str(weights) in found.found


def test_a_model_without_a_chat_template_fails(tiny_model: BaseModel, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(tiny_model.path, tmp_path / "model"))
    (copy / "chat_template.jinja").unlink()
    found = only(attempt("base model", lambda: models.local("base model", str(copy), on(tmp_path))))
    assert found.fix == "choose an instruction-tuned model"


def test_a_model_that_is_nowhere_fails(tmp_path: Path) -> None:
    found = only(attempt("base model", lambda: models.local("base model", "no such/name", on(tmp_path))))
    assert found.state == "FAIL"
    assert "not a folder, not bundled" in found.found


def test_an_index_says_how_many_chunks_it_has(tmp_path: Path, words: WordEmbedder) -> None:
    found = only(models.index(ChromaIndex(tmp_path, "p", words)))
    assert found.state == "ok"
    assert "0 chunks; the first run fills it" in found.found


MODELS = {"data": [{"id": "teach-1"}, {"id": "teach-2"}]}


@pytest.mark.parametrize(
    ("status", "body", "state", "words"),
    [
        (200, MODELS, "ok", "offers it to this key"),
        (200, {"data": [{"id": "other"}]}, "warning", "not among the 1 models"),
        (200, {"models": []}, "warning", "lists no models"),
        (404, {}, "warning", "lists no models"),
        (401, {"error": {"message": "wrong key"}}, "FAIL", "401 wrong key"),
        (503, {}, "FAIL", "gives no answer"),
    ],
)
def test_a_served_teacher_is_asked_for_its_models(tmp_path: Path, status: int, body: Any, state: str, words: str) -> None:
    with Replies({"/v1/models": (status, body)}) as server:
        where = on(tmp_path, openai_base_url=f"{server.url}/v1", openai_api_key=SecretStr("sk-s3cr3t"))
        found = only(attempt("teacher", lambda: models.served("teacher", "openai/teach-1", where)))
    assert found.state == state
    assert words in found.found
    assert server.asked == [("/v1/models", "Bearer sk-s3cr3t")]
    assert "s3cr3t" not in found.model_dump_json()


def test_a_teacher_that_is_away_or_without_a_key_fails(tmp_path: Path) -> None:
    away = on(tmp_path, openai_base_url="http://127.0.0.1:1/v1")
    assert only(models.served("teacher", "openai/x", away)).fix == "start that server or correct CSIFT_OPENAI_BASE_URL"
    bare = only(attempt("teacher", lambda: models.served("teacher", "openai/x", on(tmp_path))))
    assert "CSIFT_OPENAI_API_KEY" in bare.found + bare.fix


def aws(code: str, status: int) -> tuple[int, dict[str, Any]]:
    """An error as AWS sends it."""
    return status, {"message": "said by AWS", "headers": {"x-amzn-ErrorType": code}}


GONE = aws("ResourceNotFoundException", 404)
KNOWN = {"modelDetails": {"modelArn": "arn:aws:bedrock:eu-west-1::foundation-model/m", "modelId": "m"}}
PROFILE = {"inferenceProfileName": "eu.m", "inferenceProfileArn": "a", "inferenceProfileId": "eu.m", "models": []}


@pytest.mark.parametrize(
    ("model", "profile", "state", "words"),
    [
        ((200, KNOWN), GONE, "ok", "known in this region"),
        (GONE, (200, PROFILE), "ok", "known in this region"),
        (aws("ValidationException", 400), (200, PROFILE), "ok", "known in this region"),
        (GONE, GONE, "FAIL", "correct the id or CSIFT_AWS_REGION"),
        (aws("AccessDeniedException", 403), GONE, "warning", "bedrock:GetFoundationModel"),
        (aws("UnrecognizedClientException", 403), GONE, "FAIL", "correct the AWS credentials"),
    ],
)
def test_a_model_of_bedrock_is_looked_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: Any, profile: Any, state: str, words: str
) -> None:
    aws_environment(monkeypatch)
    with Replies({"/foundation-models/eu.m": model, "/inference-profiles/eu.m": profile}) as server:
        found = only(models.served("teacher", "bedrock/eu.m", on(tmp_path, aws_endpoint_url=server.url)))
    assert found.state == state
    assert words in f"{found.found}; {found.fix}"


@pytest.mark.parametrize(("status", "state"), [("ACTIVE", "ok"), ("FAILED", "FAIL")])
def test_a_knowledge_base_says_how_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: str, state: str) -> None:
    aws_environment(monkeypatch)
    with Replies({"/knowledgebases/KB12345678": (200, {"knowledgeBase": {"status": status}})}) as server:
        where = on(tmp_path, aws_endpoint_url=server.url, knowledge_base_id="KB12345678")
        assert only(models.knowledge_base(where)).state == state
    missing = only(attempt("retriever", lambda: models.knowledge_base(on(tmp_path))))
    assert missing.fix == "set CSIFT_KNOWLEDGE_BASE_ID"


# --- the command ----------------------------------------------------------------------------------------------------------


def doctor(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "flows.cli", "doctor", *arguments]
    return subprocess.run(command, cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True)


def test_the_command_fails_with_a_check_and_is_json_for_scripts(db: Database, tmp_path: Path) -> None:
    done = doctor("--json", cwd=tmp_path, PREFECT_API_URL="http://127.0.0.1:1/api")
    found = {one["check"]: one for one in json.loads(done.stdout)}
    assert done.returncode == 1
    assert done.stderr == ""
    failures = {name for name, one in found.items() if one["state"] == "FAIL"}
    assert failures == {"configuration", "prefect"}
    assert all(found[name]["fix"] for name in failures)
    assert {"python", "libraries", "data folder", "database", "tables", "clock", "object store"} <= found.keys()
