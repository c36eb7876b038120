"""The answering programs: optimised on training questions only, kept under a hash, rebuilt from a System's id."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from samples import sample_system

from csift.db import Database
from csift.evaluation import answer
from csift.exceptions import BudgetExhausted, ConfigError, CsiftError, LabelError, ModelError, StorageError, TeacherError
from csift.interfaces import Judge, Messages
from csift.ledger import Ledger
from csift.llm import local_model
from csift.prompts import answer_prompt
from csift.rag import (
    Compiled,
    Task,
    accuracy,
    closed_book_program,
    compile_program,
    load_compiled,
    optimised_program,
    program_of,
    refuse_held_out,
    save_compiled,
    standard_program,
)
from csift.schemas import EvalItem, EvalSet, Failure, Generation, GenerationParams, Hit, JudgeItem, Label, Score, Split, System
from csift.storage import LocalStore
from csift.textmatch import REFUSAL, normalise

WEIGHTS = {"Alder": "3 kg", "Birch": "4 kg", "Cedar": "5 kg", "Damson": "6 kg", "Elder": "7 kg", "Fir": "8 kg"}


class Pumps:
    """Finds the one chunk about the pump that a question names."""

    id = "pumps"

    def search(self, questions: Sequence[str], k: int) -> list[list[Hit]]:
        """A chunk a question."""
        names = [next(name for name in WEIGHTS if name in question) for question in questions]
        return [
            [Hit(chunk_id=name, document_id=name, text=f"The {name} pump weighs {WEIGHTS[name]}.", score=1.0)] for name in names
        ]


class Reader:
    """An engine that finds the weight in the last message, but calls the Birch pump heavy; keeps what it was asked."""

    def __init__(self, name: str, fail: CsiftError | None = None) -> None:
        self.id, self.fail = name, fail
        self.asked: list[Messages] = []

    def generate(
        self, prompts: Sequence[Messages], params: GenerationParams, adapter_path: str | None = None
    ) -> list[Generation]:
        """One generation a chat."""
        if self.fail and len(self.asked) > 1:
            raise self.fail
        self.asked += prompts
        return [
            Generation(text=self._read(prompt[-1]["content"]), finish="stop", tokens_in=9, tokens_out=2, seconds=0.1)
            for prompt in prompts
        ]

    @staticmethod
    def _read(message: str) -> str:
        found = next((f"{weight}" for name, weight in WEIGHTS.items() if f"{name} pump weighs {weight}" in message), REFUSAL)
        return "heavy" if "Birch" in message else found


class Exact:
    """A judge: correct when equal; fails for the pumps named in `down`."""

    id = "exact"

    def __init__(self, *down: str) -> None:
        self.down = down

    def judge(self, items: Sequence[JudgeItem]) -> list[Score | Failure]:
        """A verdict an item."""
        return [
            Failure(kind="timeout", message="nobody answers")
            if any(name in item.question for name in self.down)
            else Score(value=1.0, correct=normalise(item.answer) == normalise(item.gold or REFUSAL), reason="compared")
            for item in items
        ]


def label(name: str, split: Split = "train", answer: str | None = "") -> Label:
    """A question about one pump's weight."""
    told = WEIGHTS[name] if answer == "" else answer
    return Label(
        id=f"{name}-0", question=f"How heavy is the {name} pump?", answer=told, document_id=f"{name}.md", style="factoid",
        split=split, document_sha256="1",
    )  # fmt: skip


def frozen(*labels: Label) -> EvalSet:
    """A set of these questions."""
    fields = set(EvalItem.model_fields) - {"guarded"}
    items = tuple(EvalItem(**one.model_dump(include=fields), guarded=False) for one in labels)
    return EvalSet(id="evalset-1", project="pumps", life=1, items=items, retired=(), previous_id=None)


HELD_OUT = frozen(label("Fir", "eval"))
TRAIN = [label(name) for name in ("Alder", "Birch", "Cedar", "Damson", "Elder")]


def task(engine: Reader, db: Database, judge: Judge | None = None, **told: Any) -> Task:
    """A task for the local stand-in, with one bootstrapped of three demonstrations."""
    usual: dict[str, Any] = {
        "retriever": Pumps(), "k": 1, "model": local_model(engine, Ledger(db), "rag"), "judge": judge or Exact(),
        "labels": TRAIN, "evalsets": [HELD_OUT], "bootstrapped": 2, "labelled": 4,
    }  # fmt: skip
    return Task(**{**usual, **told})


