"""The Kubernetes manifests of workers and of the metrics exporter, held against Kubernetes' own client and against the programs
that they start. Not covered: a cluster; there is none where the tests run."""

import re
import tomllib
from pathlib import Path
from typing import Any

import prefect.settings
import pytest
import typer
import yaml
from manifests import read, strange

from csift.settings import Settings
from csift.telemetry.logs import VARIABLES

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "deployments" / "kubernetes"
KUSTOMIZATION = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
OBJECTS = [one for name in KUSTOMIZATION["resources"] for one in yaml.safe_load_all((FOLDER / name).read_text())]
DEPLOYMENTS = {one["metadata"]["name"]: one for one in OBJECTS if one["kind"] == "Deployment"}
WORKERS = {"cpu-worker": "worker.Dockerfile", "gpu-worker": "gpu.Dockerfile"}
CONFIG = next(one for one in OBJECTS if one["kind"] == "ConfigMap")["data"]
KINDS = {
    "PodDisruptionBudget": "V1PodDisruptionBudget",
    "Service": "V1Service",
    "ConfigMap": "V1ConfigMap",
    "Deployment": "V1Deployment",
}


def pod_of(name: str) -> dict[str, Any]:
    """The pod of a Deployment."""
    return DEPLOYMENTS[name]["spec"]["template"]["spec"]


def container_of(name: str) -> dict[str, Any]:
    """Its one container."""
    (container,) = pod_of(name)["containers"]
    return container


@pytest.mark.parametrize("manifest", OBJECTS, ids=lambda one: f"{one['kind']} {one['metadata']['name']}")
def test_kubernetes_client_knows_every_field_and_misses_none(manifest: dict[str, Any]) -> None:
    kind = KINDS[manifest["kind"]]
    assert list(strange(manifest, kind)) == []
    assert read(manifest, kind).metadata.name == manifest["metadata"]["name"]


def test_every_file_of_the_folder_is_applied() -> None:
    there = {path.name for path in FOLDER.glob("*.yaml")} - {"kustomization.yaml"}
    assert set(KUSTOMIZATION["resources"]) == there
    assert DEPLOYMENTS.keys() == {*WORKERS, "metrics"}


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_nothing_runs_as_root_or_writes_to_its_image(name: str) -> None:
    pod, container = pod_of(name), container_of(name)
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert container["securityContext"] == {
        "readOnlyRootFilesystem": True, "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]},
    }  # fmt: skip
    mounted = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounted["tmp"] == "/tmp"
    assert mounted.keys() == {volume["name"] for volume in pod["volumes"]}


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_what_a_pod_takes_is_bounded_and_its_labels_select_it(name: str) -> None:
    resources = container_of(name)["resources"]
    assert {"cpu", "memory", "ephemeral-storage"} <= resources["requests"].keys()
    assert {"memory", "ephemeral-storage"} <= resources["limits"].keys()
    spec = DEPLOYMENTS[name]["spec"]
    assert spec["selector"]["matchLabels"].items() <= spec["template"]["metadata"]["labels"].items()


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_images_are_those_that_docker_builds_in_a_fixed_version(name: str) -> None:
    image, _, tag = container_of(name)["image"].partition(":")
    built = {service["image"] for service in yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"].values()}
    assert f"{image}:{tag}" in built
    assert {one["name"]: one["newTag"] for one in KUSTOMIZATION["images"]}[image] == tag
    file = ROOT / "docker" / WORKERS.get(name, "worker.Dockerfile")
    assert f"USER {pod_of(name)['securityContext']['runAsUser']}" in file.read_text().splitlines()


@pytest.mark.parametrize(("name", "file"), WORKERS.items())
def test_workers_start_by_the_images_command_and_are_watched(name: str, file: str) -> None:
    container, pod = container_of(name), pod_of(name)
    assert "command" not in container
    assert "args" not in container
    (command,) = re.findall(r"^CMD (.+)$", (ROOT / "docker" / file).read_text(), re.MULTILINE)
    assert "--with-healthcheck" in command
    assert f'"--pool", "{name.removesuffix("-worker")}"' in command
    (port,) = container["ports"]
    assert port["containerPort"] == prefect.settings.get_current_settings().worker.webserver.port
    assert container["livenessProbe"]["httpGet"] == {"path": "/health", "port": port["name"]}
    assert pod["terminationGracePeriodSeconds"] >= 60
    (budget,) = [one for one in OBJECTS if one["kind"] == "PodDisruptionBudget" and one["metadata"]["name"] == name]
    assert budget["spec"]["selector"] == DEPLOYMENTS[name]["spec"]["selector"]
    sources = [next(iter(one.values()))["name"] for one in container["envFrom"]]
    assert sources == ["csift-settings", "csift"]


def test_the_gpu_worker_has_one_gpu_and_room_for_nccl() -> None:
    pod, container = pod_of("gpu-worker"), container_of("gpu-worker")
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert "nvidia.com/gpu" not in container_of("cpu-worker")["resources"]["limits"]
    assert pod["tolerations"][0]["key"] == "nvidia.com/gpu"
    assert "/dev/shm" in {mount["mountPath"] for mount in container["volumeMounts"]}


def test_every_variable_is_a_setting_of_csift_or_prefect() -> None:
    given = set(CONFIG) | {one["name"] for name in DEPLOYMENTS for one in container_of(name).get("env", [])}
    ours = {name for name in given if name.startswith("CSIFT_")}
    assert ours
    assert ours <= {f"CSIFT_{name}".upper() for name in Settings.model_fields}
    theirs = {name for name in given if name.startswith("PREFECT_")} - VARIABLES.keys()
    assert {name for name in theirs if not hasattr(prefect.settings, name)} == set()
    assert given - ours - theirs == {"HOME", *VARIABLES}


def test_workers_log_json() -> None:
    assert VARIABLES.items() <= CONFIG.items()


def test_the_exporter_is_a_command_that_csift_takes_and_its_port_is_served() -> None:
    from flows.cli import app, doctor, metrics  # typer makes a group of two commands

    container = container_of("metrics")
    script, name, *arguments = container["command"]
    with (ROOT / "pyproject.toml").open("rb") as file:
        assert script in tomllib.load(file)["project"]["scripts"]
    assert doctor and metrics
    command = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    told = command.make_context(name, arguments).params
    (port,) = container["ports"]
    (service,) = [one for one in OBJECTS if one["kind"] == "Service"]
    assert told["port"] == port["containerPort"] == service["spec"]["ports"][0]["port"]
    assert told["host"] == "0.0.0.0"
    assert service["spec"]["ports"][0]["targetPort"] == port["name"]
    assert service["metadata"]["annotations"]["prometheus.io/port"] == str(told["port"])
    assert service["spec"]["selector"].items() <= DEPLOYMENTS["metrics"]["spec"]["template"]["metadata"]["labels"].items()
