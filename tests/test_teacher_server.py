"""The stand-in teacher refuses what the services would refuse."""

from typing import Any

import pytest

from bench.teacher_server import read_chat, read_converse

CHAT = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
CONVERSE = {"messages": [{"role": "user", "content": [{"text": "hello"}]}]}


@pytest.mark.parametrize("wrong", [{"max_token": 5}, {"temperature": "hot"}, {"messages": "hello"}, {"seed": 1.5}])
def test_a_chat_request_must_fit_openais_types(wrong: dict[str, Any]) -> None:
    assert read_chat(CHAT).prompt == "hello"
    with pytest.raises(ValueError):
        read_chat({**CHAT, **wrong})


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_tokens": 5},
        {"inferenceConfig": {"maxTokens": "5"}},
        {"inferenceConfig": {"seed": 5}},
        {"messages": [{"role": "system", "content": [{"text": "hello"}]}]},
        {"messages": CONVERSE["messages"] * 2},
        {"messages": [{"role": "user", "content": [{"text": " "}]}]},
    ],
)
def test_a_converse_request_must_fit_bedrocks_model(wrong: dict[str, Any]) -> None:
    assert read_converse("m", CONVERSE).prompt == "hello"
    with pytest.raises(ValueError):
        read_converse("m", {**CONVERSE, **wrong})
