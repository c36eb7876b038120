"""The champion over HTTP: with the official clients, under load, while it is replaced, and against what should not be there."""

import threading
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import dspy
import httpx
import litellm
import pytest
from answerers import BROKEN, HIT, Serve, saying, servers_of, wrote
from answers import served
from champions import Project

from csift import feedback, registry
from csift.db import Database
from csift.schemas import Ranking
from csift.serving import keys
from csift.serving.access import Denied, Queue, RateLimit
from csift.serving.answers import answers_since


@pytest.fixture
def serve(made: Project) -> Iterator[Serve]:
    with servers_of(made) as start:
        yield start


# --- the official clients -------------------------------------------------------------------------------------------------


def test_the_openai_client_gets_an_answer_with_its_sources(serve: Serve) -> None:
    running = serve()
    told = running.openai.chat.completions.create(
        model=running.server.project, messages=[{"role": "user", "content": "How heavy is it?"}], temperature=0.3
    )
    assert told.choices[0].message.content == wrote(running)
    assert (told.usage and told.usage.total_tokens, told.model) == (15, running.server.champion.now.system.id)
    (source,) = told.model_extra["csift"]["sources"]  # type: ignore[index]
    assert (source["document"], source["text"]) == (HIT.document_id, HIT.text)


def test_the_openai_client_streams(serve: Serve) -> None:
    running = serve()
    stream = running.openai.chat.completions.create(
        model=running.server.project, messages=[{"role": "user", "content": "How heavy?"}], stream=True,
        stream_options={"include_usage": True},
    )  # fmt: skip
    chunks = list(stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == wrote(running)
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert chunks[-1].usage and chunks[-1].usage.completion_tokens == 6
    assert [chunk.model_extra["csift"]["adapter"] for chunk in chunks if "csift" in (chunk.model_extra or {})] == [None]


def test_the_openai_client_lists_models_and_gets_embeddings(serve: Serve) -> None:
    running = serve()
    assert [model.id for model in running.openai.models.list()] == [running.server.project, running.server.champion.now.system.id]
    told = running.openai.embeddings.create(model="minilm", input=["a kestrel", "a pump"])  # as base64, the client's default
    assert [len(one.embedding) for one in told.data] == [running.server.embedder.dim] * 2
    assert told.data[0].embedding == pytest.approx(running.server.embedder.embed(["a kestrel"])[0].tolist())


def test_litellm_and_dspy_ask_it_as_any_openai_server(serve: Serve) -> None:
    running = serve()
    spec, where = f"openai/{running.server.project}", {"api_base": f"{running.url}/v1", "api_key": "unused"}
    told: Any = litellm.completion(spec, [{"role": "user", "content": "How heavy?"}], **where)
    assert told.choices[0].message.content == wrote(running)
    lm = dspy.LM(spec, cache=False, **where)
    assert lm("How heavy is it?") == [wrote(running)]


def test_a_chat_is_answered_by_its_last_user_message_whatever_its_parts(serve: Serve) -> None:
    running = serve()
    chat = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hello!"},
        {"role": "user", "content": [{"type": "text", "text": "How heavy"}, {"type": "text", "text": "is it?"}]},
    ]
    told = running.post("/v1/chat/completions", {"model": running.server.project, "messages": chat}).json()
    kept = running.server.answers.find(running.server.project, told["id"])
    assert kept and kept.question == "How heavy\nis it?"


# --- one champion after the other -----------------------------------------------------------------------------------------


def test_under_load_twenty_swaps_fail_no_request_and_mix_no_answer(made: Project, serve: Serve) -> None:
    running = serve()
    end = threading.Event()
    answers: list[Any] = []
    failed: list[Any] = []

    def load() -> None:
        with httpx.Client(base_url=running.url, timeout=30) as client:
            while not end.is_set():
                asked = {"model": made.name, "messages": [{"role": "user", "content": "How heavy?"}]}
                told = client.post("/v1/chat/completions", json=asked)
                (answers if told.is_success else failed).append(told.json())

    threads = [threading.Thread(target=load) for _ in range(8)]
    for thread in threads:
        thread.start()
    systems = [made.system(k) for k in range(1, 22)]
    for before, system in pairwise(systems):
        made.promote(before, system)
        assert running.server.champion.look()
        known = len(answers)
        while len(answers) < known + 16:  # each answers some
            threads[0].join(0.001)
    end.set()
    for thread in threads:
        thread.join(30)
    assert not failed
    assert all(told["choices"][0]["message"]["content"] == saying(told["csift"]["system"]) for told in answers)
    assert {told["csift"]["system"] for told in answers} >= {system.id for system in systems[1:]}


