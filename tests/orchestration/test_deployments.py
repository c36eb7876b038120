"""prefect.yaml as Prefect reads it, against the flows that it names."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect.cli.deploy._models import DeploymentConfig, PrefectYamlModel
from prefect.client.orchestration import get_client
from prefect.client.schemas.schedules import CronSchedule
from prefect.exceptions import PrefectHTTPStatusError
from prefect.flows import load_flow_from_entrypoint
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.utilities.callables import parameter_schema
from prefect.utilities.templating import apply_values
from samples import sample_toml
from typer.testing import CliRunner, Result

from csift.config import LoopConfig, load_config
from csift.settings import Settings, settings
from deployments.server import POOLS, PREFECT_YAML
from flows.cli import app, deploy, up  # noqa: F401  two commands, or Typer takes the one for the program

ROOT = PREFECT_YAML.parent
PROJECT = "t-deployed"
LOOPS = ["nightly", "build-dataset", "backfill", "monitor", "benchmark"]
DEPLOYMENTS = [*LOOPS[:-1], "approve", LOOPS[-1], "train"]


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


def test_a_decision_is_all_that_an_approval_takes() -> None:
    flow = load_flow_from_entrypoint(deployment("approve")["entrypoint"])
    assert flow.validate_parameters({"decision": "decision-1"}) == {"decision": "decision-1"}
    assert flow.persist_result  # what a suspended run needs to be taken up again


def test_the_gpu_pools_deployment_takes_a_job() -> None:
    flow = load_flow_from_entrypoint(deployment("train")["entrypoint"])
    assert flow.validate_parameters({"job_id": "adapter-1"}) == {"job_id": "adapter-1"}


# --- the form that the UI draws -------------------------------------------------------------------------------------------


def form(name: str) -> dict[str, Any]:
    """The schema that the server has of a deployment's parameters."""
    return parameter_schema(load_flow_from_entrypoint(deployment(name)["entrypoint"])).model_dump_for_openapi()


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_every_field_of_the_form_has_a_title_and_says_what_it_does(name: str) -> None:
    schema = form(name)
    fields = [("", title, field) for title, field in schema["properties"].items()]
    for section, told in schema.get("definitions", {}).items():
        assert told["description"], section
        fields += [(section, title, field) for title, field in told["properties"].items()]
    bare = [
        (section, name)
        for section, name, field in fields
        if "$ref" not in field and not ("title" in field and "description" in field)
    ]
    assert bare == []
    assert "<" not in json.dumps([field.get("description") for _, _, field in fields])  # the UI takes it for a tag and drops it


def test_fixed_values_are_chosen_from_a_list_and_defaults_are_filled_in() -> None:
    sections = form("nightly")["definitions"]
    for section, name, among in (
        ("SourceConfig", "format", "cuad"), ("RetrievalConfig", "retriever", "chroma-server"),
        ("TrainingConfig", "goal", "preference and tone"),
        ("TrainingConfig", "launcher", "accelerate"), ("JudgeConfig", "name", "panel"),
        ("TriggerConfig", "accuracy_loss", "with drift"),
    ):  # fmt: skip
        field = sections[section]["properties"][name]
        assert among in field["enum"] and field["default"] in field["enum"]
    assert form("nightly")["properties"]["trigger"]["enum"] == ["schedule", "manual"]


@pytest.mark.parametrize(
    ("section", "field", "value"),
    [("retrieval", "k", 99), ("gate", "approval_hours", 0), ("judge", "name", "oracle"), ("training", "surprise", 1)],
)
def test_a_bad_value_is_refused_by_the_server_and_no_run_is_made(section: str, field: str, value: Any) -> None:
    told = deployment("nightly")["parameters"]
    bad = {"config": {**told["config"], section: {**told["config"].get(section, {}), field: value}}}
    with get_client(sync_client=True) as client:
        flow_id = client.create_flow(load_flow_from_entrypoint(deployment("nightly")["entrypoint"]))
        made = client.create_deployment(
            flow_id=flow_id, name="form", parameters=told, parameter_openapi_schema=form("nightly"), enforce_parameter_schema=True
        )
        with pytest.raises(PrefectHTTPStatusError) as refused:
            client.create_flow_run_from_deployment(made, parameters=bad)
        assert refused.value.response.status_code == 409
        assert field in refused.value.response.text
        assert [run for run in client.read_flow_runs() if run.deployment_id == made] == []


# --- csift deploy -----------------------------------------------------------------------------------------------------------


def deployed(tmp_path: Path, *more: str) -> Result:
    """What the command says for a project of this test."""
    (tmp_path / "mine.toml").write_text(sample_toml(PROJECT))
    return CliRunner().invoke(app, ["deploy", "--config", str(tmp_path / "mine.toml"), *more])


def test_pools_deployments_and_alerts_are_put_on_a_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CSIFT_ALERT_WEBHOOK", "http://127.0.0.1:9/hook")
    monkeypatch.setenv("CSIFT_DATA_DIR", str(tmp_path))
    monkeypatch.chdir(ROOT)
    settings.cache_clear()
    told = [deployed(tmp_path) for _ in range(2)]
    settings.cache_clear()
    assert [one.exit_code for one in told] == [0, 0], told[0].output
    assert told[0].output == told[1].output and set(DEPLOYMENTS) <= {line.split("/")[1] for line in told[0].output.split()}
    with get_client(sync_client=True) as client:
        alerts = [one.name for one in client.read_automations() if one.name.startswith(f"csift {PROJECT}: ")]
        assert {pool.name for pool in client.read_work_pools()} >= {*POOLS}
        (nightly,) = [one for one in client.read_deployments() if one.name == "nightly"]
    assert len(alerts) == len(set(alerts)) > 5
    assert nightly.parameters["config"]["project"] == PROJECT


def test_a_server_or_file_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CSIFT_DATA_DIR", str(tmp_path))
    settings.cache_clear()
    missing = deployed(tmp_path, "--file", str(tmp_path / "prefect.yaml"))
    assert missing.exit_code == 1 and "there is no" in missing.stderr and "--file" in missing.stderr
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
        away = deployed(tmp_path, "--file", str(PREFECT_YAML))
    with temporary_settings({PREFECT_API_URL: None}):
        unnamed = deployed(tmp_path, "--file", str(PREFECT_YAML))
    settings.cache_clear()
    assert away.exit_code == 1 and "http://127.0.0.1:9/api does not answer" in away.stderr
    assert unnamed.exit_code == 1 and "export PREFECT_API_URL=" in unnamed.stderr
