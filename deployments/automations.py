"""Who hears of what: Prefect automations for csift's events, made by every `csift up`, and the blocks that they send through.

Where to is in the settings: CSIFT_ALERT_WEBHOOK, CSIFT_ALERT_SLACK, CSIFT_ALERT_EMAIL. Without one of them an alert is an event
in Prefect's feed and no more. One automation sends nothing: it ends runs that gave no sign of life, whose machine is gone.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, get_args
from uuid import UUID

from prefect.blocks.core import Block
from prefect.blocks.notifications import SendgridEmail, SlackWebhook
from prefect.blocks.webhook import Webhook
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import StateType
from prefect.events.actions import CallWebhook, ChangeFlowRunState, SendNotification
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification

from csift.alerts import Event
from csift.exceptions import ConfigError
from csift.settings import Settings
from tasks.events import COMPLETED, resource_of

HEARTBEAT = "prefect.flow-run.heartbeat"
# After these states, by their names, no heartbeat comes: Skipped is csift's own, and a suspended run waits for a person.
SILENT = ("Completed", "Skipped", "Failed", "TimedOut", "Cancelled", "Crashed", "Suspended")
ENDINGS = {f"prefect.flow-run.{name}" for name in SILENT}
CSIFT_RUNS = {
    "match": ResourceSpecification({"prefect.resource.id": "prefect.flow-run.*"}),
    "match_related": ResourceSpecification({"prefect.resource.role": "tag", "prefect.resource.id": "prefect.tag.csift"}),
}
MISSED = timedelta(hours=26)  # a night and two hours
FIELDS = ("event", "project", "happened", "numbers", "link", "what_to_do")
SAID = "\n".join([
    "{{ event.payload.happened }}", "", "{{ event.payload.numbers }}", "",
    "More: {{ event.payload.link }}", "To do: {{ event.payload.what_to_do }}",
])  # fmt: skip


@dataclass(frozen=True)
class Channel:
    """A block that alerts go through, and the action that sends a text with it."""

    name: str
    block: Block
    action: Callable[[UUID, str, str, dict[str, str]], Any]


def channels(told: Settings) -> list[Channel]:
    """Those that the settings name. Raises ConfigError when one of them names less than it needs."""
    found = []
    if told.alert_webhook:
        found.append(Channel("csift-alerts-webhook", Webhook(method="POST", url=told.alert_webhook), _call))
    if told.alert_slack:
        found.append(Channel("csift-alerts-slack", SlackWebhook(url=told.alert_slack), _notify))
    if told.alert_email:
        if not (told.alert_email_from and told.sendgrid_api_key):
            raise ConfigError(
                "CSIFT_ALERT_EMAIL needs CSIFT_ALERT_EMAIL_FROM and CSIFT_SENDGRID_API_KEY; set them, or leave it unset"
            )
        to = [address.strip() for address in told.alert_email.split(",")]
        email = SendgridEmail(api_key=told.sendgrid_api_key, sender_email=told.alert_email_from, to_emails=to)
        found.append(Channel("csift-alerts-email", email, _notify))
    return found


def _call(block: UUID, subject: str, body: str, payload: dict[str, str]) -> CallWebhook:
    # A template fills JSON with what people wrote, quotes and line ends too: tojson writes them as JSON does.
    fields = ", ".join(f'"{name}": {value}' for name, value in payload.items())
    return CallWebhook(block_document_id=block, payload="{" + fields + "}")


def _notify(block: UUID, subject: str, body: str, payload: dict[str, str]) -> SendNotification:
    return SendNotification(block_document_id=block, subject=subject, body=body)


def install(client: SyncPrefectClient, project: str, told: Settings) -> list[str]:
    """Makes the project's automations what the settings say, and removes those of before; returns their names.

    Raises:
        ConfigError: as `channels`.
    """
    sending = [(channel, _save(channel)) for channel in channels(told)]
    made = [silent_runs(project, timedelta(seconds=told.run_silence)), *(automations(project, sending) if sending else [])]
    wanted = {automation.name: automation for automation in made}
    kept = set()
    for found in client.read_automations():
        if not found.name.startswith(_prefix(project)):
            continue
        if found.name in wanted and found.name not in kept:
            client.update_automation(found.id, wanted[found.name])
            kept.add(found.name)
        else:
            client.delete_automation(found.id)
    for name in wanted.keys() - kept:
        client.create_automation(wanted[name])
    return sorted(wanted)


def silent_runs(project: str, silence: timedelta) -> AutomationCore:
    """Says of a run of csift's deployments that was not heard of for so long that it crashed; else it would be running for ever
    (docs.prefect.io/v3/advanced/detect-zombie-flows)."""
    return AutomationCore(
        name=f"{_prefix(project)}silent runs",
        trigger=EventTrigger(
            after={HEARTBEAT}, expect={HEARTBEAT, *ENDINGS}, for_each={"prefect.resource.id"}, posture=Posture.Proactive,
            threshold=1, within=silence, **CSIFT_RUNS,
        ),
        actions=[
            ChangeFlowRunState(
                state=StateType.CRASHED,
                message=f"nothing was heard of it for {silence.total_seconds():.0f} s; the next run continues",
            )
        ],
    )  # fmt: skip


def automations(project: str, sending: Sequence[tuple[Channel, UUID]]) -> list[AutomationCore]:
    """One for each event, one for a run that crashed, and one for the cycle that did not come."""
    match = ResourceSpecification({"prefect.resource.id": resource_of(project)})
    said = {name: f"{{{{ event.payload.{name} | tojson }}}}" for name in FIELDS}
    subject = f"csift, {project}: {{{{ event.payload.event }}}}"
    made = [
        AutomationCore(
            name=f"{_prefix(project)}{event}",
            trigger=EventTrigger(expect={event}, match=match, posture=Posture.Reactive, threshold=1, within=timedelta(0)),
            actions=[channel.action(block, subject, SAID, said) for channel, block in sending],
        )
        for event in get_args(Event)
    ]
    made.append(_crashed(project, sending))
    made.append(_missed(project, sending))
    return made


def _crashed(project: str, sending: Sequence[tuple[Channel, UUID]]) -> AutomationCore:
    """A run whose process ended without a word."""
    event = "csift.run.crashed"
    happened = "A run of {{ flow.name }} ({{ flow_run.name }}) crashed: {{ flow_run.state.message }}"
    do = "See the worker's machine for memory and disk. The next run continues where this one was cut off."
    fields = {
        **_quoted({"event": event, "project": project, "numbers": "", "what_to_do": do}),
        "happened": f"{{% filter tojson %}}{happened}{{% endfilter %}}",
        "link": '"flow run {{ flow_run.id }}"',
    }
    return AutomationCore(
        name=f"{_prefix(project)}{event}",
        trigger=EventTrigger(
            expect={"prefect.flow-run.Crashed"}, posture=Posture.Reactive, threshold=1, within=timedelta(0), **CSIFT_RUNS
        ),
        actions=[
            channel.action(block, f"csift, {project}: a run crashed", f"{happened}\n\nTo do: {do}", fields)
            for channel, block in sending
        ],
    )


def _missed(project: str, sending: Sequence[tuple[Channel, UUID]]) -> AutomationCore:
    """The cycle that did not come."""
    event, happened = "csift.cycle.missed", f"No cycle of {project} ended well for {MISSED.total_seconds() / 3600:.0f} hours."
    do = "See `csift status` and the runs of nightly in Prefect: is a worker running, and what was the last one's error?"
    fields = {"event": event, "project": project, "happened": happened, "numbers": "", "link": "", "what_to_do": do}
    match = ResourceSpecification({"prefect.resource.id": resource_of(project)})
    return AutomationCore(
        name=f"{_prefix(project)}{event}",
        trigger=EventTrigger(expect={COMPLETED}, match=match, posture=Posture.Proactive, threshold=1, within=MISSED),
        actions=[
            channel.action(block, f"csift, {project}: no cycle", f"{happened}\n\nTo do: {do}", _quoted(fields))
            for channel, block in sending
        ],
    )


def _quoted(fields: dict[str, str]) -> dict[str, str]:
    return {name: json.dumps(value) for name, value in fields.items()}


def _prefix(project: str) -> str:
    return f"csift {project}: "


def _save(channel: Channel) -> UUID:
    return UUID(str(channel.block.save(channel.name, overwrite=True)))
