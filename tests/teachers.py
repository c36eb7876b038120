"""Models for tests: the stand-in teacher (bench/teacher_server.py) asked over HTTP, and an engine in memory."""

import json
import re
from collections.abc import Callable, Sequence
from typing import Any

import dspy
import pytest

from bench.teacher_server import Answer, Reply, TeacherServer
from csift.interfaces import Messages, Progress, no_progress
from csift.ledger import Budget, Ledger
from csift.llm import Backoff, LanguageModel, remote_model
from csift.prompts import answer_signature
from csift.schemas import Generation, GenerationParams
from csift.settings import Settings

HASTY = Backoff(tries=6, first=0.001, longest=0.01, patience=60.0)
SPECS = {"openai": "openai/gpt-4o-mini", "bedrock": "bedrock/us.amazon.nova-lite-v1:0"}

FACT = re.compile(r"\[(\d+)\][^\[]*?(\d[\d.]*) (kg|litres|metres|bar|watts|minutes|hours|mm|cm|days|years|°C|V|W)\b")


def fields(answer: str) -> str:
    """An answer as DSPy's chat adapter reads it."""
    return f"[[ ## answer ## ]]\n{answer}\n\n[[ ## completed ## ]]"


def topic(prompt: str) -> str:
    """The topic that `ask` put into a prompt."""
    return prompt.partition("[[ ## topic ## ]]\n")[2].partition("\n")[0].strip()


def shout(prompt: str, time: int) -> Answer:
    """A script that answers with the topic in capitals."""
    return Answer(fields(topic(prompt).upper()))


def quantities(prompt: str, time: int) -> Reply:
    """Writes a pair for each quantity that it finds, and agrees with everything."""

    def told(name: str, value: str) -> Answer:
        return Answer(f"[[ ## {name} ## ]]\n{value}\n\n[[ ## completed ## ]]")

    if "`[[ ## pairs ## ]]`" in prompt:
        passages = prompt.rpartition("[[ ## passages ## ]]\n")[2].partition("[[ ## count")[0]
        pairs = [
            {
                "question": f"Which quantity in {unit} is given first for {passages.split()[1]}?",
                "answer": f"{number} {unit}",
                "style": "factoid",
                "passages": [int(place)],
            }
            for place, number, unit in FACT.findall(passages)
        ]
        return told("pairs", json.dumps(pairs))
    if "`[[ ## rating ## ]]`" in prompt:
        return told("rating", "4")
    if "[[ ## excerpts ## ]]" in prompt:
        unit = re.search(r"quantity in (\S+)", prompt)
        found = re.search(rf"\d[\d.]* {re.escape(unit[1])}", prompt.rpartition("[[ ## excerpts ## ]]")[2]) if unit else None
        return told("answer", found[0] if found else "unknown")
    return told("answer", "unknown")


def served(server: TeacherServer, ledger: Ledger, spec: str = SPECS["openai"], **options: Any) -> LanguageModel:
    """A model of the server. Options, and the role, go to remote_model; `timeout` in seconds goes to the settings."""
    timeout, role = options.pop("timeout", 20.0), options.pop("role", "teacher")
    where = Settings(
        openai_base_url=server.openai_url, aws_endpoint_url=server.aws_url, aws_region="us-east-1", call_timeout=timeout
    )
    usual = {"settings": where, "concurrency": 8, "max_tokens": 100, "budget": Budget(), "backoff": HASTY}
    return remote_model(spec, ledger, role, **{**usual, **options})


def ask(model: LanguageModel, topics: Sequence[str], **options: Any) -> list[Any]:
    """One question about each topic."""
    predict = dspy.Predict("topic -> answer")
    return model.map(lambda topic: predict(topic=topic, config=options).answer, topics)


def aws_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys that the stand-in does not look at."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")


class Model:
    """Answers with the question in capitals; keeps its batches. `fail` may raise, given the number of batches before."""

    def __init__(self, name: str, fail: Callable[[int], None] = lambda batches: None) -> None:
        self.id = name
        self.fail = fail
        self.batches: list[list[str]] = []

    def generate(
        self, prompts: Sequence[Messages], params: GenerationParams, adapter_path: str | None = None
    ) -> list[Generation]:
        """One generation a chat."""
        self.fail(len(self.batches))
        questions = [prompt[-1]["content"].rpartition("Question: ")[2] for prompt in prompts]
        self.batches.append(questions)
        return [Generation(text=text.upper(), finish="stop", tokens_in=5, tokens_out=2, seconds=0.1) for text in questions]


def ask_all(
    model: LanguageModel,
    questions: Sequence[str],
    twice: Callable[[str], bool] = lambda question: False,
    progress: Progress = no_progress,
) -> list[Any]:
    """Asks each question, and those that are to be asked twice once more with its answer."""
    predict = dspy.Predict(answer_signature())

    def work(question: str) -> str:
        answer: str = predict(excerpts="-", question=question).answer
        return predict(excerpts="-", question=f"{answer} again").answer if twice(question) else answer

    return model.map(work, questions, progress, "ask")
