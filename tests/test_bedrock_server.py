"""The stand-in for Bedrock refuses what Bedrock would refuse, by botocore's own model of the service."""

import http.client
import json
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from bench.bedrock_server import BedrockServer
from bench.bedrock_wire import misfits


@pytest.fixture
def server() -> Iterator[BedrockServer]:
    with BedrockServer(exists=lambda uri: uri != "s3://training/nothing") as started:
        yield started


@pytest.fixture
def ask(server: BedrockServer) -> Callable[..., tuple[int, str, str]]:
    """Sends a request past boto3, which would not send most wrong ones; returns status, exception and message."""

    def send(method: str, path: str, body: Any = None, *, signed: bool = True) -> tuple[int, str, str]:
        parts = urlsplit(server.url)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=10)
        try:
            text = body if isinstance(body, str) else None if body is None else json.dumps(body)
            connection.request(method, path, text, {"Authorization": "AWS4-HMAC-SHA256 Credential=x"} if signed else {})
            answer = connection.getresponse()
            said = json.loads(answer.read())
            return answer.status, (answer.getheader("x-amzn-ErrorType") or "").rstrip(":"), said.get("message", "")
        finally:
            connection.close()

    return send


GOOD = {
    "jobName": "job-1",
    "customModelName": "model-1",
    "roleArn": "arn:aws:iam::123456789012:role/csift-customization",
    "baseModelIdentifier": "amazon.nova-lite-v1:0:300k",
    "trainingDataConfig": {"s3Uri": "s3://training/csift/data"},
    "outputDataConfig": {"s3Uri": "s3://training/csift/output"},
}


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"hyperparameters": {}}, "Unknown parameter"),
        ({"outputDataConfig": {"s3Url": "s3://training/x"}}, "Unknown parameter"),
        ({"hyperParameters": {"epochCount": 2}}, "Invalid type"),
        ({"roleArn": "arn:aws:iam::12:role/x"}, "roleArn"),
        ({"jobName": "has space"}, "jobName"),
        ({"jobName": "j" * 64}, "jobName"),
        ({"customModelName": "two--hyphens"}, "customModelName"),
        ({"customizationType": "LORA"}, "enum value set"),
        ({"baseModelIdentifier": "no model!"}, "baseModelIdentifier"),
        ({"outputDataConfig": {"s3Uri": "https://training/x"}}, "s3Uri"),
        ({"jobTags": [{"key": "a{b}", "value": "c"}]}, "jobTags"),
        ({"trainingDataConfig": {}}, "s3Uri"),
        ({"customizationType": "DISTILLATION"}, "distillationConfig"),
        ({"trainingDataConfig": {"s3Uri": "s3://training/nothing"}}, "S3 object"),
    ],
)
def test_the_stand_in_refuses_what_bedrock_would(ask: Callable[..., Any], wrong: dict[str, Any], words: str) -> None:
    path = "/model-customization-jobs"
    status, name, message = ask("POST", path, {**GOOD, **wrong})
    assert (status, name) == (400, "ValidationException")
    assert words in message
    assert ask("POST", path, GOOD)[0] == 201
    assert ask("POST", path, {**GOOD, "customModelName": "model-2"})[:2] == (400, "ConflictException")


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "name"),
    [
        ("POST", "/model-customization-jobs", "{", 400, "ValidationException"),
        ("POST", "/model-customization-jobs", "[]", 400, "ValidationException"),
        ("POST", "/model-customization-jobs", {}, 400, "ValidationException"),
        ("GET", "/model-customization-jobs?maxResults=0", None, 400, "ValidationException"),
        ("GET", "/model-customization-jobs?maxResults=many", None, 400, "ValidationException"),
        ("GET", "/model-customization-jobs?name=a", None, 400, "ValidationException"),
        ("GET", "/model-customization-jobs/none", None, 404, "ResourceNotFoundException"),
        ("DELETE", "/provisioned-model-throughput/none", None, 404, "ResourceNotFoundException"),
        ("DELETE", "/provisioned-model-throughput/arn%3Aaws%3As3", None, 400, "ValidationException"),
        ("GET", "/no-such-place", None, 403, "UnknownOperationException"),
    ],
)
def test_the_stand_in_knows_no_other_requests(
    ask: Callable[..., Any], method: str, path: str, body: Any, status: int, name: str
) -> None:
    assert ask(method, path, body)[:2] == (status, name)


def test_the_stand_in_wants_requests_signed(ask: Callable[..., Any]) -> None:
    assert ask("GET", "/model-customization-jobs", signed=False)[:2] == (403, "MissingAuthenticationTokenException")
    assert ask("GET", "/model-customization-jobs")[0] == 200


def test_a_token_that_came_before_gets_the_same_answer(server: BedrockServer, ask: Callable[..., Any]) -> None:
    for _ in range(2):
        assert ask("POST", "/model-customization-jobs", {**GOOD, "clientRequestToken": "once"})[0] == 201
    assert len(server.jobs) == 1


def test_an_answer_that_does_not_fit_the_model_is_the_stand_ins_fault() -> None:
    assert misfits({"jobArn": "arn:aws:s3:::b"}, "CreateModelCustomizationJob", output=True) != []
    assert (
        misfits(
            {"jobArn": "arn:aws:bedrock:eu-west-1:123456789012:model-customization-job/a.bc/0123456789ab"},
            "CreateModelCustomizationJob",
            output=True,
        )
        == []
    )
