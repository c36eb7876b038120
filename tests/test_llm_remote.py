"""Served models against a real HTTP server: what it refuses, delays, cuts off or garbles loses no item and is paid for once."""

import json
import signal
import socket
import threading
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import dspy
import pytest
from teachers import SPECS, ask, aws_keys, fields, served, shout, topic

from bench.teacher_server import (
    Answer,
    Error,
    Hang,
    Malformed,
    Refusal,
    Reply,
    Reset,
    Script,
    TeacherServer,
    throttled,
)
from csift.db import Database
from csift.exceptions import ConfigError, ModelError, TeacherError
from csift.ledger import Budget, Ledger, cost_of, outcomes, spent, unsettled
from csift.llm import Backoff, is_served, remote_model
from csift.llm.services import refused_part, retry_after
from csift.schemas import Failure
from csift.settings import Settings


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    aws_keys(monkeypatch)


@pytest.fixture(params=sorted(SPECS))
def spec(request: pytest.FixtureRequest) -> str:
    """One model of each protocol."""
    return SPECS[request.param]


def topics(project: str, count: int) -> list[str]:
    """Questions that no other test has asked."""
    return [f"{project} {i}" for i in range(count)]


def first(*faults: Reply) -> Script:
    """Every prompt meets these before it is answered."""
    return lambda prompt, time: faults[time] if time < len(faults) else shout(prompt, time)


# --- what goes out and comes back -----------------------------------------------------------------------------------------


def test_every_item_is_answered_in_order_and_booked(db: Database, project: str, ledger: Ledger, cycle: str, spec: str) -> None:
    asked = topics(project, 20)
    with TeacherServer(lambda prompt, time: Answer(fields(topic(prompt).upper()), tokens_in=1000, tokens_out=50)) as server:
        model = served(server, ledger, spec)
        assert ask(model, asked) == [topic.upper() for topic in asked]
    usd = 20 * {"openai": 1000 * 1.5e-7 + 50 * 6e-7, "bedrock": 1000 * 6e-8 + 50 * 2.4e-7}[spec.partition("/")[0]]
    cost = cost_of(db, cycle)
    assert (cost.calls, cost.tokens_in, cost.tokens_out, cost.usd) == (20, 20_000, 1000, pytest.approx(usd))
    assert model.usage().usd == pytest.approx(usd)
    assert spent(db, cycle) == (21_000, pytest.approx(usd))
    assert outcomes(db, cycle) == {"stop": 20}
    assert unsettled(db, cycle) == []
    assert model.id == spec and model.role == "teacher"


def test_the_request_is_what_the_module_asked_for(project: str, ledger: Ledger) -> None:
    with TeacherServer(shout) as server:
        ask(served(server, ledger, SPECS["openai"], temperature=0.7), [project])
        ask(served(server, ledger, SPECS["bedrock"]), [project], temperature=0.2, max_tokens=40)
        openai, bedrock = (request.body for request in server.received)
    assert {name: openai[name] for name in ("model", "max_tokens", "temperature", "seed")} == {
        "model": "gpt-4o-mini", "max_tokens": 100, "temperature": 0.7, "seed": 0,
    }  # fmt: skip
    assert [message["role"] for message in openai["messages"]] == ["system", "user"]
    assert bedrock["inferenceConfig"] == {"maxTokens": 40, "temperature": 0.2}
    assert bedrock["system"][0]["text"] == openai["messages"][0]["content"]


def test_what_is_in_the_ledger_is_not_asked_again(project: str, ledger: Ledger, spec: str) -> None:
    asked = topics(project, 5)
    with TeacherServer(shout) as server:
        answers = ask(served(server, ledger, spec), asked)
        model = served(server, ledger, spec)
        assert ask(model, asked) == answers
        assert len(server.received) == 5
    assert (model.usage().calls, model.usage().reused_calls) == (0, 5)


def test_equal_prompts_at_once_are_asked_once(project: str, ledger: Ledger) -> None:
    with TeacherServer(shout, latency=0.05) as server:
        assert ask(served(server, ledger), [project] * 16) == [project.upper()] * 16
        assert len(server.received) == 1