# --- what an optimiser may see --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "leak",
    [
        label("Fir", "eval"),
        label("Fir"),
        label("Fir").model_copy(update={"id": "other"}),
        label("Fir").model_copy(update={"id": "other", "document_id": "copy.md", "question": "How heavy is the  FIR pump?"}),
        label("Alder", "golden"),
    ],
    ids=["eval split", "same id", "same document", "same words", "golden split"],
)
def test_a_question_that_is_judged_on_is_refused_by_its_id(db: Database, project: str, leak: Label) -> None:
    engine = Reader(project)
    with pytest.raises(LabelError, match=leak.id):
        compile_program("bootstrap", task(engine, db, labels=[*TRAIN, leak]))
    assert engine.asked == []


def test_the_same_question_about_another_document_with_another_answer_is_no_leak() -> None:
    asked_of_all = label("Fir").model_copy(update={"id": "x", "document_id": "x.md", "answer": "12 kg"})
    refuse_held_out([asked_of_all], HELD_OUT)


def test_all_questions_that_are_shown_are_training_questions(db: Database, project: str) -> None:
    engine = Reader(project)
    compiled = compile_program("bootstrap", task(engine, db))
    shown = {demo.question for demo in compiled.demonstrations}
    assert shown <= {one.question for one in TRAIN}
    assert not any("Fir" in str(prompt) for prompt in engine.asked)


# --- optimised ------------------------------------------------------------------------------------------------------------


def test_bootstrapped_demonstrations_are_right_answers_with_excerpts_and_labelled_ones_have_none(
    db: Database, project: str
) -> None:
    compiled = compile_program("bootstrap", task(Reader(project), db))
    by_kind = {kind: [d for d in compiled.demonstrations if (d.excerpts is not None) == kind] for kind in (True, False)}
    assert len(by_kind[True]) == 2
    assert len(by_kind[True]) + len(by_kind[False]) == 4
    assert all(f"weighs {demo.answer}" in str(demo.excerpts) for demo in by_kind[True])
    assert not any("Birch" in demo.question for demo in by_kind[True])  # the model answers that one wrongly


def test_demonstrations_stand_before_the_question_in_the_format_of_the_answering_prompt(db: Database, project: str) -> None:
    engine = Reader(project)
    model = local_model(engine, Ledger(db), "rag")
    compiled = compile_program("bootstrap", task(engine, db, model=model))
    question = "How heavy is the Fir pump?"
    answer(optimised_program(Pumps(), 1, compiled), model, [question])

    asked, plain = engine.asked[-1], answer_prompt(question, ["The Fir pump weighs 8 kg."])
    assert [asked[0], asked[-1]] == list(plain)
    shown = [(one["content"], two["content"]) for one, two in zip(asked[1:-1:2], asked[2:-1:2], strict=True)]
    assert len(shown) == 4
    bootstrapped = [d for d in compiled.demonstrations if d.excerpts is not None]
    labelled = [d for d in compiled.demonstrations if d.excerpts is None]
    assert shown == [
        *((f"Question: {d.question}", d.answer) for d in labelled),
        *((f"Excerpts: {d.excerpts}\nQuestion: {d.question}", d.answer) for d in bootstrapped),
    ]


def test_compiled_again_it_is_the_same_program_and_nothing_is_asked(db: Database, project: str) -> None:
    engine = Reader(project)
    first = compile_program("bootstrap", task(engine, db))
    asked = len(engine.asked)
    assert compile_program("bootstrap", task(engine, db)).hash == first.hash
    assert len(engine.asked) == asked
    assert compile_program("bootstrap", task(engine, db, labelled=3)).hash != first.hash


def test_an_error_of_csift_ends_the_optimiser_and_is_not_taken_for_a_wrong_answer(db: Database, project: str) -> None:
    engine = Reader(project, BudgetExhausted("the budget is used up"))
    with pytest.raises(BudgetExhausted, match="used up"):
        compile_program("bootstrap", task(engine, db, bootstrapped=5))
    assert len(engine.asked) == 2


def test_judgements_that_fail_are_no_verdict_and_too_many_void_the_program(db: Database, project: str) -> None:
    with pytest.raises(TeacherError, match="nobody answers"):
        compile_program("bootstrap", task(Reader(project), db, Exact("Alder", "Cedar"), bootstrapped=5))
    compiled = compile_program("bootstrap", task(Reader(project), db, Exact("Alder"), bootstrapped=5, max_failure_share=0.5))
    assert not any("Alder" in demo.question for demo in compiled.demonstrations if demo.excerpts)


@pytest.mark.parametrize("optimiser", ["mipro", "gepa"])
def test_an_optimiser_that_writes_needs_somebody_who_can(db: Database, project: str, optimiser: Any) -> None:
    with pytest.raises(ConfigError, match="prompt_model"):
        compile_program(optimiser, task(Reader(project), db))


