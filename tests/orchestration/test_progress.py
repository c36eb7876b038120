"""Progress of a stage in the Prefect UI and on the command line."""

import threading
from collections.abc import Callable
from uuid import UUID

from prefect import flow, task
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterTaskRunId
from prefect.client.schemas.objects import Artifact
from prefect.runtime import task_run

from csift.interfaces import Progress
from tasks.progress import reporter, show_in


def run_stage(name: str, stage: Callable[[Progress], None]) -> str:
    """Runs a stage as a task of a flow; returns the task run's id."""

    @task
    def stage_task() -> str:
        stage(reporter(name))
        return task_run.id

    @flow
    def stage_flow() -> str:
        return stage_task()

    return stage_flow()


def artifacts_of(task_run_id: str) -> list[Artifact]:
    """The artifacts of a task run."""
    mine = ArtifactFilter(task_run_id=ArtifactFilterTaskRunId(any_=[UUID(task_run_id)]))
    with get_client(sync_client=True) as client:
        return client.read_artifacts(artifact_filter=mine)


def test_a_stage_has_one_artifact_that_reaches_100_percent() -> None:
    def stage(progress: Progress) -> None:
        for done in range(1, 6):
            progress("train", done, 5, f"loss 0.{done}")

    [artifact] = artifacts_of(run_stage("train", stage))
    assert (artifact.type, artifact.key) == ("progress", "progress-train")
    assert (artifact.data, artifact.description) == (100.0, "train: 5 of 5, loss 0.5")


def test_updates_between_two_looks_are_not_sent() -> None:
    def stage(progress: Progress) -> None:
        for done in range(1, 50):
            progress("ingest", done, 100)

    [artifact] = artifacts_of(run_stage("ingest", stage))
    assert artifact.data == 1.0


def test_any_name_of_a_stage_makes_a_key() -> None:
    [artifact] = artifacts_of(run_stage("judge Champion", lambda progress: progress("judge Champion", 1, 2)))
    assert (artifact.key, artifact.description) == ("progress-judge-champion", "judge Champion: 1 of 2")


def test_a_stage_may_report_from_threads_of_its_own() -> None:
    def stage(progress: Progress) -> None:
        threads = [threading.Thread(target=progress, args=("synthesise", done, 4)) for done in (1, 4)]
        for thread in threads:
            thread.start()
            thread.join()

    [artifact] = artifacts_of(run_stage("synthesise", stage))
    assert artifact.data == 100.0


def test_nothing_to_do_is_all_done() -> None:
    [artifact] = artifacts_of(run_stage("judge", lambda progress: progress("judge", 0, 0)))
    assert artifact.data == 100.0


def test_the_command_line_sees_every_step_of_a_task() -> None:
    seen: list[tuple[str, int, int, str]] = []

    def stage(progress: Progress) -> None:
        for done in range(4):
            progress("drift", done, 3, "permutations")

    with show_in(lambda *step: seen.append(step)):  # type: ignore[arg-type]
        run_stage("drift", stage)
    assert seen == [("drift", done, 3, "permutations") for done in range(4)]


def test_outside_of_a_run_only_the_command_line_is_told() -> None:
    seen: list[tuple[str, int, int, str]] = []
    with show_in(lambda *step: seen.append(step)):  # type: ignore[arg-type]
        reporter("outside")("outside", 1, 2)
    reporter("outside")("outside", 2, 2)
    assert seen == [("outside", 1, 2, "")]