@pytest.mark.parametrize("sampling", [{"seed": 1}, {"temperature": 0.5}, {"rollout_id": 7, "temperature": 0.5}])
def test_another_sample_of_a_prompt_is_another_call(project: str, ledger: Ledger, sampling: dict[str, Any]) -> None:
    with TeacherServer(shout) as server:
        model = served(server, ledger)
        for options in ({}, sampling, sampling):
            ask(model, [project], **options)
        assert len(server.received) == 2
        assert server.received[1].body["seed"] == sampling.get("seed", sampling.get("rollout_id", 0))


def test_no_more_calls_at_once_than_allowed(project: str, ledger: Ledger, spec: str) -> None:
    with TeacherServer(shout, latency=0.05) as server:
        ask(served(server, ledger, spec, concurrency=3), topics(project, 12))
        assert server.most_at_once == 3


def test_tokens_that_a_server_does_not_count_are_estimated(db: Database, project: str, ledger: Ledger, cycle: str) -> None:
    body = {"choices": [{"message": {"role": "assistant", "content": fields("yes")}, "finish_reason": "stop"}]}
    with TeacherServer(lambda prompt, time: Malformed(json.dumps(body).encode())) as server:
        assert ask(served(server, ledger), [project]) == ["yes"]
    cost = cost_of(db, cycle)
    assert cost.tokens_in > 50 and cost.tokens_out > 5


# --- faults that pass -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "outcome", "may_be_paid"),
    [
        (throttled(), "throttled", False),
        (throttled("0"), "throttled", False),
        (Error(503, "unavailable"), "unavailable", False),
        (Error(500, "server_error"), "unavailable", False),
        (Malformed(b"<html>Bad Gateway</html>", 502), "unavailable", False),
        (Malformed(b'{"object": "error", "message": "busy", "code": 503}', 503), "unavailable", False),
        (Reset(), "reset", True),
        (Malformed(), "malformed", True),
        (Malformed(b"{}"), "malformed", True),
        (Malformed(b"[]"), "malformed", True),
        (Malformed(b"<html>busy</html>"), "malformed", True),
    ],
)
def test_a_fault_that_passes_costs_no_item(
    db: Database, project: str, ledger: Ledger, cycle: str, spec: str, fault: Reply, outcome: str, may_be_paid: bool
) -> None:
    asked = topics(project, 6)
    with TeacherServer(first(fault, fault)) as server:
        assert ask(served(server, ledger, spec), asked) == [topic.upper() for topic in asked]
        assert set(server.asked().values()) == {3}
    assert outcomes(db, cycle) == {outcome: 12, "stop": 6}
    # What the service may have answered counts at the most it can have cost.
    assert (cost_of(db, cycle).tokens_out >= 12 * 100) == may_be_paid
    assert spent(db, cycle)[0] == cost_of(db, cycle).tokens_in + cost_of(db, cycle).tokens_out


def test_an_answer_that_does_not_come_is_asked_for_again(
    db: Database, project: str, ledger: Ledger, cycle: str, spec: str
) -> None:
    with TeacherServer(first(Hang(20.0))) as server:
        assert ask(served(server, ledger, spec, timeout=0.3), [project]) == [project.upper()]
    assert outcomes(db, cycle) == {"timeout": 1, "stop": 1}


def test_a_storm_of_429_loses_no_item(db: Database, project: str, ledger: Ledger, cycle: str, spec: str) -> None:
    asked = topics(project, 30)
    with TeacherServer(first(*[throttled()] * 9, Error(503, "unavailable"))) as server:  # more often than others may fail
        assert ask(served(server, ledger, spec), asked) == [topic.upper() for topic in asked]
    assert outcomes(db, cycle) == {"throttled": 270, "unavailable": 30, "stop": 30}


def test_all_calls_wait_as_long_as_the_service_asks(project: str, ledger: Ledger) -> None:
    def script(prompt: str, time: int) -> Reply:
        return throttled("1") if len(server.received) == 1 else shout(prompt, time)

    with TeacherServer(script) as server:
        model = served(server, ledger, concurrency=1)
        ask(model, topics(project, 3))
        refused, *others = (request.at for request in server.received)
    assert all(at - refused >= 1.0 for at in others)


