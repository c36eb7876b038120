"""Prefect tasks: one file per stage, each calling one csift function; retries, caching and artifacts live here and nowhere
else."""

from csift.telemetry.spans import install

install()  # when a flow is imported, because Prefect asks for its tracer before the flow begins
