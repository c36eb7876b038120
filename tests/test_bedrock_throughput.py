"""Serving on Bedrock: what costs money by the hour has a price and an end, and csift has no more rights than it uses."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from bedrock_stand_ins import PRICE, Killed, at_once, bedrock_over, connect, quote, s3_bucket, the_job, trained

from bench.bedrock_server import BedrockServer
from csift.bedrock import customize, loss_points, orphans, provision, provisioned, release, stop
from csift.exceptions import ConfigError, TrainingError
from csift.schemas import CustomModel
from csift.storage import S3Store


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


def killed(seconds: float) -> None:
    raise Killed


# --- throughput -----------------------------------------------------------------------------------------------------------------


def test_a_throughput_has_a_price_before_it_is_made() -> None:
    model = CustomModel(
        arn="arn/x",
        name="n",
        kind="FINE_TUNING",
        base_model="b",
        project="p",
        job_arn="j",
        output_uri="s3://abc",
        training_loss=None,
    )
    quoted = quote(model, 2, None, PRICE)
    assert str(quoted) == "2 model units of arn/x: US$ 41.00 an hour until it is deleted"
    assert quoted.usd_committed == 41.0
    month = quote(model, 1, "OneMonth", 10.0)
    assert str(month).endswith(
        "US$ 10.00 an hour for one month, up to US$ 7,440.00; it cannot be deleted earlier and renews by itself"
    )


def test_a_throughput_serves_within_its_block_and_is_deleted_after_it(server: BedrockServer, s3: Any) -> None:
    model, client = trained(server, s3), connect(server)
    waits: list[float] = []
    quoted = quote(model, 1, None, PRICE)
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
    quoted = quote(trained(server, s3), 1, None, PRICE)
    with pytest.raises(type(error)), provisioned(connect(server), quoted, at_once):
        raise error
    assert server.throughputs == {}


def test_a_throughput_is_deleted_when_it_is_interrupted_before_it_serves(server: BedrockServer, s3: Any) -> None:
    """Bedrock deletes none that is still being made, so that is waited for."""
    quoted = quote(trained(server, s3), 1, None, PRICE)
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
    quoted = quote(trained(server, s3), 1, None, PRICE)
    server.lose_next_answer("CreateProvisionedModelThroughput")
    with pytest.raises(TrainingError, match=r"^creating provisioned throughput"), provisioned(connect(server), quoted, at_once):
        pytest.fail("it is not in service")
    assert server.count("DeleteProvisionedModelThroughput") > 0
    assert server.throughputs == {}


def test_a_throughput_that_fails_is_deleted(server: BedrockServer, s3: Any) -> None:
    quoted = quote(trained(server, s3), 1, None, PRICE)
    server.throughput_failure = "No capacity."
    with pytest.raises(TrainingError, match="failed and was deleted: No capacity; "):
        provision(connect(server), quoted, at_once)
    assert server.throughputs == {}


def test_a_throughput_that_cannot_be_deleted_says_that_it_costs_and_what_came_before(server: BedrockServer, s3: Any) -> None:
    quoted = quote(trained(server, s3), 1, None, PRICE)
    server.deny("DeleteProvisionedModelThroughput")
    words = (
        r"charged by the hour until it is deleted, is denied: .*allow bedrock:DeleteProvisionedModelThroughput.*before that: boom"
    )
    with pytest.raises(TrainingError, match=words), provisioned(connect(server), quoted, at_once):
        raise ValueError("boom")


def test_what_a_killed_process_left_is_found_and_taken_up(server: BedrockServer, s3: Any) -> None:
    quoted = quote(trained(server, s3), 1, None, PRICE)
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
    quoted = quote(trained(server, s3), 1, None, PRICE)
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
        provision(client, quote(model, units, None, PRICE), at_once)
    assert sorted(one.units for one in orphans(client)) == [1, 2, 3]


def test_a_commitment_is_no_block_and_cannot_be_deleted_before_its_end(server: BedrockServer, s3: Any) -> None:
    client = connect(server)
    quoted = quote(trained(server, s3), 1, "OneMonth", 10.0)
    with pytest.raises(ConfigError, match="cannot be deleted after use"), provisioned(client, quoted, at_once):
        pytest.fail("it is not made")
    shown: list[str] = []
    made = provision(client, quoted, at_once, lambda stage, done, total, note="": shown.append(note))
    assert shown[0] == str(quoted)
    with pytest.raises(TrainingError, match=r"is committed until 20\d\d-\d\d-\d\d .* renews by itself"):
        release(client, made.name, at_once)
    assert [one.until is not None for one in orphans(client)] == [True]


def test_a_commitment_serves_one_model_after_the_other(server: BedrockServer, s3: Any) -> None:
    """A new model each night must not be a new month each night."""
    client = connect(server)
    first, second = (customize(client, the_job(s3, attempt=attempt), at_once) for attempt in (1, 2))
    made = provision(client, quote(first, 1, "OneMonth", 10.0), at_once)
    moved = provision(client, quote(second, 1, "OneMonth", 10.0), at_once)
    assert (moved.arn, moved.model_arn) == (made.arn, second.arn)
    assert [one.model_arn for one in server.throughputs.values()] == [second.arn]
    assert server.throughputs[made.arn].status == "InService"
    assert provision(client, quote(second, 1, "OneMonth", 10.0), at_once) == moved
    assert server.count("UpdateProvisionedModelThroughput") == server.count("CreateProvisionedModelThroughput") == 1


def test_a_run_that_was_killed_while_its_throughput_moved_waits_for_it(server: BedrockServer, s3: Any) -> None:
    client = connect(server)
    first, second = (customize(client, the_job(s3, attempt=attempt), at_once) for attempt in (1, 2))
    provision(client, quote(first, 1, "OneMonth", 10.0), at_once)
    quoted = quote(second, 1, "OneMonth", 10.0)
    with pytest.raises(Killed):
        provision(client, quoted, killed)
    waits: list[float] = []
    assert provision(client, quoted, waits.append).model_arn == second.arn
    assert waits
    assert server.count("UpdateProvisionedModelThroughput") == 1


def test_more_units_than_the_account_has_are_refused(server: BedrockServer, s3: Any) -> None:
    quoted = quote(trained(server, s3), 3, None, PRICE)
    with pytest.raises(TrainingError, match=r"ServiceQuotaExceededException: .*raise the account's quota"):
        provision(connect(server), quoted, at_once)
    assert server.throughputs == {}


# --- the policies ---------------------------------------------------------------------------------------------------------------


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
    for role, job, hands in (("customization", "model-customization-job", "worker"), ("import", "model-import-job", "import")):
        (trust,) = statements(f"{role}-role-trust")
        assert trust["Principal"] == {"Service": "bedrock.amazonaws.com"}
        assert trust["Condition"]["StringEquals"] == {"aws:SourceAccount": "ACCOUNT_ID"}
        assert trust["Condition"]["ArnLike"]["aws:SourceArn"].endswith(f":ACCOUNT_ID:{job}/*")
        (handed,) = [one for one in statements(f"{hands}-policy") if "iam:PassRole" in one["Action"]]
        assert handed["Condition"] == {"StringEquals": {"iam:PassedToService": "bedrock.amazonaws.com"}}


def use_a_store(store: S3Store, folder: Path) -> None:
    """All that csift does with the objects of CSIFT_STORE_URL."""
    (folder / "adapter").mkdir()
    (folder / "adapter" / "weights").write_bytes(b"0" * 100)
    store.publish("adapters/a", folder / "adapter", {})
    store.open_artifact("adapters/a")
    assert store.artifacts("adapters") == ["adapters/a"]
    store.discard("adapters/a")


def test_the_worker_may_do_what_csift_does_and_no_more(server: BedrockServer, s3: Any, tmp_path: Path) -> None:
    asked: set[str] = set()
    s3.meta.events.register("before-call.s3", lambda model, **_: asked.add(model.name))
    client, job = connect(server), the_job(s3)
    model = customize(client, job, at_once)
    loss_points(s3, model)
    with provisioned(client, quote(model, 1, None, PRICE), at_once):
        orphans(client)
    stop(client, job)
    committed = [quote(one, 1, "OneMonth", PRICE) for one in (model, customize(client, the_job(s3, attempt=2), at_once))]
    for quoted in committed:
        provision(client, quoted, at_once)
    use_a_store(S3Store("s3://training/store", tmp_path / "cache", s3), tmp_path)
    used = {f"bedrock:{name}" for name, _ in server.received} | {f"s3:{name}" for name in asked}
    names = {"s3:ListObjectsV2": "s3:ListBucket", "s3:HeadObject": "s3:GetObject"}
    needed_besides = {"bedrock:TagResource", "bedrock:InvokeModel", "iam:PassRole"}  # to create with tags, to ask the model
    needed_besides |= {"s3:AbortMultipartUpload"}  # of an upload in parts that fails
    (policy,) = [path for path in POLICIES if path.stem == "worker-policy"]
    assert {names.get(action, action) for action in used} | needed_besides == actions(policy)