@pytest.mark.parametrize(
    ("value", "least", "most"),
    [("7", 7, 7), ("0.5", 0.5, 0.5), ("Wed, 21 Oct 2015 07:28:00 GMT", 0, 0), ("{in a minute}", 50, 61)],
)
def test_retry_after_is_seconds_or_a_date(value: str, least: float, most: float) -> None:
    value = value.replace("{in a minute}", format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True))
    seconds = retry_after({"retry-after": value})
    assert seconds is not None and least <= seconds <= most


@pytest.mark.parametrize("headers", [{}, {"retry-after": "soon"}, {"retry-after": ""}, {"retry-after": "-3"}])
def test_a_header_that_says_nothing_is_no_wait(headers: dict[str, str]) -> None:
    assert retry_after(headers) is None


def test_waits_grow_and_are_bounded() -> None:
    backoff = Backoff(first=0.5, longest=30.0)
    assert all(0 <= backoff.seconds(waits) <= min(30.0, 0.5 * 2**waits) for waits in range(1, 12) for _ in range(50))
    assert max(backoff.seconds(5_000) for _ in range(200)) > 10


# --- faults of one item ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("refusal", [Answer("", finish="content_filter"), Refusal()])
def test_a_refusal_is_counted_paid_for_and_not_asked_again(
    db: Database, project: str, ledger: Ledger, cycle: str, spec: str, refusal: Reply
) -> None:
    asked = topics(project, 4)
    with TeacherServer(lambda prompt, time: refusal if topic(prompt).endswith(" 2") else shout(prompt, time)) as server:
        for _ in range(2):
            found = ask(served(server, ledger, spec), asked)
            assert [getattr(result, "kind", "") for result in found] == ["", "", "refused", ""]
        assert len(server.received) == 4
    assert outcomes(db, cycle) == {"refused": 1, "stop": 3}


def test_output_that_cannot_be_read_is_a_failure_of_its_item(project: str, ledger: Ledger, spec: str) -> None:
    scripts = {
        "0": Answer("no fields at all"),
        "1": Answer("[[ ## ans", finish="length"),
        "2": Answer(fields("x"), finish="length"),
    }
    with TeacherServer(lambda prompt, time: scripts[topic(prompt)[-1]]) as server:
        found = ask(served(server, ledger, spec), topics(project, 3))
    assert [getattr(result, "kind", result) for result in found] == ["unparsable", "truncated", "x"]


def test_a_call_that_fails_for_one_item_alone_is_its_failure(project: str, ledger: Ledger, spec: str) -> None:
    others_answered, failed = threading.Event(), threading.Event()

    def script(prompt: str, time: int) -> Reply:
        if topic(prompt).endswith(" 0"):
            failed.set() if time else others_answered.wait(10)
            return Error(503, "unavailable", "this one never works")
        if topic(prompt).endswith(" 5"):
            failed.wait(10)
        return shout(prompt, time)

    asked = topics(project, 6)
    with TeacherServer(script) as server:
        model = served(server, ledger, spec, concurrency=2)

        def work(topic: str) -> str:
            answer: str = dspy.Predict("topic -> answer")(topic=topic).answer
            others_answered.set()
            return answer

        found = model.map(work, asked)
    assert isinstance(found[0], Failure) and found[0].kind == "unavailable"
    assert found[1:] == [topic.upper() for topic in asked[1:]]


def test_a_rejected_request_is_the_failure_of_its_item_unless_all_are(project: str, ledger: Ledger, spec: str) -> None:
    too_long = Error(400, "context_length_exceeded", "this model's maximum context length is 8192 tokens")
    asked = topics(project, 3)
    with TeacherServer(lambda prompt, time: too_long if topic(prompt) == asked[1] else shout(prompt, time)) as server:
        model = served(server, ledger, spec)
        found = ask(model, asked)
        assert [getattr(result, "kind", "") for result in found] == ["", "rejected", ""]
        with pytest.raises(TeacherError, match=r"rejects every one of 1 requests: 400 .*8192 tokens"):
            ask(model, asked[1:2])