def test_too_few_training_questions_are_told(db: Database, project: str) -> None:
    with pytest.raises(LabelError, match="too few"):
        compile_program("bootstrap", task(Reader(project), db, labels=TRAIN[:1]))


# --- kept -----------------------------------------------------------------------------------------------------------------


def compiled_for(db: Database, project: str) -> Compiled:
    return compile_program("bootstrap", task(Reader(project), db))


def test_a_system_is_rebuilt_from_its_id_and_asks_the_same(db: Database, project: str, tmp_path: Path) -> None:
    engine = Reader(project)
    model = local_model(engine, Ledger(db), "rag")
    compiled = compile_program("bootstrap", task(engine, db, model=model))
    answer(optimised_program(Pumps(), 1, compiled), model, ["How heavy is the Fir pump?"])
    asked = len(engine.asked)

    system = _system("optimised", save_compiled(LocalStore(tmp_path), compiled))
    again = program_of(system, Pumps(), LocalStore(tmp_path))  # as another process would
    (told,) = answer(again, model, ["How heavy is the Fir pump?"])
    assert not isinstance(told, Failure) and told[:2] == ("8 kg", ["The Fir pump weighs 8 kg."])
    assert len(engine.asked) == asked
    assert again.hash == system.program_hash


def test_a_compiled_program_is_json_and_one_that_was_changed_is_refused(db: Database, project: str, tmp_path: Path) -> None:
    store, compiled = LocalStore(tmp_path), compiled_for(db, project)
    key = f"programs/{save_compiled(store, compiled)}.json"
    assert json.loads(store.get(key))["demonstrations"]
    assert load_compiled(store, compiled.hash) == compiled

    store.put(key, store.get(key).replace(b"kg", b"lb"))
    with pytest.raises(StorageError, match="was changed"):
        load_compiled(store, compiled.hash)
    store.put(key, b"\x80\x04N.")
    with pytest.raises(StorageError, match="no compiled program"):
        load_compiled(store, compiled.hash)
    with pytest.raises(StorageError, match="compile it again"):
        load_compiled(store, "program-0000000000000000")


def test_a_program_for_another_prompt_format_is_refused(db: Database, project: str) -> None:
    old = compiled_for(db, project).model_copy(update={"format": "plain-0"})
    with pytest.raises(ModelError, match="plain-0"):
        optimised_program(Pumps(), 1, old)


# --- the other programs ---------------------------------------------------------------------------------------------------


def _system(program: str, hash_: str) -> System:
    like = sample_system()
    told = {name: getattr(like, name) for name in System.model_fields if name != "id"}
    return System.of(**{**told, "program": program, "program_hash": hash_, "k": 1})


def test_closed_book_sees_the_question_only(db: Database, project: str) -> None:
    engine = Reader(project)
    (told,) = answer(closed_book_program(), local_model(engine, Ledger(db), "rag"), ["How heavy is the Fir pump?"])
    assert not isinstance(told, Failure) and told[:2] == (REFUSAL, [])
    assert engine.asked[0][-1]["content"] == "Question: How heavy is the Fir pump?"


@pytest.mark.parametrize("make", [closed_book_program, lambda: standard_program(Pumps(), 1)], ids=["closed-book", "standard"])
def test_a_system_of_another_prompt_is_refused(make: Callable[[], Any], tmp_path: Path) -> None:
    program, store = make(), LocalStore(tmp_path)
    kind = "closed-book" if program.hash == closed_book_program().hash else "standard"
    assert type(program_of(_system(kind, program.hash), Pumps(), store)) is type(program)
    with pytest.raises(ModelError, match="train and judge it again"):
        program_of(_system(kind, "prompt-of-old"), Pumps(), store)


# --- dspy.Evaluate ----------------------------------------------------------------------------------------------------------


def test_dspy_evaluate_asks_all_questions_in_one_batch_and_counts_failures_apart(db: Database, project: str) -> None:
    engine = Reader(project)
    model = local_model(engine, Ledger(db), "rag")
    told = accuracy(standard_program(Pumps(), 1), model, Exact("Alder"), TRAIN)
    assert len(engine.asked) == 5
    assert told.value == pytest.approx(3 / 4)  # Birch is answered wrongly, nobody can judge Alder
    assert model.usage().calls == 5


def test_dspy_evaluate_ends_with_what_ended_the_model(db: Database, project: str) -> None:
    engine = Reader(project, BudgetExhausted("the budget is used up"))
    engine.asked += [[], []]
    with pytest.raises(BudgetExhausted, match="used up"):
        accuracy(standard_program(Pumps(), 1), local_model(engine, Ledger(db), "rag"), Exact(), TRAIN)
