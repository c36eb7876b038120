"""Progress of a stage in the Prefect UI and on the command line."""

import threading
from collections.abc import Callable

from prefect import flow, task
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
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


def artifacts(key: str) -> list[Artifact]:
    """The artifacts under a key."""
    with get_client(sync_client=True) as client:
        return client.read_artifacts(artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=[key])))


def test_a_stage_has_one_artifact_that_reaches_100_percent() -> None:
    def stage(progress: Progress) -> None:
        for done in range(1, 6):
            progress("train", done, 5, f"loss 0.{done}")

    task_run_id = run_stage("train", stage)
    [artifact] = artifacts("progress-train")
    assert (artifact.type, artifact.data, artifact.description) == ("progress", 100.0, "train: 5 of 5, loss 0.5")
    assert str(artifact.task_run_id) == task_run_id


def test_updates_between_two_looks_are_not_sent() -> None:
    run_stage("ingest", lambda progress: [progress("ingest", done, 100) for done in range(1, 50)] and None)
    [artifact] = artifacts("progress-ingest")
    assert artifact.data == 1.0


def test_any_name_of_a_stage_makes_a_key() -> None:
    run_stage("judge Champion", lambda progress: progress("judge Champion", 1, 2))
    [artifact] = artifacts("progress-judge-champion")
    assert artifact.description == "judge Champion: 1 of 2"


def test_a_stage_may_report_from_threads_of_its_own() -> None:
    def stage(progress: Progress) -> None:
        threads = [threading.Thread(target=progress, args=("synthesise", done, 4)) for done in (1, 4)]
        for thread in threads:
            thread.start()
            thread.join()

    task_run_id = run_stage("synthesise", stage)
    [artifact] = artifacts("progress-synthesise")
    assert (artifact.data, str(artifact.task_run_id)) == (100.0, task_run_id)


def test_nothing_to_do_is_all_done() -> None:
    run_stage("judge", lambda progress: progress("judge", 0, 0))
    [artifact] = artifacts("progress-judge")
    assert artifact.data == 100.0


def test_the_command_line_sees_every_step_of_a_task() -> None:
    seen: list[tuple[str, int, int, str]] = []
    with show_in(lambda *step: seen.append(step)):  # type: ignore[arg-type]
        run_stage("drift", lambda progress: [progress("drift", done, 3, "permutations") for done in range(4)] and None)
    assert seen == [("drift", done, 3, "permutations") for done in range(4)]


def test_outside_of_a_run_only_the_command_line_is_told() -> None:
    seen: list[tuple[str, int, int, str]] = []
    with show_in(lambda *step: seen.append(step)):  # type: ignore[arg-type]
        reporter("outside")("outside", 1, 2)
    reporter("outside")("outside", 2, 2)
    assert seen == [("outside", 1, 2, "")]
    assert artifacts("progress-outside") == []
