"""Answers from the ledger alone: whether a model has to be asked at all."""

import pytest

from csift import cycles
from csift.db import Database
from csift.db.base import now
from csift.ledger import Call, Ledger
from csift.llm import NotStored, stored_model
from csift.llm.engine import booked_class
from csift.schemas import Generation, GenerationParams

QUESTIONS = ("How heavy is it?", "How high does it lift?")


def call(project: str, question: str) -> Call:
    return Call(f"bedrock/{project}", "rag", [{"role": "user", "content": question}], GenerationParams())


def book(db: Database, project: str, *questions: str) -> None:
    said = Generation(text="4 kg", finish="stop", tokens_in=5, tokens_out=2, seconds=0.1)
    Ledger(db).book([(call(project, question), said) for question in questions])


def ask(db: Database, project: str, cycle_id: str | None = None) -> list[object]:
    booked_class()
    model = stored_model(f"bedrock/{project}", Ledger(db, cycle_id), "rag")
    return model.map(lambda question: model.lm(question)[0], QUESTIONS)


def test_what_was_answered_before_is_answered_again(db: Database, project: str) -> None:
    book(db, project, *QUESTIONS)
    assert ask(db, project) == ["4 kg", "4 kg"]


def test_one_answer_that_is_missing_names_the_model_to_serve(db: Database, project: str) -> None:
    book(db, project, QUESTIONS[0])
    with pytest.raises(NotStored, match="serve it and run again") as missing:
        ask(db, project)
    assert missing.value.model == f"bedrock/{project}"


def test_answers_count_as_reused_only_when_all_are_there(db: Database, project: str) -> None:
    """Else the run begins again with the model, and counts those that it takes from the ledger."""
    cycle = cycles.begin(db, project, "manual", now())
    book(db, project, QUESTIONS[0])
    with pytest.raises(NotStored):
        ask(db, project, cycle)
    assert cycles.load(db, cycle).cost.reused_calls == 0
    book(db, project, QUESTIONS[1])
    ask(db, project, cycle)
    assert cycles.load(db, cycle).cost.reused_calls == 2
