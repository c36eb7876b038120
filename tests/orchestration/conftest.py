"""One Prefect server for all tests of tasks and flows, and what they sent to it."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from prefect.events.clients import AssertingEventsClient
from prefect.events.worker import EventsWorker


@pytest.fixture(scope="session", autouse=True)
def _server(prefect_server: None) -> None:
    """Every test here has the server."""


@pytest.fixture
def sent() -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """The payloads of csift's own events until now, oldest first."""
    AssertingEventsClient.reset()
    EventsWorker.set_client_override(AssertingEventsClient)

    def payloads() -> list[dict[str, Any]]:
        EventsWorker.instance().wait_until_empty()
        events = [event for client in AssertingEventsClient.all for event in client.events]
        return [event.payload for event in events if event.event.startswith("csift.")]

    yield payloads
    EventsWorker.instance().drain()
    EventsWorker.set_client_override(None)