def test_a_promotion_is_noticed_without_being_told(made: Project, serve: Serve) -> None:
    running = serve()
    running.server.champion.follow()
    made.promote(made.system(1), made.system(2))
    while running.ask().json()["model"] != made.system(2).id:  # the time limit of tests ends what would go on for ever
        pass
    assert running.told == [f"{made.system(2).id} answers now"]


def test_a_champion_that_cannot_be_loaded_leaves_the_one_before_answering(made: Project, serve: Serve) -> None:
    running = serve()
    made.promote(made.system(1), made.system(BROKEN))
    assert not running.server.champion.look()
    assert not running.server.champion.look()
    assert running.ask().json()["csift"]["system"] == made.system(1).id
    assert len(running.told) == 1 and "its weights cannot be read" in running.told[0]


# --- how many at once -----------------------------------------------------------------------------------------------------


def test_concurrent_requests_are_answered_in_batches(serve: Serve) -> None:
    running = serve()
    writer = running.writers[running.server.champion.now.system.id]
    writer.batches.clear()
    writer.gate.clear()
    threads = [threading.Thread(target=running.ask, args=(f"How heavy is number {n}?",)) for n in range(9)]
    for thread in threads:
        thread.start()
    while running.server.queue._inside < 9:
        threads[0].join(0.001)
    writer.gate.set()
    for thread in threads:
        thread.join(30)
    assert sum(writer.batches) == 9 and len(writer.batches) <= 4


