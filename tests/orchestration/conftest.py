"""One Prefect server for all tests of tasks and flows."""

from collections.abc import Iterator

import pytest
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
from prefect.testing.utilities import prefect_test_harness

from csift.db import Database
from tasks.results import result_storage


@pytest.fixture(scope="session", autouse=True)
def prefect_server(db: Database) -> Iterator[None]:
    """A server with a database of its own, which knows where task results are kept."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DO_NOT_TRACK", "1")
        patch.setenv("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
        with (
            prefect_test_harness(server_startup_timeout=60),
            temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}),  # its thread costs every flow a second
        ):
            result_storage()
            yield
