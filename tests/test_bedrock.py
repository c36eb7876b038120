"""Training on Bedrock: nothing is paid twice, and errors say what to do."""

from collections.abc import Iterator
from typing import Any

import pytest
from bedrock_stand_ins import (
    ROLE,
    ROWS,
    Killed,
    at_once,
    bedrock_over,
    connect,
    s3_bucket,
    the_job,
    trained,
    write_metrics,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from bench.bedrock_server import BedrockServer
from bench.bedrock_wire import misfits
from csift.bedrock import customize, loss_points, stop, system_of, upload
from csift.bedrock.records import name_of
from csift.exceptions import ConfigError, TrainingError
from csift.retrieval.aws import aws_client
from csift.schemas import GenerationParams, System


@pytest.fixture(scope="module")
def s3() -> Iterator[Any]:
    """A client of a bucket `training`."""
    with s3_bucket() as client:
        yield client


@pytest.fixture
def server(s3: Any) -> Iterator[BedrockServer]:
    """Bedrock, which reads and writes that bucket."""
    with bedrock_over(s3) as started:
        yield started


# --- the rows -------------------------------------------------------------------------------------------------------------------


def test_rows_are_uploaded_once_under_the_name_of_their_content(s3: Any) -> None:
    uri = upload(s3, ROWS, "s3://training/csift/data")
    key = uri.removeprefix("s3://training/")
    first = s3.head_object(Bucket="training", Key=key)
    assert s3.get_object(Bucket="training", Key=key)["Body"].read().decode() == f"{ROWS[0]}\n{ROWS[1]}\n"

    puts: list[str] = []
    s3.meta.events.register("before-call.s3.PutObject", lambda **_: puts.append("put"))
    assert upload(s3, [f"{row}\n" for row in ROWS], "s3://training/csift/data/") == uri
    assert puts == []
    assert upload(s3, ROWS[:1], "s3://training/csift/data") != uri
    assert puts == ["put"]
    assert s3.head_object(Bucket="training", Key=key)["LastModified"] == first["LastModified"]


def test_an_object_that_was_altered_is_uploaded_again(s3: Any) -> None:
    uri = upload(s3, ROWS, "s3://training")
    key = uri.removeprefix("s3://training/")
    s3.put_object(Bucket="training", Key=key, Body=b"half")
    upload(s3, ROWS, "s3://training")
    assert s3.get_object(Bucket="training", Key=key)["Body"].read().decode().splitlines() == ROWS


@pytest.mark.parametrize(
    ("rows", "place", "words"),
    [
        ([], "s3://training/a", "no training rows"),
        (['{"a": 1}', "[1]"], "s3://training/a", r"row 2 .*no JSON object"),
        (['{"a": '], "s3://training/a", r"row 1 .*no JSON object"),
        (ROWS, "s3://no-such-bucket/a", "uploading s3://no-such-bucket/a/.* NoSuchBucket: .*correct the bucket"),
        (ROWS, "/training/a", "write s3://bucket/folder"),
        (ROWS, "s3://training/a b", "write s3://bucket/folder"),
    ],
)
def test_what_cannot_be_uploaded_is_told(s3: Any, rows: list[str], place: str, words: str) -> None:
    with pytest.raises((TrainingError, ConfigError), match=words):
        upload(s3, rows, place)


# --- the job --------------------------------------------------------------------------------------------------------------------


def test_a_job_is_made_followed_and_gives_its_model_and_losses(server: BedrockServer, s3: Any) -> None:
    notes: list[tuple[int, int, str]] = []
    waits: list[float] = []
    model = customize(
        connect(server), the_job(s3), waits.append, lambda stage, done, total, note="": notes.append((done, total, note))
    )
    assert model.arn in server.custom_models
    assert model.training_loss == 0.5
    assert notes == [(0, 3, "data processing"), (1, 3, "training"), (2, 3, "validation"), (3, 3, "Completed")]
    assert len(waits) == 3
    assert [(point.step, point.loss) for point in loss_points(s3, model)] == [(0, 2.5), (1, 1.5), (2, 1.0)]


def test_bedrock_gets_what_the_customization_says(server: BedrockServer, s3: Any) -> None:
    training = upload(s3, ROWS, "s3://training/csift/data")
    job = the_job(s3, kind="DISTILLATION", validation_uri=training, teacher_model="amazon.nova-pro-v1:0", max_response_tokens=500)
    customize(connect(server), job, at_once)
    (asked,) = [params for name, params in server.received if name == "CreateModelCustomizationJob"]
    assert asked["customizationType"] == "DISTILLATION"
    assert asked["customizationConfig"]["distillationConfig"]["teacherModelConfig"] == {
        "teacherModelIdentifier": "amazon.nova-pro-v1:0",
        "maxResponseLengthForInference": 500,
    }
    assert asked["trainingDataConfig"] == {"s3Uri": training}
    assert asked["validationDataConfig"] == {"validators": [{"s3Uri": training}]}
    assert asked["hyperParameters"] == {"epochCount": "2"}
    assert asked["jobTags"] == asked["customModelTags"] == [{"key": "csift-project", "value": "catalogue"}]


def test_continued_pre_training_is_a_kind_of_its_own(server: BedrockServer, s3: Any) -> None:
    job = the_job(s3, kind="CONTINUED_PRE_TRAINING", base_model="amazon.titan-text-lite-v1:0:4k")
    assert "titan-text-lite" in customize(connect(server), job, at_once).arn
    assert [job.params["customizationType"] for job in server.jobs.values()] == ["CONTINUED_PRE_TRAINING"]


def killed(seconds: float) -> None:
    raise Killed


def test_a_run_that_was_killed_while_it_waited_finds_its_job(server: BedrockServer, s3: Any) -> None:
    job = the_job(s3)
    with pytest.raises(Killed):
        customize(connect(server), job, killed)
    model = customize(connect(server), job, at_once)
    assert customize(connect(server), job, killed) == model  # it has ended, nothing is waited for
    assert server.count("CreateModelCustomizationJob") == 1


def test_a_run_that_was_killed_before_it_heard_of_its_job_finds_it(server: BedrockServer, s3: Any) -> None:
    job = the_job(s3)
    server.lose_next_answer("CreateModelCustomizationJob")
    with pytest.raises(TrainingError, match=r"creating customization job .* failed"):
        customize(connect(server), job, at_once)
    customize(connect(server), job, at_once)
    assert server.count("CreateModelCustomizationJob") == len(server.jobs) == 1


def test_a_lost_answer_is_asked_for_again_with_the_same_token(server: BedrockServer, s3: Any) -> None:
    server.lose_next_answer("CreateModelCustomizationJob")
    customize(aws_client("bedrock", None, server.url, 2), the_job(s3), at_once)
    asked = [params["clientRequestToken"] for name, params in server.received if name == "CreateModelCustomizationJob"]
    assert asked == [the_job(s3).job_name] * 2
    assert len(server.jobs) == 1


@pytest.mark.parametrize("said", ["ConflictException", "ValidationException"])
def test_a_job_that_another_process_made_meanwhile_is_taken(server: BedrockServer, s3: Any, said: str) -> None:
    """Between this process's look and its request, with a list that is late."""
    server.in_use = said
    job = the_job(s3)
    with pytest.raises(Killed):
        customize(connect(server), job, killed)
    server.forget_tokens()
    server.list_nothing_next("ListModelCustomizationJobs")
    customize(connect(server), job, at_once)
    assert server.count("CreateModelCustomizationJob") == 2
    assert len(server.jobs) == 1


def test_other_settings_are_another_job(server: BedrockServer, s3: Any) -> None:
    arns = {
        customize(connect(server), job, at_once).arn
        for job in (the_job(s3), the_job(s3, hyperparameters={"epochCount": "3"}), the_job(s3, attempt=2), the_job(s3, name="b"))
    }
    assert len(arns) == 4


def test_a_job_that_failed_says_why_and_is_not_paid_again_by_itself(server: BedrockServer, s3: Any) -> None:
    server.job_failure = "Row 7 has no\nassistant turn."
    for _ in range(2):
        with pytest.raises(
            TrainingError, match=r"failed: Row 7 has no assistant turn; correct .*training\.bedrock\.attempt = 2$"
        ):
            customize(connect(server), the_job(s3), at_once)
    assert server.count("CreateModelCustomizationJob") == 1
    server.job_failure = None
    customize(connect(server), the_job(s3, attempt=2), at_once)


def test_a_job_that_was_stopped_made_no_model(server: BedrockServer, s3: Any) -> None:
    job, client = the_job(s3), connect(server)
    with pytest.raises(TrainingError, match="was stopped and made no model"):
        customize(client, job, lambda seconds: stop(client, job))
    stop(client, job)  # it has ended
    stop(client, the_job(s3, attempt=2))  # it never was
    assert server.custom_models == {}


def test_a_model_that_was_deleted_is_told(server: BedrockServer, s3: Any) -> None:
    model = trained(server, s3)
    connect(server).delete_custom_model(modelIdentifier=model.name)
    with pytest.raises(TrainingError, match=r"was deleted; .*attempt = 2"):
        trained(server, s3)


@pytest.mark.parametrize(
    "operation",
    ["ListModelCustomizationJobs", "CreateModelCustomizationJob", "GetModelCustomizationJob", "GetCustomModel"],
)
def test_what_is_denied_names_the_permission_in_one_line(server: BedrockServer, s3: Any, operation: str) -> None:
    server.deny(operation)
    with pytest.raises(
        TrainingError, match=f"is denied: .*allow bedrock:{operation} as deployments/aws/worker-policy.json"
    ) as caught:
        customize(connect(server), the_job(s3), at_once)
    assert "\n" not in str(caught.value)


def test_what_is_throttled_is_asked_again(server: BedrockServer, s3: Any) -> None:
    server.refuse_next("GetCustomModel", "ThrottlingException")
    customize(aws_client("bedrock", None, server.url, 2), the_job(s3), at_once)
    assert server.count("GetCustomModel") == 2


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"base_model": "amazon.no-such-v1:0"}, "model identifier amazon.no-such-v1:0 is invalid"),
        ({"kind": "CONTINUED_PRE_TRAINING"}, "does not support CONTINUED_PRE_TRAINING"),
        ({"role_arn": "arn:aws:iam::210987654321:role/csift"}, "Cross-account"),
        ({"training_uri": "s3://training/nothing.jsonl"}, "S3 object s3://training/nothing.jsonl"),
        ({"validation_uri": "s3://training/nothing.jsonl"}, "S3 object s3://training/nothing.jsonl"),
    ],
)
def test_what_bedrock_refuses_is_told(server: BedrockServer, s3: Any, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(TrainingError, match=f"creating customization job .*{words}.*; correct what it names$"):
        customize(connect(server), the_job(s3, **changes), at_once)
    assert server.jobs == {}


def test_without_keys_it_says_which_to_set(server: BedrockServer, s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    job = the_job(s3)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    with pytest.raises(TrainingError, match="set AWS_ACCESS_KEY_ID"):
        customize(aws_client("bedrock", None, server.url, 1), job, at_once)


@pytest.mark.parametrize(
    "changes",
    [
        {"role_arn": "arn:aws:iam::123:role/csift"},
        {"output_uri": "training/output"},
        {"kind": "DISTILLATION"},
        {"teacher_model": "amazon.nova-pro-v1:0"},
        {"name": "-"},
        {"epochs": 2},
    ],
)
def test_an_impossible_customization_cannot_be_made(s3: Any, changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        the_job(s3, **changes)


@settings(max_examples=40)
@given(st.text(min_size=1), st.integers())
def test_a_name_is_one_that_bedrock_takes(project: str, payload: int) -> None:
    name = name_of(f"a{project}", payload)
    names = {"jobName": name, "customModelName": name, "clientRequestToken": name}
    places = {"trainingDataConfig": {"s3Uri": "s3://abc/d"}, "outputDataConfig": {"s3Uri": "s3://abc/d"}}
    asked = {**names, **places, "roleArn": ROLE, "baseModelIdentifier": "ab.cd"}
    assert misfits(asked, "CreateModelCustomizationJob") == []
    assert misfits({"provisionedModelName": name, "modelId": "ab.cd", "modelUnits": 1}, "CreateProvisionedModelThroughput") == []


# --- the metrics ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no column step_number and no training_loss"),
        (b"step_number,epoch_number,validation_loss\n0,0,1.0\n", "no column training_loss"),
        (b"step_number,training_loss\n", "no rows"),
        (b"step_number,training_loss\n0,1.0\n1,high\n", "line 3 is .*high"),
        (b"step_number,training_loss\n0,1.0\n1\n", "line 3 is .*None"),
        (b"step_number,training_loss\n0,nan\n", "the loss in line 2 is nan"),
        (b"step_number,training_loss\n5,1.0\n0,1.0\n", "step 0 comes after step 5 in line 3"),
        (b"\xff\xfe\x00", "no table of training metrics"),
    ],
)
def test_metrics_that_are_malformed_are_told(server: BedrockServer, s3: Any, content: bytes, words: str) -> None:
    server.on_completed = lambda job: write_metrics(s3, job, content)
    with pytest.raises(TrainingError, match=words) as caught:
        loss_points(s3, trained(server, s3))
    assert "step_wise_training_metrics.csv" in str(caught.value)


def test_rows_of_the_same_step_are_averaged(server: BedrockServer, s3: Any) -> None:
    table = "\ufeffepoch_number, step_number, training_loss\n0, 0, 3.0\n0, 0, 1.0\n0, 4, 1.5\n"
    server.on_completed = lambda job: write_metrics(s3, job, table.encode())
    assert [(point.step, point.loss) for point in loss_points(s3, trained(server, s3))] == [(0, 2.0), (4, 1.5)]


def test_metrics_that_are_not_there_are_told(server: BedrockServer, s3: Any) -> None:
    server.on_completed = None
    with pytest.raises(TrainingError, match=r"reading the training metrics s3://training/csift/output/model-customization-job-"):
        loss_points(s3, trained(server, s3))


# --- the System -----------------------------------------------------------------------------------------------------------------


def test_the_model_is_a_system_like_any_other(server: BedrockServer, s3: Any) -> None:
    like = System.of(
        base_model="smollm2-135m-instruct",
        base_revision="r1",
        adapter_id="adapter-1",
        program="standard",
        program_hash="p1",
        snapshot_id="s1",
        embedder="minilm",
        k=3,
        generation=GenerationParams(max_new_tokens=48),
    )
    model = trained(server, s3)
    system = system_of(model, like)
    assert system.base_model == f"bedrock/{model.arn}"
    assert model.arn.endswith(system.base_revision)
    assert system.adapter_id is None
    unchanged = {"program", "program_hash", "snapshot_id", "embedder", "k", "generation"}
    assert system.model_dump(include=unchanged) == like.model_dump(include=unchanged)
    assert system == system.on("s1")  # its id is that of its parts
    assert system.id != like.id