def test_more_than_the_queue_holds_are_told_when_to_come_again(serve: Serve) -> None:
    running = serve(queue=Queue(2))
    gate = running.writers[running.server.champion.now.system.id].gate
    gate.clear()
    threads = [threading.Thread(target=running.ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    while running.server.queue._inside < 2:
        threads[0].join(0.001)
    told = running.ask()
    gate.set()
    assert (told.status_code, told.json()["error"]["code"]) == (429, "overloaded")
    assert int(told.headers["Retry-After"]) >= 1
    for thread in threads:
        thread.join(30)


def test_a_key_that_asks_too_often_waits_and_others_do_not() -> None:
    clock = [0.0]
    limit = RateLimit(60, lambda: clock[0])
    for _ in range(60):
        limit.take("one")
    with pytest.raises(Denied) as denied:
        limit.take("one")
    assert denied.value.retry_after == 1
    limit.take("other")
    clock[0] = 1.0
    limit.take("one")
    with pytest.raises(Denied):
        limit.take("one")


# --- who may ask ----------------------------------------------------------------------------------------------------------


def test_without_a_valid_key_nothing_is_answered(db: Database, project: str, serve: Serve) -> None:
    running = serve(open_to_all=False)
    key, secret = keys.create(db, project, "Ada", "ask")
    assert running.ask(key=secret).status_code == 401  # not looked yet
    running.server.doors.look()
    assert running.ask(key=secret).status_code == 200
    for wrong in (None, "csift-guess", key.sha256, key.id):
        told = running.ask(key=wrong)
        assert (told.status_code, told.json()["error"]["code"]) == (401, "invalid_api_key")
    keys.revoke(db, project, "Ada")
    running.server.doors.look()
    assert running.ask(key=secret).status_code == 401


def test_a_page_elsewhere_cannot_ask_an_open_server_through_a_name_of_its_own(serve: Serve) -> None:
    running = serve()
    assert httpx.get(f"{running.url}/health", headers={"Host": "evil.example"}).status_code == 400
    assert httpx.get(f"{running.url}/health").json()["status"] == "ok"


def user(content: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": content}]}


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        ({**user("x"), "model": None}, 400, "model"),
        ({**user("x"), "model": "gpt-4o"}, 404, "there is no model 'gpt-4o'"),
        ({"messages": []}, 400, "messages"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, 400, "the last user message is the question"),
        (user("a\0b"), 400, "the last user message is the question"),
        (user([{"type": "image_url", "image_url": {"url": "x"}}]), 400, "messages.0"),
        (user("x" * 9_000), 400, "8000 characters"),
        ({**user("x"), "n": 2}, 400, "n: "),
        ({**user("x"), "tools": [{"type": "function"}]}, 400, "tools are not called here"),
    ],
)
def test_what_cannot_be_answered_is_told_in_the_shape_of_openai(
    serve: Serve, body: dict[str, Any], status: int, says: str
) -> None:
    running = serve()
    told = running.post("/v1/chat/completions", {"model": running.server.project, **body})
    assert told.status_code == status
    assert says in told.json()["error"]["message"]
    assert set(told.json()["error"]) == {"message", "type", "code", "param"}


def test_a_body_that_is_too_large_or_of_unknown_length_is_not_read(serve: Serve) -> None:
    running = serve()
    assert running.ask("x" * 1_000_001).status_code == 413
    told = httpx.post(f"{running.url}/v1/feedback", content=iter([b"{}"]))
    assert told.status_code == 411


# --- what is kept ---------------------------------------------------------------------------------------------------------


def test_an_answer_that_postgres_refuses_costs_no_other(db: Database, project: str, serve: Serve) -> None:
    running = serve()
    answers = running.server.answers
    given = answers.find(project, running.ask().json()["id"])
    assert given
    refused = given.model_copy(update={"id": "answer-refused", "session": "a\0b"})
    for one in (refused, given.model_copy(update={"id": "answer-good"})):
        answers.keep(one)
    answers.close()
    assert {one.id for one in answers_since(db, project, given.at)} == {given.id, "answer-good"}
    assert len(running.told) == 1 and running.told[0].startswith("served_answers: answer-refused cannot be kept: ")


def test_answers_are_kept_with_all_they_were_made_of_and_without_personal_data(db: Database, project: str, serve: Serve) -> None:
    running = serve()
    told = httpx.post(
        f"{running.url}/v1/chat/completions",
        json={"model": project, "messages": [{"role": "user", "content": "Is it 29 kg?"}]},
        headers={"X-Csift-Session": "s-1"},
    ).json()
    running.server.answers.close()
    (kept,) = answers_since(db, project, registry.champion_log(db, project)[0].at)
    assert (kept.id, kept.session, kept.system_id) == (told["id"], "s-1", told["model"])
    assert (kept.question, kept.answer) == ("Is it <WEIGHT>?", wrote(running).replace("29 kg", "<WEIGHT>"))
    assert kept.sources == (HIT,) and kept.tokens_in == 9 and kept.seconds > 0


def test_feedback_is_kept_once_and_about_what_was_answered(db: Database, project: str, serve: Serve) -> None:
    running = serve()
    told = running.ask().json()
    said = {"answer_id": told["id"], "thumb": "down", "edited_answer": "29 kilograms", "rater": "ada"}
    first, again = (running.post("/v1/feedback", said).json() for _ in range(2))
    assert (first["new"], again["new"], first["id"]) == (True, False, again["id"])
    (kept,) = feedback.load(db, project)
    assert (kept.question, kept.system_id, kept.edited_answer) == ("How heavy is it?", told["model"], "29 kilograms")
    assert kept.rater and "ada" not in kept.rater

    assert running.post("/v1/feedback", {**said, "answer_id": "answer-guess"}).status_code == 404
    assert "says nothing" in running.post("/v1/feedback", {"answer_id": told["id"]}).json()["error"]["message"]
    assert running.post("/v1/feedback", {**said, "rating": 6}).status_code == 400


def test_answers_to_one_question_are_ranked(db: Database, project: str, serve: Serve) -> None:
    running = serve()
    first, other = running.ask().json()["id"], running.ask("What colour is it?").json()["id"]
    better = served(db, project, "29 kilograms", "How heavy is it?")

    ranked = {"ranking": [better, first], "rater": "ada", "comment": "the unit"}
    told = [running.post("/v1/feedback", ranked).json() for _ in range(2)]
    assert [answer["new"] for answer in told] == [True, False]
    (kept,) = feedback.load(db, project)
    assert isinstance(kept, Ranking)
    assert (kept.id, kept.answers, kept.comment) == (
        told[0]["id"],
        ("29 kilograms", wrote(running).replace("29 kg", "<WEIGHT>")),
        "the unit",
    )

    refused: list[tuple[dict[str, Any], int, str]] = [
        ({"ranking": [first, "answer-guess"]}, 404, "no answer 'answer-guess' was given here"),
        ({"ranking": [first, other]}, 400, "to different questions"),
        ({"ranking": [first]}, 400, "at least 2"),
        ({"ranking": [first, first]}, 400, "names an answer twice"),
        ({"ranking": [first, better], "answer_id": first}, 400, "one answer with answer_id, or several with ranking"),
        ({"ranking": [first, better], "thumb": "up"}, 400, "a ranking stands alone"),
        ({"thumb": "up"}, 400, "one answer with answer_id, or several with ranking"),
    ]
    for body, status, says in refused:
        answer = running.post("/v1/feedback", body)
        assert (answer.status_code, says in answer.json()["error"]["message"]) == (status, True), answer.text
    assert len(feedback.load(db, project)) == 1
