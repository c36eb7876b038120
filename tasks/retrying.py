"""When a task is tried again: what it stands on was away for a moment. A stage is keyed by what goes into it, so that the second
try goes on where the first was cut off.

Models and S3 have a patience of their own (csift.llm.remote, csift.s3), and what they give up on is not tried again here.
"""

from typing import Any, TypedDict

import httpx
from prefect.exceptions import PrefectHTTPStatusError

from csift.db.connection import CUT

AWAY = (*CUT, httpx.TransportError)  # Postgres and the Prefect server, as when they restart


class Retries(TypedDict):
    """What of a task says when it is tried again."""

    retries: int
    retry_delay_seconds: list[float]
    retry_condition_fn: Any


def was_away(task: Any, run: Any, state: Any) -> bool:
    """Whether Postgres or the Prefect server was gone: neither a wrong setting nor an empty budget goes away by itself."""
    error = state.result(raise_on_failure=False)
    return isinstance(error, AWAY) or (isinstance(error, PrefectHTTPStatusError) and error.response.is_server_error)


RETRIES: Retries = {"retries": 3, "retry_delay_seconds": [1, 10, 30], "retry_condition_fn": was_away}
