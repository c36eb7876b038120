"""One Prefect server for all tests of tasks and flows."""

import pytest


@pytest.fixture(scope="session", autouse=True)
def _server(prefect_server: None) -> None:
    """Every test here has the server."""
