"""The files that put csift on servers, held against the programs and specifications that read them.

docker-compose.yml has tests of its own. Not covered: whether an image builds; there is no Docker where the tests run.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from dockerfiles import COMPOSE, DOCKERFILES, PINNED, ROOT, instructions
from manifests import strange
from prefect.utilities.templating import apply_values

TEMPLATE = ROOT / "deployments" / "kubernetes" / "gpu-job-template.json"
ACCELERATE = sorted((ROOT / "deployments" / "accelerate").glob("*.yaml"))


# --- images ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.name)
def test_image_is_pinned_copies_what_exists_and_does_not_run_as_root(file: Path) -> None:
    found = instructions(file)
    assert all(PINNED.fullmatch(rest.split()[0]) for word, rest in found if word == "FROM")
    copied = [shlex.split(rest) for word, rest in found if word == "COPY"]
    here = [source for words in copied if not words[0].startswith("--from") for source in words[:-1]]
    assert here
    assert [source for source in here if not (ROOT / source).exists()] == []
    let_through = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert [source for source in here if source.split("/")[0] not in let_through] == []
    last_stage = found[max(place for place, (word, _) in enumerate(found) if word == "FROM") :]
    (user,) = [rest for word, rest in last_stage if word == "USER"]
    assert int(user) > 0  # a number: Kubernetes cannot tell whether a name is root


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.name)
def test_hadolint_finds_nothing(file: Path) -> None:
    beside = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    hadolint = shutil.which("hadolint", path=beside)
    if not hadolint:
        pytest.skip("no hadolint; it is in requirements/dev.lock")
    done = subprocess.run([hadolint, "--no-color", str(file)], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.name)
def test_image_has_the_locked_versions_and_refuses_the_other_torch(file: Path) -> None:
    runs = " ".join(rest for word, rest in instructions(file) if word == "RUN")
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
