"""Who hears of what: Prefect automations for csift's events, made by every `csift up`, and the blocks that they send through.

Where to is in the settings: CSIFT_ALERT_WEBHOOK, CSIFT_ALERT_SLACK, CSIFT_ALERT_EMAIL. Without one of them an alert is an event
in Prefect's feed and no more.
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
from prefect.events.actions import CallWebhook, SendNotification
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification

from csift.alerts import Event
from csift.exceptions import ConfigError
from csift.settings import Settings
from tasks.events import COMPLETED, resource_of

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
    wanted = {made.name: made for made in (automations(project, sending) if sending else [])}
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


def automations(project: str, sending: Sequence[tuple[Channel, UUID]]) -> list[AutomationCore]:
    """One for each event, and one for the cycle that did not come."""
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
    happened = f"No cycle of {project} ended well for {MISSED.total_seconds() / 3600:.0f} hours."
    do = "See `csift status` and the runs of nightly in Prefect: is a worker running, and what was the last one's error?"
    missed = {
        "event": "csift.cycle.missed", "project": project, "happened": happened, "numbers": "", "link": "", "what_to_do": do,
    }  # fmt: skip
    made.append(
        AutomationCore(
            name=f"{_prefix(project)}csift.cycle.missed",
            trigger=EventTrigger(expect={COMPLETED}, match=match, posture=Posture.Proactive, threshold=1, within=MISSED),
            actions=[
                channel.action(block, f"csift, {project}: no cycle", f"{happened}\n\nTo do: {do}", _quoted(missed))
                for channel, block in sending
            ],
        )
    )
    return made


def _quoted(fields: dict[str, str]) -> dict[str, str]:
    return {name: json.dumps(value) for name, value in fields.items()}


def _prefix(project: str) -> str:
    return f"csift {project}: "


def _save(channel: Channel) -> UUID:
    return UUID(str(channel.block.save(channel.name, overwrite=True)))
