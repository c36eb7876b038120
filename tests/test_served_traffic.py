"""What people ask a server is what the look between nights looks at."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from answerers import HIT, Running, Serve, Shelf, servers_of
from champions import Project
from pumps import configure, write_catalogue

from csift import registry
from csift.config import LoopConfig
from csift.corpus import ingest
from csift.db import Database
from csift.db.base import now
from csift.drift import TrafficRow, Window
from csift.drift.signals import retrieval
from csift.reports.wording import drift_sentence
from csift.schemas import DriftReport, Hit, ServedAnswer
from csift.serving.answers import AnswerLog
from csift.serving.traffic import served_window
from tasks.collaborators import index
from tasks.drift import compare
from tasks.monitor import look


@pytest.fixture
def serve(made: Project) -> Iterator[Serve]:
    with servers_of(made) as start:
        yield start


@pytest.fixture
def config(db: Database, project: str, tmp_path: Path) -> LoopConfig:
    """Which names no file of current questions, but a reference with somebody's address in each."""
    write_catalogue(tmp_path / "pumps")
    told = configure(tmp_path / "pumps", project, tmp_path)
    rows = [{"session": f"s{n}", "question": f"How heavy is pump {n % 9}? ann{n}@example.org"} for n in range(40)]
    told.drift.reference.write_text("".join(json.dumps(row) + "\n" for row in rows))
    ingest(db, index(project, told.retrieval), project, told.corpus)
    return told.model_copy(update={"drift": told.drift.model_copy(update={"current": None})})


def ask(running: Running, session: str, question: str) -> None:
    body = {"model": running.server.project, "messages": [{"role": "user", "content": question}]}
    told = httpx.post(f"{running.url}/v1/chat/completions", json=body, headers={"x-csift-session": session}, timeout=30)
    assert told.is_success


def test_questions_asked_of_the_server_are_looked_at(made: Project, serve: Serve, config: LoopConfig) -> None:
    running = serve(retriever=index(config.project, config.retrieval))
    early = registry.load(made.db, DriftReport, look.fn(config).drift_id or "")
    assert drift_sentence(early) == "Until now there are 0 questions, drift needs at least 20; take a longer period."
    for n in range(26):
        ask(running, f"chat-{n}", f"How heavy is pump {n % 9}? <EMAIL_ADDRESS>")
    running.server.answers.close()

    seen = look.fn(config)
    report = registry.load(made.db, DriftReport, seen.drift_id or "")
    assert (report.current_rows, report.drifted, seen.events) == (26, False, ())
    assert {signal.name: signal.units for signal in report.signals} == {"questions": 66, "retrieval": 66}
    assert look.fn(config).drift_id == seen.drift_id  # once a day


def test_new_kinds_of_questions_are_drift(made: Project, config: LoopConfig) -> None:
    asked = "Do you deliver to the islands on Sundays, and for how much?"
    keep(made, [answer(made, n, question=f"{asked} {n % 9}", sources=()) for n in range(60)])
    report = compare(config)
    assert [signal.name for signal in report.signals if signal.drifted] == ["questions", "retrieval"]
    assert report.html_uri.endswith(".html")


# --- what counts ----------------------------------------------------------------------------------------------------------


def answer(made: Project, n: int, **told: Any) -> ServedAnswer:
    """One of the champion."""
    return ServedAnswer.model_validate(
        {
            "id": f"answer-{made.name}-{n}", "project": made.name, "system_id": made.system(1).id, "adapter_id": None,
            "session": f"chat-{n}", "asked_by": None, "at": now(), "question": "How heavy?", "answer": "29 kg.",
            "sources": (HIT,), "finish": "stop", "tokens_in": 9, "tokens_out": 6, "seconds": 0.1, **told,
        }
    )  # fmt: skip


def keep(made: Project, answers: Sequence[ServedAnswer]) -> None:
    log = AnswerLog(made.db, str, print)
    for one in answers:
        log.keep(one)
    log.close()


def test_only_what_the_champion_said_as_champion_counts_as_its_answers(made: Project) -> None:
    champion, challenger = made.system(1), made.system(2)
    keep(made, [answer(made, 1), answer(made, 2, system_id=challenger.id, answer="As canary.", session=None)])
    rows = served_window(made.db, made.name).rows
    assert [(row.answer, row.score) for row in rows] == [("29 kg.", HIT.score), (None, None)]
    assert [row.session for row in rows] == ["chat-1", f"answer-{made.name}-2"]

    made.promote(champion, challenger)
    keep(made, [answer(made, 3, system_id=challenger.id, answer="As champion.", sources=())])
    rows = served_window(made.db, made.name).rows
    assert [(row.answer, row.score) for row in rows] == [(None, None), (None, None), ("As champion.", None)]
    assert served_window(made.db, "another").rows == ()


def test_what_was_found_is_not_looked_for_again(made: Project) -> None:
    class Counting(Shelf):
        def __init__(self) -> None:
            self.asked: list[str] = []

        def search(self, questions: Sequence[str], k: int) -> list[list[Hit]]:
            self.asked += questions
            return super().search(questions, k)

    window = Window((TrafficRow("a", "found", score=0.5), TrafficRow("b", "looked for")))
    index = Counting()
    seen = retrieval(window, window, index)
    assert index.asked == ["looked for"] * 2
    assert seen.figures[0].current == pytest.approx((0.5 + HIT.score) / 2)
