"""Training on Bedrock: nothing is paid twice, what costs money by the hour has a price and an end, and errors say what to do."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.config import Config
from embedding_servers import aws_environment
from hypothesis import given, settings
from hypothesis import strategies as st
from moto.server import ThreadedMotoServer
from pydantic import ValidationError

from bench.bedrock_server import BedrockServer, Job
from bench.bedrock_wire import misfits
from csift.bedrock import (
    Customization,
    CustomModel,
    customize,
    loss_points,
    orphans,
    provision,
    provisioned,
    quote,
    release,
    stop,
    system_of,
    upload,
)
from csift.bedrock.records import name_of
from csift.exceptions import ConfigError, TrainingError
from csift.retrieval.aws import aws_client
from csift.schemas import GenerationParams, System

ROLE = "arn:aws:iam::123456789012:role/csift-customization"
ROWS = ['{"prompt": "What is the term?", "completion": "Two years."}', '{"prompt": "Straße?", "completion": "Ja."}']
METRICS = "step_number,epoch_number,training_loss,perplexity\n0,0,2.5,12.2\n1,0,1.5,4.5\n2,1,1.0,2.7\n"
PRICES = {"none": 20.5}


@pytest.fixture(scope="module", autouse=True)
def keys() -> Iterator[None]:
    """Credentials that reach nothing outside."""
    with pytest.MonkeyPatch.context() as patch:
        aws_environment(patch)
        yield


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """A server that speaks S3."""
    moto = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()
    try:
        yield f"http://{host}:{port}"
    finally:
        moto.stop()


@pytest.fixture(scope="module")
def s3(endpoint: str) -> Any:
    """A client of a bucket `training`."""
    client = aws_client("s3", None, endpoint, 2)
    client.create_bucket(Bucket="training", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    return client


@pytest.fixture
def server(s3: Any) -> Iterator[BedrockServer]:
    """Bedrock, which reads and writes that bucket."""

    def exists(uri: str) -> bool:
        parts = urlsplit(uri)
        return "Contents" in s3.list_objects_v2(Bucket=parts.netloc, Prefix=parts.path.lstrip("/"))

    with BedrockServer(exists=exists, on_completed=lambda job: write_metrics(s3, job, METRICS.encode())) as started:
        yield started


def write_metrics(s3: Any, job: Job, content: bytes) -> None:
    """What Bedrock writes beside its output, where it writes it."""
    folder = urlsplit(job.params["outputDataConfig"]["s3Uri"]).path.strip("/")
    key = f"{folder}/model-customization-job-{job.id}/training_artifacts/step_wise_training_metrics.csv"
    s3.put_object(Bucket="training", Key=key, Body=content)


def connect(server: BedrockServer) -> Any:
    """A client that tries once, as a process of its own would make."""
    config = Config(retries={"total_max_attempts": 1}, read_timeout=10)
    return boto3.client("bedrock", endpoint_url=server.url, config=config)


def the_job(s3: Any, **changes: Any) -> Customization:
    """A fine-tuning job on uploaded rows."""
    fields = {
        "name": "catalogue",
        "kind": "FINE_TUNING",
        "base_model": "amazon.nova-lite-v1:0:300k",
        "role_arn": ROLE,
        "training_uri": upload(s3, ROWS, "s3://training/csift/data"),
        "output_uri": "s3://training/csift/output",
        "hyperparameters": {"epochCount": "2"},
    }
    return Customization.model_validate({**fields, **changes})


def at_once(seconds: float) -> None:
    """Waits for nothing."""


def trained(server: BedrockServer, s3: Any) -> CustomModel:
    return customize(connect(server), the_job(s3), at_once)


# --- the rows ------------------------------------------------------------------------------------------------------------------


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


# --- the job -------------------------------------------------------------------------------------------------------------------


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


class Killed(BaseException):
    """The process ends here."""


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


# --- the metrics ---------------------------------------------------------------------------------------------------------------


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


# --- throughput ----------------------------------------------------------------------------------------------------------------


def test_a_throughput_has_a_price_before_it_is_made() -> None:
    model = CustomModel(arn="arn/x", name="n", project="p", job_arn="j", output_uri="s3://abc", training_loss=None)
    quoted = quote(model, 2, None, PRICES)
    assert str(quoted) == "2 model units of arn/x: US$ 41.00 an hour until it is deleted"
    assert quoted.usd_committed == 41.0
    month = quote(model, 1, "OneMonth", {"OneMonth": 10.0})
    assert str(month).endswith(
        "US$ 10.00 an hour for one month, up to US$ 7,440.00; it cannot be deleted earlier and renews by itself"
    )
    with pytest.raises(ConfigError, match=r"set training\.bedrock\.usd_per_unit_hour = \{ SixMonths = "):
        quote(model, 1, "SixMonths", {"OneMonth": 10.0})


def test_a_throughput_serves_within_its_block_and_is_deleted_after_it(server: BedrockServer, s3: Any) -> None:
    model, client = trained(server, s3), connect(server)
    waits: list[float] = []
    quoted = quote(model, 1, None, PRICES)
    for _ in range(2):  # the second is a new one, not what the first one's token stood for
        with provisioned(client, quoted, waits.append) as made:
            assert server.throughputs[made.arn].status == "InService"
            assert made.model == f"bedrock/{made.arn}"
            assert [(one.name, one.project, one.units) for one in orphans(client)] == [(made.name, "catalogue", 1)]
        assert server.throughputs == {}
    assert len(waits) == 6
    assert server.count("CreateProvisionedModelThroughput") == 2


@pytest.mark.parametrize("error", [ValueError("boom"), KeyboardInterrupt(), Killed()])
def test_a_throughput_is_deleted_however_its_block_ends(server: BedrockServer, s3: Any, error: BaseException) -> None:
    quoted = quote(trained(server, s3), 1, None, PRICES)
    with pytest.raises(type(error)), provisioned(connect(server), quoted, at_once):
        raise error
    assert server.throughputs == {}


def test_a_throughput_is_deleted_when_it_is_interrupted_before_it_serves(server: BedrockServer, s3: Any) -> None:
    """Bedrock deletes none that is still being made, so that is waited for."""
    quoted = quote(trained(server, s3), 1, None, PRICES)
    waits: list[float] = []

    def interrupted_once(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), provisioned(connect(server), quoted, interrupted_once):
        pytest.fail("it is not in service")
    assert server.throughputs == {}
    assert len(waits) > 1


def test_a_throughput_whose_making_was_not_heard_of_is_deleted(server: BedrockServer, s3: Any) -> None:
    quoted = quote(trained(server, s3), 1, None, PRICES)
    server.lose_next_answer("CreateProvisionedModelThroughput")
    with pytest.raises(TrainingError, match=r"^creating provisioned throughput"), provisioned(connect(server), quoted, at_once):
        pytest.fail("it is not in service")
    assert server.count("DeleteProvisionedModelThroughput") > 0
    assert server.throughputs == {}


def test_a_throughput_that_fails_is_deleted(server: BedrockServer, s3: Any) -> None:
    quoted = quote(trained(server, s3), 1, None, PRICES)
    server.throughput_failure = "No capacity."
    with pytest.raises(TrainingError, match="failed and was deleted: No capacity; "):
        provision(connect(server), quoted, at_once)
    assert server.throughputs == {}


def test_a_throughput_that_cannot_be_deleted_says_that_it_costs_and_what_came_before(server: BedrockServer, s3: Any) -> None:
    quoted = quote(trained(server, s3), 1, None, PRICES)
    server.deny("DeleteProvisionedModelThroughput")
    words = (
        r"charged by the hour until it is deleted, is denied: .*allow bedrock:DeleteProvisionedModelThroughput.*before that: boom"
    )
    with pytest.raises(TrainingError, match=words), provisioned(connect(server), quoted, at_once):
        raise ValueError("boom")


def test_what_a_killed_process_left_is_found_and_taken_up(server: BedrockServer, s3: Any) -> None:
    quoted = quote(trained(server, s3), 1, None, PRICES)
    left = provision(connect(server), quoted, at_once)
    server.tags["someone-elses"] = {}
    client = connect(server)
    assert [one.arn for one in orphans(client, "catalogue")] == [left.arn]
    assert orphans(client, "another") == []
    with provisioned(client, quoted, at_once) as made:
        assert made == left
    assert server.count("CreateProvisionedModelThroughput") == 1
    assert orphans(client) == []
    release(client, left.name, at_once)  # nothing is there


@pytest.mark.parametrize("said", ["ConflictException", "ValidationException"])
def test_a_throughput_that_a_late_list_hides_is_taken_up(server: BedrockServer, s3: Any, said: str) -> None:
    server.in_use = said
    quoted = quote(trained(server, s3), 1, None, PRICES)
    left = provision(connect(server), quoted, at_once)
    server.list_nothing_next("ListProvisionedModelThroughputs")
    assert provision(connect(server), quoted, at_once) == left
    assert len(server.throughputs) == 1


def test_what_csift_did_not_make_is_no_orphan(server: BedrockServer, s3: Any) -> None:
    client = connect(server)
    client.create_provisioned_model_throughput(modelUnits=1, provisionedModelName="theirs", modelId=trained(server, s3).arn)
    assert orphans(client) == []


def test_orphans_are_found_on_every_page(server: BedrockServer, s3: Any) -> None:
    server.max_units = 10
    model, client = trained(server, s3), connect(server)
    for units in (1, 2, 3):  # the stand-in's pages hold two
        provision(client, quote(model, units, None, PRICES), at_once)
    assert sorted(one.units for one in orphans(client)) == [1, 2, 3]


def test_a_commitment_is_no_block_and_cannot_be_deleted_before_its_end(server: BedrockServer, s3: Any) -> None:
    client = connect(server)
    quoted = quote(trained(server, s3), 1, "OneMonth", {"OneMonth": 10.0})
    with pytest.raises(ConfigError, match="cannot be deleted after use"), provisioned(client, quoted, at_once):
        pytest.fail("it is not made")
    made = provision(client, quoted, at_once)
    with pytest.raises(TrainingError, match=r"is committed until 20\d\d-\d\d-\d\d .* renews by itself"):
        release(client, made.name, at_once)
    assert [one.until is not None for one in orphans(client)] == [True]


def test_more_units_than_the_account_has_are_refused(server: BedrockServer, s3: Any) -> None:
    quoted = quote(trained(server, s3), 3, None, PRICES)
    with pytest.raises(TrainingError, match=r"ServiceQuotaExceededException: .*raise the account's quota"):
        provision(connect(server), quoted, at_once)
    assert server.throughputs == {}


# --- the System ----------------------------------------------------------------------------------------------------------------


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


# --- the policies --------------------------------------------------------------------------------------------------------------

POLICIES = sorted((Path(__file__).parent.parent / "deployments" / "aws").glob("*.json"))
WITHOUT_OPERATION = {"iam:PassRole"}  # a permission that is checked in other services' calls
OPERATION_OF = {"s3:ListBucket": "ListObjectsV2"}


def actions(policy: Path) -> set[str]:
    """Every action that a policy allows; AWS takes one as a string, too."""
    found: set[str] = set()
    for statement in json.loads(policy.read_text())["Statement"]:
        assert statement["Effect"] == "Allow"
        found |= {statement["Action"]} if isinstance(statement["Action"], str) else set(statement["Action"])
    return found


@pytest.mark.parametrize("policy", POLICIES, ids=lambda path: path.stem)
def test_every_action_of_a_policy_is_an_operation_of_aws(policy: Path) -> None:
    session = boto3.session.Session()._session
    assert json.loads(policy.read_text())["Version"] == "2012-10-17"
    for action in actions(policy) - WITHOUT_OPERATION:
        prefix, name = action.split(":")
        services = ("bedrock", "bedrock-runtime") if prefix == "bedrock" else (prefix,)
        known = {operation for one in services for operation in session.get_service_model(one).operation_names}
        assert OPERATION_OF.get(action, name) in known, action
        assert "*" not in action


def statements(name: str) -> Iterator[dict[str, Any]]:
    (path,) = [path for path in POLICIES if path.stem == name]
    yield from json.loads(path.read_text())["Statement"]


def test_only_lists_are_allowed_on_everything() -> None:
    for policy in POLICIES:
        for statement in json.loads(policy.read_text())["Statement"]:
            if "*" in statement.get("Resource", ()):
                assert all(action.startswith("bedrock:List") for action in statement["Action"])


def test_only_bedrock_may_take_the_role_and_only_for_this_accounts_jobs() -> None:
    (trust,) = statements("customization-role-trust")
    assert trust["Principal"] == {"Service": "bedrock.amazonaws.com"}
    assert trust["Condition"]["StringEquals"] == {"aws:SourceAccount": "ACCOUNT_ID"}
    assert trust["Condition"]["ArnLike"]["aws:SourceArn"].endswith(":ACCOUNT_ID:model-customization-job/*")
    (handed,) = [one for one in statements("worker-policy") if "iam:PassRole" in one["Action"]]
    assert handed["Condition"] == {"StringEquals": {"iam:PassedToService": "bedrock.amazonaws.com"}}


def test_the_worker_may_do_what_csift_does_and_no_more(server: BedrockServer, s3: Any) -> None:
    asked: set[str] = set()
    s3.meta.events.register("before-call.s3", lambda model, **_: asked.add(model.name))
    client, job = connect(server), the_job(s3)
    model = customize(client, job, at_once)
    loss_points(s3, model)
    with provisioned(client, quote(model, 1, None, PRICES), at_once):
        orphans(client)
    stop(client, job)
    used = {f"bedrock:{name}" for name, _ in server.received} | {f"s3:{name}" for name in asked}
    names = {"s3:ListObjectsV2": "s3:ListBucket", "s3:HeadObject": "s3:GetObject"}
    needed_besides = {"bedrock:TagResource", "bedrock:InvokeModel", "iam:PassRole"}  # to create with tags, to ask the model
    (policy,) = [path for path in POLICIES if path.stem == "worker-policy"]
    assert {names.get(action, action) for action in used} | needed_besides == actions(policy)
