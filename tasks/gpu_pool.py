"""Workers of the gpu pool are sent to a job until one has done it."""

from types import TracebackType
from typing import Self
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound
from prefect.logging import get_run_logger

from csift.db import Database
from csift.exceptions import TrainingError
from csift.interfaces import Progress
from csift.jobs import LOST, Job, JobState, listening

DEPLOYMENT = "train/train"
LOOK = 5.0  # seconds between two looks at a job of which nothing is heard
MOST = 3  # flow runs that may end without having taken the job


class GpuPool:
    """Starts a flow run for a job; another one when the worker that has the job is lost, or when a run ended without taking it.

    The runs are named by job and token, so that whoever waits for the same job, also after a kill, starts none twice.
    """

    def __init__(self, db: Database, report: Progress) -> None:
        self._report = report
        self._listening = listening(db)
        self._runs: dict[str, UUID] = {}
        self._useless = 0

    def __enter__(self) -> Self:
        self._heard = self._listening.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._listening.__exit__(kind, error, trace)

    def look(self, job: Job) -> None:
        """Starts a run where one is needed, then waits until something changes.

        Raises:
            TrainingError: the server has no such deployment, or several runs ended without having taken the job.
        """
        if job.state is JobState.QUEUED or (job.silent is not None and job.silent > LOST):
            self._report("train", 0, 1, "waiting for a worker of the gpu pool")
            self._send(job)
        self._heard(LOOK)

    def _send(self, job: Job) -> None:
        name = f"{job.id}.{job.token}.{self._useless}"
        if name not in self._runs:
            try:
                started = run_deployment(
                    DEPLOYMENT,
                    parameters={"job_id": job.id},
                    flow_run_name=f"train {name}",
                    idempotency_key=name,
                    timeout=0,
                    as_subflow=False,
                )
            except ObjectNotFound:
                raise TrainingError(
                    f"training.run_on = gpu and this Prefect server has no deployment {DEPLOYMENT}; run `csift up` or "
                    "`prefect deploy --all`, and start a worker on the pool gpu"
                ) from None
            self._runs[name] = started.id  # type: ignore[union-attr]
            get_run_logger().info("sent %s to the gpu pool", name)
        with get_client(sync_client=True) as client:
            state = client.read_flow_run(self._runs[name]).state
        if state is not None and state.is_final():
            self._useless += 1
            if self._useless == MOST:
                raise TrainingError(
                    f"{MOST} flow runs of {DEPLOYMENT} ended without having taken job {job.id}, the last as {state.name}: "
                    f"{state.message}; see their logs in the Prefect UI"
                )
