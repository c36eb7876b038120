"""Prefect tasks: one file per stage, each calling one csift function; retries, caching and artifacts live here and nowhere
else."""
