"""Alerts as Prefect events. Automations on the server, or people's own, say who hears of them."""

from typing import Any

from prefect.context import FlowRunContext
from prefect.events import emit_event

from csift.alerts import Alert

COMPLETED = "csift.cycle.completed"  # what the alert about missing cycles waits for


def send(alert: Alert) -> None:
    """Emits an alert; what it says is in the payload."""
    emit(alert.event, alert.project, alert.model_dump(mode="json"))


def emit(event: str, project: str, payload: dict[str, Any]) -> None:
    """Emits an event about a project. Prefect's client sends it from a thread of its own, at the latest when the process ends."""
    run = FlowRunContext.get()
    related = []
    if run and run.flow_run:
        related.append({"prefect.resource.id": f"prefect.flow-run.{run.flow_run.id}", "prefect.resource.role": "flow-run"})
    emit_event(
        event=event,
        resource={"prefect.resource.id": resource_of(project), "prefect.resource.name": project},
        related=related,
        payload=payload,
    )


def resource_of(project: str) -> str:
    """What Prefect knows the project as."""
    return f"csift.project.{project}"