@pytest.mark.parametrize("part", ["temperature", "seed", "system", "max_tokens"])
def test_a_part_that_the_model_does_not_take_is_left_out(project: str, ledger: Ledger, part: str) -> None:
    messages = {
        "temperature": "Unsupported value: 'temperature' does not support 0.0 with this model",
        "seed": "Extra inputs are not permitted: seed",
        "system": "This model doesn't support system messages. Try again without one",
        "max_tokens": "Unsupported parameter: 'max_tokens' is not supported. Use 'max_completion_tokens' instead.",
    }

    def script(prompt: str, time: int) -> Reply:
        body = server.received[-1].body
        has = part in body or part in {message["role"] for message in body["messages"]}
        return Error(400, "unsupported", messages[part]) if has else Answer(fields("yes"))

    with TeacherServer(script) as server:
        model = served(server, ledger, concurrency=1)
        assert ask(model, topics(project, 3)) == ["yes"] * 3
        assert len(server.received) <= 5  # who is on the way is told as well, nobody else
        last = server.received[-1].body
    assert ("max_completion_tokens" in last) == (part == "max_tokens")
    assert ("Your input fields" in last["messages"][-1]["content"]) == (part == "system")


def test_bedrock_models_without_system_prompts_are_asked_all_the_same(project: str, ledger: Ledger) -> None:
    def script(prompt: str, time: int) -> Reply:
        no = Error(400, "", "This model doesn't support the system field")
        return no if "system" in server.received[-1].body else Answer(fields("yes"))

    with TeacherServer(script) as server:
        assert ask(served(server, ledger, "bedrock/mistral.mistral-7b-instruct-v0:2"), [project]) == ["yes"]


@pytest.mark.parametrize("message", ["the model is at capacity", "maximum context length is 8192 tokens, seed 3"])
def test_other_complaints_leave_nothing_out(message: str) -> None:
    assert refused_part(message) is None


# --- faults of the service ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (Error(401, "invalid_api_key"), "denied: 401"),
        (Error(403, "forbidden"), "denied: 403"),
        (Error(429, "insufficient_quota"), "denied"),
    ],
)
def test_a_key_that_is_refused_ends_the_stage(project: str, ledger: Ledger, fault: Error, said: str) -> None:
    with TeacherServer(first(fault, fault, fault)) as server:
        with pytest.raises(TeacherError, match=f"^openai/gpt-4o-mini: {said}.*; correct the key"):
            ask(served(server, ledger, concurrency=2), topics(project, 40))
        assert len(server.received) < 10  # it is not asked forty times


def test_an_unknown_model_ends_the_stage(project: str, ledger: Ledger, spec: str) -> None:
    with TeacherServer(shout, models=("another",)) as server, pytest.raises(TeacherError, match="unknown model: 404") as told:
        ask(served(server, ledger, spec), topics(project, 10))
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("fault", [Reset(), Malformed()])
def test_a_service_that_answers_nobody_ends_the_stage(project: str, ledger: Ledger, spec: str, fault: Reply) -> None:
    with (
        TeacherServer(lambda prompt, time: fault) as server,
        pytest.raises(TeacherError, match="6 times; see to the service and run again"),
    ):
        ask(served(server, ledger, spec), topics(project, 10))


def test_a_service_that_lets_no_call_through_ends_the_stage(project: str, ledger: Ledger, spec: str) -> None:
    impatient = Backoff(tries=6, first=0.001, longest=0.01, patience=0.1)
    with TeacherServer(lambda prompt, time: throttled()) as server, pytest.raises(TeacherError, match="it lets no call through"):
        ask(served(server, ledger, spec, backoff=impatient), topics(project, 10))


def test_a_service_that_is_unavailable_for_too_long_ends_the_stage(project: str, ledger: Ledger, spec: str) -> None:
    impatient = Backoff(tries=6, first=0.001, longest=0.01, patience=0.1)
    refused = pytest.raises(TeacherError, match=r"unavailable: 503 .*, for 0 s; see to the service and run again")
    with TeacherServer(lambda prompt, time: Error(503)) as server, refused:
        ask(served(server, ledger, spec, backoff=impatient), topics(project, 10))


def test_a_service_that_asks_to_come_back_tomorrow_ends_the_stage(project: str, ledger: Ledger) -> None:
    with TeacherServer(lambda prompt, time: throttled("86400")) as server, pytest.raises(TeacherError, match="it lets no call"):
        ask(served(server, ledger), topics(project, 10))


