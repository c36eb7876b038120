"""The files that put csift on servers, held against the programs and specifications that read them.

Not covered: whether an image builds and a container runs; there is no Docker where the tests run.
"""

import json
import re
import shlex
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from manifests import strange
from prefect.utilities.templating import apply_values

from csift.settings import Settings

ROOT = Path(__file__).parents[1]
COMPOSE = ROOT / "docker-compose.yml"
TEMPLATE = ROOT / "deployments" / "kubernetes" / "gpu-job-template.json"
DOCKERFILES = sorted((ROOT / "docker").glob("*.Dockerfile"))
ACCELERATE = sorted((ROOT / "deployments" / "accelerate").glob("*.yaml"))
ENV_FILES = sorted((ROOT / "docker").glob("*env.example"))
OWN_IMAGE = re.compile(r"csift-(worker|gpu):\d+\.\d+\.\d+")
PINNED = re.compile(r"[\w./-]+:\d+\.\d+[\w.-]*")  # at least major and minor
SETTINGS = {f"CSIFT_{name}".upper() for name in Settings.model_fields}


# --- compose --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return yaml.safe_load(COMPOSE.read_text())


def test_compose_is_valid_by_the_specification(compose: dict[str, Any]) -> None:
    published = files("check_jsonschema") / "builtin_schemas" / "vendor" / "compose-spec.json"
    schema = json.loads(published.read_text())
    found = jsonschema.validators.validator_for(schema)(schema).iter_errors(compose)
    assert [f"{error.json_path}: {error.message}" for error in found] == []


