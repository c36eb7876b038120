"""The automations that send alerts, on a real Prefect server."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, get_args
from uuid import uuid4

import jinja2
import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from pydantic import SecretStr
from samples import sample_cycle, sample_decision, sample_drift

from csift import alerts
from csift.alerts import Alert, Event
from csift.exceptions import ConfigError
from csift.schemas import AccuracyWatch, CycleState
from csift.settings import Settings
from deployments.automations import automations, channels, install


@pytest.fixture
def client() -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as client:
        yield client


def told(**values: Any) -> Settings:
    return Settings(**{name: SecretStr(value) if "email" not in name else value for name, value in values.items()})


HOOK = told(alert_webhook="http://127.0.0.1:9/hook")


def of(client: SyncPrefectClient, project: str) -> dict[str, Any]:
    return {found.name: found for found in client.read_automations() if found.name.startswith(f"csift {project}: ")}


def test_every_event_has_one_and_again_changes_nothing(client: SyncPrefectClient, project: str) -> None:
    first = install(client, project, HOOK)
    made = of(client, project)
    again = install(client, project, HOOK)

    assert first == again == sorted(made)
    assert {name.split(": ")[1] for name in first} == {*get_args(Event), "csift.run.crashed", "csift.cycle.missed", "silent runs"}
    assert {found.id for found in of(client, project).values()} == {found.id for found in made.values()}
    missed = made[f"csift {project}: csift.cycle.missed"].trigger
    assert (missed.posture.value, missed.expect) == ("Proactive", {"csift.cycle.completed"})
    assert missed.within == timedelta(hours=26)
    for name, found in made.items():
        about_runs = name.endswith(("silent runs", "csift.run.crashed"))
        assert about_runs or f"csift.project.{project}" in found.trigger.match["prefect.resource.id"]
        assert not about_runs or found.trigger.match_related["prefect.resource.id"] == ["prefect.tag.csift"]


def test_a_run_that_is_silent_for_ninety_seconds_is_called_crashed(client: SyncPrefectClient, project: str) -> None:
    install(client, project, told())
    (made,) = of(client, project).values()
    assert made.trigger.within == timedelta(seconds=90)
    assert made.trigger.expect >= {f"prefect.flow-run.{name}" for name in ("heartbeat", "Completed", "Skipped", "Suspended")}
    assert (made.actions[0].type, made.actions[0].state.value) == ("change-flow-run-state", "CRASHED")
    assert "for 90 s; the next run continues" in made.actions[0].message


def test_without_anybody_to_tell_nobody_is_and_other_projects_keep_theirs(client: SyncPrefectClient, project: str) -> None:
    install(client, project, HOOK)
    install(client, f"{project}-2", HOOK)
    assert install(client, project, told()) == [f"csift {project}: silent runs"]
    assert len(of(client, project)) == 1
    assert len(of(client, f"{project}-2")) == 10


def test_a_channel_each_for_what_the_settings_name(client: SyncPrefectClient, project: str) -> None:
    everything = told(
        alert_webhook="http://127.0.0.1:9/hook", alert_slack="https://hooks.slack.com/services/T/B/x",
        alert_email="a@b.example, c@d.example", alert_email_from="csift@b.example", sendgrid_api_key="key",
    )  # fmt: skip
    install(client, project, everything)
    for name, found in of(client, project).items():
        assert name.endswith("silent runs") or [action.type for action in found.actions] == [
            "call-webhook",
            "send-notification",
            "send-notification",
        ]


def test_a_mail_without_a_sender_is_refused() -> None:
    with pytest.raises(ConfigError, match="CSIFT_ALERT_EMAIL_FROM"):
        channels(told(alert_email="a@b.example"))


def samples() -> list[Alert]:
    watch = AccuracyWatch(
        before=0.82, floor=0.78, now=0.61, sessions=140, since=datetime(2026, 11, 3, tzinfo=UTC), evidence=900.0, level=0.025
    )
    failed = sample_cycle(CycleState.FAILED, 'the teacher said "no"\nand left')
    return [
        alerts.accuracy_regressed("p", watch, None, "/r.html"),
        alerts.accuracy_regressed("p", watch, "system-1", "/r.html"),
        alerts.drift_detected("p", sample_drift()),
        alerts.cycle_failed(failed, budget=False),
        alerts.cycle_failed(failed, budget=True),
        alerts.cycle_unrecorded("p", "schedule", "no database"),
        alerts.promotion_made("p", sample_decision(), "/d.html"),
        alerts.approval_asked(sample_decision(), datetime(2026, 11, 22, 10, tzinfo=UTC), "/d.html"),
        alerts.evalset_exhausted("p", "evalset-1", "9% of the budget is left."),
    ]


@pytest.mark.parametrize("alert", samples(), ids=lambda alert: alert.event)
def test_what_a_webhook_is_sent_is_json_with_every_field(alert: Alert) -> None:
    (channel,) = channels(HOOK)
    made = next(one for one in automations("p", [(channel, uuid4())]) if one.name.endswith(alert.event))
    event = {"payload": alert.model_dump(mode="json")}
    sent = json.loads(jinja2.Environment().from_string(made.actions[0].payload).render(event=event))  # type: ignore[union-attr]
    assert sent == event["payload"]
    assert all(sent[name] for name in sent)


def test_what_a_webhook_is_sent_of_a_crashed_run_is_json() -> None:
    (channel,) = channels(HOOK)
    made = next(one for one in automations("p", [(channel, uuid4())]) if one.name.endswith("csift.run.crashed"))
    told = {"flow": {"name": "nightly"}, "flow_run": {"id": "1", "name": "old-owl", "state": {"message": 'said "no"\nand left'}}}
    sent = json.loads(jinja2.Environment().from_string(made.actions[0].payload).render(told))  # type: ignore[union-attr]
    assert sent["happened"] == 'A run of nightly (old-owl) crashed: said "no"\nand left'
    assert (sent["event"], sent["project"], sent["link"]) == ("csift.run.crashed", "p", "flow run 1")
    assert set(sent) == set(Alert.model_fields)


def test_every_event_is_made_by_something() -> None:
    assert {alert.event for alert in samples()} == set(get_args(Event))