def test_nobody_at_the_address_ends_the_stage(db: Database, project: str, ledger: Ledger, cycle: str, spec: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    where = Settings(openai_base_url=f"{url}/v1", aws_endpoint_url=url, aws_region="us-east-1")
    impatient = Backoff(tries=6, first=0.001, longest=0.01, patience=0.1)
    model = remote_model(spec, ledger, "teacher", settings=where, concurrency=2, max_tokens=10, backoff=impatient)
    with pytest.raises(TeacherError, match="unreachable"):
        ask(model, topics(project, 3))
    assert spent(db, cycle) == (0, 0.0)


def test_an_error_in_the_work_ends_the_stage_and_starts_nothing_new(project: str, ledger: Ledger) -> None:
    def work(topic: str) -> str:
        if topic.endswith(" 3"):
            raise ModelError("the fourth is impossible")
        answer: str = dspy.Predict("topic -> answer")(topic=topic).answer
        return answer

    with TeacherServer(shout, latency=0.02) as server:
        with pytest.raises(ModelError, match="the fourth is impossible"):
            served(server, ledger, concurrency=1).map(work, topics(project, 100))
        assert len(server.received) < 20


def test_ctrl_c_books_what_is_in_flight_and_the_next_run_continues(
    db: Database, project: str, ledger: Ledger, cycle: str
) -> None:
    def script(prompt: str, time: int) -> Reply:
        if len(server.received) == 10:
            signal.raise_signal(signal.SIGINT)
        return shout(prompt, time)

    asked = topics(project, 60)
    with TeacherServer(script, latency=0.05) as server:
        with pytest.raises(KeyboardInterrupt):
            ask(served(server, ledger, concurrency=4), asked)
        made = cost_of(db, cycle).calls
        assert made == len(server.received) < 30 and unsettled(db, cycle) == []
        assert ask(served(server, ledger), asked) == [topic.upper() for topic in asked]
        assert set(server.asked().values()) == {1}


def test_a_wait_ends_with_the_run(project: str, ledger: Ledger) -> None:
    both_in_flight = threading.Barrier(2)

    def script(prompt: str, time: int) -> Reply:
        both_in_flight.wait(10)
        return Error(401, "key") if topic(prompt).endswith(" 1") else throttled("50")

    with TeacherServer(script) as server, pytest.raises(TeacherError, match="denied"):
        ask(served(server, ledger, concurrency=2), topics(project, 2))


# --- what cannot start ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "served_by"),
    [("bedrock/x", True), ("openai/org/x", True), ("HuggingFaceTB/SmolLM2", False), ("smollm2", False), ("openai/", False)],
)
def test_the_name_tells_served_models_from_local_ones(name: str, served_by: bool, ledger: Ledger) -> None:
    assert is_served(name) == served_by
    if not served_by:
        with pytest.raises(ConfigError, match="write bedrock/<model> or openai/<model>"):
            remote_model(name, ledger, "teacher", settings=Settings(), concurrency=1, max_tokens=1)


def test_what_is_missing_is_named_before_the_first_call(db: Database, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    options: dict[str, Any] = {"settings": Settings(), "concurrency": 1, "max_tokens": 10}
    with pytest.raises(ConfigError, match="CSIFT_OPENAI_API_KEY"):
        remote_model("openai/gpt-4o-mini", ledger, "teacher", **options)
    with pytest.raises(ConfigError, match="CSIFT_OPENAI_BASE_URL is 'localhost:8000'; write http://host"):
        no_scheme = Settings(openai_base_url="localhost:8000")
        remote_model("openai/gpt-4o-mini", ledger, "teacher", **{**options, "settings": no_scheme})
    with pytest.raises(ConfigError, match="CSIFT_AWS_REGION"):
        remote_model("bedrock/amazon.nova-lite-v1:0", ledger, "teacher", **options)
    with pytest.raises(ConfigError, match="a budget belongs to a cycle"):
        remote_model("openai/gpt-4o-mini", Ledger(db), "teacher", **options, budget=Budget(tokens=5))


@pytest.mark.parametrize(("options", "said"), [({"n": 3}, "n answers at once"), ({"top_p": 0.5}, "a module sets .*top_p")])
def test_what_is_not_carried_is_refused(project: str, ledger: Ledger, options: dict[str, Any], said: str) -> None:
    with TeacherServer(shout) as server, pytest.raises(ModelError, match=said):
        ask(served(server, ledger), [project], **options)