def test_every_image_is_pinned_and_every_build_has_its_file(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert (OWN_IMAGE if "build" in service else PINNED).fullmatch(service["image"]), name
        if "build" in service:
            assert ROOT / service["build"]["dockerfile"] in DOCKERFILES, name


def test_settings_that_compose_gives_are_settings_of_csift(compose: dict[str, Any]) -> None:
    given = {name for service in compose["services"].values() for name in service.get("environment", {})}
    given |= {line.lstrip("# ").partition("=")[0] for file in ENV_FILES for line in file.read_text().splitlines()}
    ours = {name for name in given if name.startswith("CSIFT_")}
    assert "CSIFT_DATABASE_URL" in ours
    assert ours <= SETTINGS


def test_what_must_be_filled_in_is_in_the_example_of_the_env_file() -> None:
    asked = set(re.findall(r"\$\{(\w+):\?", COMPOSE.read_text()))
    offered = set(re.findall(r"^(\w+)=$", (ROOT / "docker" / "env.example").read_text(), re.MULTILINE))
    assert asked == offered == {"POSTGRES_PASSWORD", "PREFECT_AUTH"}


def test_volumes_and_mounted_files_exist(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        for mount in service.get("volumes", []):
            source = mount.split(":")[0]
            assert (ROOT / source).is_file() if source.startswith(".") else source in compose["volumes"], (name, mount)


def test_services_that_run_on_are_checked_and_waited_for(compose: dict[str, Any]) -> None:
    services = compose["services"]
    for name, service in services.items():
        if service["restart"] != "no":
            assert service["healthcheck"]["test"][0] == "CMD", name
        for other, waited in service.get("depends_on", {}).items():
            ends = services[other]["restart"] == "no"
            assert waited["condition"] == ("service_completed_successfully" if ends else "service_healthy"), name


def test_only_the_gpu_worker_takes_gpus_and_only_when_asked_for(compose: dict[str, Any]) -> None:
    services = compose["services"]
    assert [name for name, service in services.items() if "deploy" in service] == ["gpu-worker"]
    assert [name for name, service in services.items() if service.get("profiles") == ["gpu"]] == ["gpu-worker"]
    (device,) = services["gpu-worker"]["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])


def test_nothing_is_published_beyond_this_machine_unasked(compose: dict[str, Any]) -> None:
    ports = [port for service in compose["services"].values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("${PUBLISH_ON:-127.0.0.1}:") for port in ports)


def test_the_server_is_the_prefect_that_the_workers_have(compose: dict[str, Any]) -> None:
    (version,) = re.findall(r"^prefect==(.+)$", (ROOT / "requirements" / "base.lock").read_text(), re.MULTILINE)
    assert compose["services"]["server"]["image"].startswith(f"prefecthq/prefect:{version}-")


def test_every_pool_of_prefect_yaml_is_made_and_has_a_worker(compose: dict[str, Any]) -> None:
    pools = {one["work_pool"]["name"] for one in yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]}
    (made,) = re.findall(r"for pool in ([\w ]+);", compose["services"]["deploy"]["command"][-1])
    served = {command[command.index("--pool") + 1] for file in DOCKERFILES for command in _commands(file)}
    assert pools == set(made.split()) == served


# --- images ---------------------------------------------------------------------------------------------------------------


def _instructions(file: Path) -> list[tuple[str, str]]:
    """A Dockerfile's instructions in order: the word, and the rest with continued lines joined."""
    lines = [line for line in file.read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    split = (line.strip().split(maxsplit=1) for line in joined.splitlines() if line.strip())
    return [(word.upper(), rest) for word, rest in split]


def _commands(file: Path) -> Iterator[list[str]]:
    for word, rest in _instructions(file):
        if word == "CMD":
            yield json.loads(rest)


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.name)
def test_image_is_pinned_copies_what_exists_and_does_not_run_as_root(file: Path) -> None:
    instructions = _instructions(file)
    assert all(PINNED.fullmatch(rest.split()[0]) for word, rest in instructions if word == "FROM")
    copied = [shlex.split(rest) for word, rest in instructions if word == "COPY"]
    here = [source for words in copied if not words[0].startswith("--from") for source in words[:-1]]
    assert here
    assert [source for source in here if not (ROOT / source).exists()] == []
    let_through = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert [source for source in here if source.split("/")[0] not in let_through] == []
    last_stage = instructions[max(place for place, (word, _) in enumerate(instructions) if word == "FROM") :]
    (user,) = [rest for word, rest in last_stage if word == "USER"]
    assert int(user) > 0  # a number: Kubernetes cannot tell whether a name is root


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.name)
def test_image_has_the_locked_versions_and_refuses_the_other_torch(file: Path) -> None:
    runs = " ".join(rest for word, rest in _instructions(file) if word == "RUN")
    locks = re.findall(r"-r (requirements/[\w.]+)", runs)
    assert {"requirements/base.lock", "requirements/models.lock"} <= set(locks)
    assert re.search(r"^torch==2\.13\.0$", (ROOT / "requirements" / "base.lock").read_text(), re.MULTILINE)
    assert ("assert torch.version.cuda," in runs) == (file.name == "gpu.Dockerfile")
    assert ("assert torch.version.cuda is None" in runs) == (file.name == "worker.Dockerfile")


def test_no_lock_names_a_package_twice() -> None:
    base, gpu = (_locked(name) for name in ("base.lock", "gpu.lock"))
    assert gpu
    assert not gpu & base


def _locked(name: str) -> set[str]:
    lines = (ROOT / "requirements" / name).read_text().splitlines()
    return {line.partition("==")[0].lower().replace("_", "-") for line in lines if "==" in line}


# --- kubernetes -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def template() -> dict[str, Any]:
    return json.loads(TEMPLATE.read_text())


def _manifest(template: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """The Job of a run, filled in with Prefect's own templating; what has neither value nor default falls away."""
    properties = template["variables"]["properties"]
    defaults = {name: one["default"] for name, one in properties.items() if "default" in one}
    return apply_values(template["job_configuration"]["job_manifest"], {**defaults, **values})


def test_template_is_taken_by_prefects_server(template: dict[str, Any]) -> None:
    from prefect.server.schemas.actions import WorkPoolCreate

    WorkPoolCreate(name="gpu", type="kubernetes", base_job_template=template)


def test_template_has_no_variable_without_use_and_defaults_that_fit_its_schema(template: dict[str, Any]) -> None:
    used = set(re.findall(r"\{\{ (\w+) \}\}", json.dumps(template["job_configuration"])))
    schema = template["variables"]
    assert used == set(schema["properties"])
    jsonschema.Draft202012Validator.check_schema(schema)
    defaults = {name: one["default"] for name, one in schema["properties"].items() if "default" in one}
    jsonschema.validate(defaults, schema)
    assert all("title" in one or "allOf" in one for one in schema["properties"].values())  # what the form shows


def test_template_offers_what_prefects_own_does(template: dict[str, Any]) -> None:
    listed = files("prefect") / "server/api/collections_data/views/aggregate-worker-metadata.json"
    own = json.loads(listed.read_text())["prefect-kubernetes"]["kubernetes"]["default_base_job_configuration"]
    assert set(own["job_configuration"]) <= set(template["job_configuration"])
    merged = {"cpu_limit", "memory_limit", "memory_request"}  # one variable, or none, in the place of two
    assert set(own["variables"]["properties"]) - merged <= set(template["variables"]["properties"])


def test_job_is_what_kubernetes_knows(template: dict[str, Any]) -> None:
    manifest = _manifest(template, {"name": "train", "command": "prefect flow-run execute"})
    manifest["spec"]["template"]["spec"]["containers"][0]["args"] = ["prefect"]  # Prefect splits the command
    manifest["spec"]["template"]["spec"]["containers"][0]["env"] = [{"name": "A", "value": "b"}]  # and lists the variables
    demanded = {
        "spec.template.spec.parallelism",
        "spec.template.spec.completions",
    }  # by Prefect, where they mean nothing
    assert set(strange(manifest, "V1Job")) == demanded


def test_job_takes_a_gpu_and_leaves_the_next_try_to_csift(template: dict[str, Any]) -> None:
    spec = _manifest(template, {"gpus": 2})["spec"]
    pod = spec["template"]["spec"]
    (container,) = pod["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 2
    assert spec["backoffLimit"] == 0
    assert pod["restartPolicy"] == "Never"
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    assert pod["tolerations"][0]["key"] == "nvidia.com/gpu"


def test_the_jobs_image_and_user_are_those_of_the_dockerfile(template: dict[str, Any]) -> None:
    gpu = ROOT / "docker" / "gpu.Dockerfile"
    pod = template["job_configuration"]["job_manifest"]["spec"]["template"]["spec"]
    assert f"USER {pod['securityContext']['runAsUser']}" in gpu.read_text().splitlines()
    image = template["variables"]["properties"]["image"]["default"]
    assert image == yaml.safe_load(COMPOSE.read_text())["services"]["gpu-worker"]["image"]


# --- accelerate -----------------------------------------------------------------------------------------------------------


def _launched_with(file: Path) -> dict[str, str]:
    """The environment that `accelerate launch` gives its processes."""
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser
    from accelerate.utils.launch import prepare_deepspeed_cmd_env, prepare_multi_gpu_env

    words = ["--config_file", str(file), "-m", "csift.training.launching", "stage.json"]
    arguments, defaults, _ = _validate_launch_command(launch_command_parser().parse_args(words))
    assert arguments.multi_gpu or arguments.use_fsdp or arguments.use_deepspeed  # else accelerate starts one process
    assert arguments.num_processes == 2
    if arguments.use_deepspeed:
        arguments.deepspeed_fields_from_accelerate_config = ",".join(defaults.deepspeed_config)
        return prepare_deepspeed_cmd_env(arguments)[1]
    return prepare_multi_gpu_env(arguments)


@pytest.mark.parametrize("file", ACCELERATE, ids=lambda file: file.name)
def test_accelerate_reads_it_and_knows_every_field(file: Path) -> None:
    from accelerate.commands.config.config_args import load_config_from_file
    from accelerate.commands.launch import launch_command_parser

    loaded = load_config_from_file(str(file))  # refuses unknown fields, but not those of the two below
    flags = {action.dest for action in launch_command_parser()._actions}
    for name in [*loaded.fsdp_config, *loaded.deepspeed_config]:
        assert name in flags, name
    environment = _launched_with(file)
    assert environment["ACCELERATE_MIXED_PRECISION"] == "no"  # csift's bf16=False, which DeepSpeed holds against this


def test_fsdp_suits_lora_and_flat_checkpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    from accelerate import FullyShardedDataParallelPlugin
    from torch.distributed.fsdp import ShardingStrategy, StateDictType
    from torch.distributed.fsdp.wrap import transformer_auto_wrap_policy

    told = _launched_with(ROOT / "deployments" / "accelerate" / "fsdp.yaml")
    assert told["FSDP_SYNC_MODULE_STATES"] == "true"
    told["FSDP_SYNC_MODULE_STATES"] = "false"  # asks for a GPU at once
    for name, value in told.items():
        if name.startswith(("FSDP_", "ACCELERATE_")):
            monkeypatch.setenv(name, value)
    plugin = FullyShardedDataParallelPlugin()
    assert plugin.sharding_strategy is ShardingStrategy.FULL_SHARD
    assert plugin.auto_wrap_policy is transformer_auto_wrap_policy
    assert plugin.use_orig_params is True
    assert plugin.state_dict_type is StateDictType.FULL_STATE_DICT
    assert plugin.activation_checkpointing is False


@pytest.mark.parametrize("stage", [2, 3])
def test_deepspeed_is_told_its_stage_and_no_offloading(stage: int) -> None:
    told = _launched_with(ROOT / "deployments" / "accelerate" / f"deepspeed-zero{stage}.yaml")
    assert told["ACCELERATE_DEEPSPEED_ZERO_STAGE"] == str(stage)
    assert told["ACCELERATE_DEEPSPEED_OFFLOAD_OPTIMIZER_DEVICE"] == "none"
    assert told["ACCELERATE_DEEPSPEED_OFFLOAD_PARAM_DEVICE"] == "none"
    assert told["ACCELERATE_GRADIENT_ACCUMULATION_STEPS"] == "auto"
    assert told.get("ACCELERATE_DEEPSPEED_ZERO3_SAVE_16BIT_MODEL") == ("true" if stage == 3 else None)
