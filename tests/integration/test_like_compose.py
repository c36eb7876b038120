"""One night on the services of docker-compose.yml, as `csift up --like-compose` starts them."""

import json
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import boto3
import chromadb
import httpx
import psycopg2
import pytest
import yaml
from pumps import NAMES, configure, toml_of, write_catalogue
from served import Served, processes_on, serving

from csift.models import BaseModel
from deployments.server import PREFECT_YAML

pytestmark = pytest.mark.slow

ONE_SHOTS = {"volumes"}  # makes what a folder needs no making of


def told(up: Served, command: str) -> str:
    """What a command prints in a shell that has read the settings that `csift up` tells of."""
    settings = shlex.quote(str(up.data / "like-compose" / "settings.sh"))
    done = subprocess.run(["sh", "-ec", f". {settings}; {command}"], capture_output=True, text=True, check=True)
    return done.stdout


def test_a_night_leaves_everything_in_its_service_and_ctrl_c_leaves_no_process(
    tmp_path: Path, tiny_model: BaseModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "of-somebody-else")
    write_catalogue(tmp_path)
    config = configure(tmp_path, "small", tiny_model.path, run_on="gpu")
    night = {**config.model_dump(mode="json"), "retrieval": {"retriever": "chroma-server"}}
    (tmp_path / "small.toml").write_text(toml_of(config))
    with serving(tmp_path, "--like-compose") as up:
        run = up.until(up.run("nightly/nightly", config=night), lambda seen: seen.state.is_final())
        assert run.state.is_completed(), run.state.message

        env = dict(line.split("=", 1) for line in told(up, "env").splitlines() if "=" in line)
        assert "AWS_ACCESS_KEY_ID" not in env
        csift = f"{shlex.quote(sys.executable)} -m flows.cli"
        status = json.loads(told(up, f"{csift} status --json --config {shlex.quote(str(tmp_path / 'small.toml'))}"))
        assert status["decision"]

        [served] = re.findall(r"ask, once there is a champion: (\S+)", up.welcome)
        asked = {"model": "small", "messages": [{"role": "user", "content": "How heavy is it?"}]}
        said = httpx.post(f"{served}/chat/completions", json=asked, timeout=120).raise_for_status().json()
        assert said["model"] == status["champion"]["id"]

        objects = keys_in_store(env)
        assert any(key.startswith("adapters/") and key.endswith("/adapter_model.safetensors") for key in objects)
        assert not (up.data / "like-compose" / "artifacts").exists()

        chroma = urlsplit(env["CSIFT_CHROMA_URL"])
        [collection] = chromadb.HttpClient(str(chroma.hostname), chroma.port or 0).list_collections()
        assert collection.count() == len(NAMES)

        finished = "SELECT count(*) FROM flow_run WHERE state_type = 'COMPLETED'"
        assert in_database(env, "prefect", finished) >= 2  # nightly, and train on the gpu pool
        assert in_database(env, "csift", "SELECT count(*) FROM jobs WHERE kind = 'train' AND state = 'done'") >= 1
        assert in_database(env, "csift", "SELECT count(*) FROM pg_tables WHERE tablename = 'flow_run'") == 0

        started = {log.stem for log in (up.data / "like-compose" / "logs").iterdir()}
        compose = yaml.safe_load((PREFECT_YAML.parent / "docker-compose.yml").read_text())
        assert started | {"postgres"} == compose["services"].keys() - ONE_SHOTS

        up.process.send_signal(signal.SIGINT)
        output, _ = up.process.communicate(timeout=90)
        assert (up.process.returncode, output) == (0, "Stopped.\n")
        assert processes_on(up.data) == []


def keys_in_store(env: dict[str, str]) -> list[str]:
    """The keys of all objects in the bucket."""
    session = boto3.Session(**credentials(Path(env["AWS_SHARED_CREDENTIALS_FILE"])))
    client = session.client("s3", endpoint_url=env["AWS_ENDPOINT_URL_S3"])
    bucket = env["CSIFT_STORE_URL"].removeprefix("s3://")
    return [entry["Key"] for entry in client.list_objects_v2(Bucket=bucket)["Contents"]]


def credentials(file: Path) -> dict[str, str]:
    """Those of AWS's file."""
    return dict(line.split(" = ") for line in file.read_text().splitlines() if " = " in line)


def in_database(env: dict[str, str], name: str, query: str) -> int:
    """The one number that a query gives."""
    with psycopg2.connect(env["CSIFT_DATABASE_URL"], dbname=name) as connection, connection.cursor() as cursor:
        cursor.execute(query)
        [[number]] = cursor.fetchall()
        return int(number)
