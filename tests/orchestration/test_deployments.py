"""prefect.yaml as Prefect reads it, against the flows that it names."""

import os
from typing import Any

import pytest
import yaml
from prefect.cli.deploy._models import DeploymentConfig, PrefectYamlModel
from prefect.client.schemas.schedules import CronSchedule
from prefect.flows import load_flow_from_entrypoint
from prefect.utilities.templating import apply_values

from csift.config import LoopConfig, load_config
from csift.settings import Settings
from deployments.local import POOLS, PREFECT_YAML

ROOT = PREFECT_YAML.parent
LOOPS = ["nightly", "build-dataset", "backfill", "monitor", "benchmark"]
DEPLOYMENTS = [*LOOPS, "train"]


def raw() -> dict[str, Any]:
    """The file, with the folder it is deployed from filled in as `prefect deploy` does."""
    return apply_values(yaml.safe_load(PREFECT_YAML.read_text()), {**os.environ, "PWD": str(ROOT)}, remove_notset=False)


def deployment(name: str) -> dict[str, Any]:
    """One deployment of the file."""
    return next(entry for entry in raw()["deployments"] if entry["name"] == name)


def test_prefect_takes_the_whole_file() -> None:
    model = PrefectYamlModel.model_validate(raw())
    assert [entry.name for entry in model.deployments] == DEPLOYMENTS


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_no_field_is_one_that_prefect_ignores(name: str) -> None:
    assert deployment(name).keys() <= DeploymentConfig.model_fields.keys()


@pytest.mark.parametrize("name", LOOPS)
def test_parameters_fit_the_flow(name: str) -> None:
    entry = deployment(name)
    flow = load_flow_from_entrypoint(entry["entrypoint"])
    assert flow.name == name
    for schedule in entry.get("schedules") or [{}]:
        flow.validate_parameters({**entry["parameters"], **schedule.get("parameters", {})})


@pytest.mark.parametrize("name", LOOPS)
def test_a_plain_prefect_deploy_runs_the_bundled_example(name: str) -> None:
    example = load_config(ROOT / "examples" / "catalogue.toml")
    assert LoopConfig.model_validate(deployment(name)["parameters"]["config"]) == example


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_everything_runs_on_a_pool_that_csift_up_serves(name: str) -> None:
    assert deployment(name)["work_pool"]["name"] == POOLS[name == "train"]


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_every_run_says_that_it_lives_before_it_would_be_called_crashed(name: str) -> None:
    told = deployment(name)["work_pool"]["job_variables"]["env"]
    assert float(told["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"]) < Settings().run_silence / 2


def test_nightly_is_scheduled_every_night_and_says_so_to_its_run() -> None:
    [schedule] = deployment("nightly")["schedules"]
    assert CronSchedule(cron=schedule["cron"], timezone=schedule["timezone"]).cron == "0 2 * * *"
    assert schedule["parameters"] == {"trigger": "schedule"}


def test_backfill_runs_only_when_asked() -> None:
    assert "schedules" not in deployment("backfill")


def test_the_gpu_pools_deployment_takes_a_job() -> None:
    flow = load_flow_from_entrypoint(deployment("train")["entrypoint"])
    assert flow.validate_parameters({"job_id": "adapter-1"}) == {"job_id": "adapter-1"}
