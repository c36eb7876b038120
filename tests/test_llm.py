"""The local model: calls of many threads in one batch, whatever their timing."""

import os
import random
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

import dspy
import pytest
from teachers import Model, ask_all

from csift.db import Database
from csift.exceptions import ModelError
from csift.interfaces import Messages
from csift.ledger import Call, Ledger
from csift.llm import WAVE, local_model
from csift.prompts import answer_signature
from csift.schemas import Failure, Generation

T = TypeVar("T")
SECONDS = 30  # far more than any of these takes; a hang fails instead of stopping the run


def within(work: Callable[[], T]) -> T:
    """The result of `work`, run beside the test, or an error when it hangs."""
    done: Future[T] = Future()

    def run() -> None:
        try:
            done.set_result(work())
        except BaseException as error:  # noqa: BLE001 - the test wants it, also Ctrl-C
            done.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return done.result(SECONDS)


@pytest.fixture
def hasty() -> Iterator[None]:
    """Threads are exchanged as often as the interpreter can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def questions(count: int) -> list[str]:
    return [f"q{i:02}" for i in range(count)]


# --- model ------------------------------------------------------------------------------------------------------------


def test_concurrent_calls_go_to_the_model_in_one_batch(db: Database, project: str) -> None:
    model = Model(project)
    answers = within(lambda: ask_all(local_model(model, Ledger(db), "rag"), questions(20)))
    assert answers == [f"Q{i:02}" for i in range(20)]
    assert [len(batch) for batch in model.batches] == [20]


def test_what_is_in_a_batch_does_not_depend_on_the_timing_of_threads(db: Database, project: str, hasty: None) -> None:
    class Forgetful(Ledger):
        def find(self, calls: Sequence[Call]) -> dict[str, Generation]:
            return {}

    seen = []
    for run in range(6):
        noise = random.Random(run)

        def twice(question: str, noise: random.Random = noise) -> bool:
            sum(range(noise.randrange(50_000)))  # some threads take longer than others
            return int(question[1:]) % 3 == 0

        model = Model(project)
        engine = local_model(model, Forgetful(db), "rag")
        within(lambda engine=engine, twice=twice: ask_all(engine, questions(40), twice))  # type: ignore[misc]
        seen.append(model.batches)
    assert [len(batch) for batch in seen[0]] == [WAVE, 11, 40 - WAVE, 3]
    assert all(batches == seen[0] for batches in seen)


def test_equal_calls_of_a_batch_are_made_once(db: Database, project: str) -> None:
    model = Model(project)
    assert within(lambda: ask_all(local_model(model, Ledger(db), "rag"), ["same"] * 5)) == ["SAME"] * 5
    assert model.batches == [["same"]]


def test_a_single_call_needs_no_other(db: Database, project: str) -> None:
    model = local_model(Model(project), Ledger(db), "rag")
    predict = dspy.Predict(answer_signature())

    def ask() -> str:
        with dspy.context(lm=model.lm, adapter=model.adapter):
            return str(predict(excerpts="-", question="alone").answer)

    assert within(ask) == "ALONE"
    assert [generation.text for generation in model.take_spent()] == []  # they belong to the thread that asked


def test_calls_of_threads_that_nobody_announced_are_gathered_while_the_model_is_busy(db: Database, project: str) -> None:
    asked = questions(13)

    class Busy(Model):
        lock = threading.Lock()

        def generate(self, prompts: Sequence[Messages], *told: Any) -> list[Generation]:
            assert self.lock.acquire(blocking=False), "two batches at once"
            while not self.batches and len(prompts) + len(model._caller._waiting) < len(asked):  # type: ignore[attr-defined]
                os.sched_yield()  # nothing public says that they wait
            answers = super().generate(prompts, *told)
            self.lock.release()
            return answers

    engine = Busy(project)
    model = local_model(engine, Ledger(db), "rag")
    predict = dspy.Predict(answer_signature())

    def ask(question: str) -> str:
        return str(predict(excerpts="-", question=question).answer)

    def all_at_once() -> Any:
        parallel = dspy.Parallel(num_threads=len(asked), disable_progress_bar=True)
        with dspy.context(lm=model.lm, adapter=model.adapter):
            return parallel([(ask, {"question": question}) for question in asked])

    assert within(all_at_once) == [question.upper() for question in asked]
    assert len(engine.batches) <= 2


def test_progress_is_told_after_each_wave(db: Database, project: str) -> None:
    shown: list[tuple[str, int, int]] = []

    def progress(stage: str, done: int, total: int, note: str = "") -> None:
        shown.append((stage, done, total))

    ask_all(local_model(Model(project), Ledger(db), "rag"), questions(WAVE + 3), progress=progress)
    assert shown == [("ask", 0, WAVE + 3), ("ask", WAVE, WAVE + 3), ("ask", WAVE + 3, WAVE + 3)]


# --- errors ---------------------------------------------------------------------------------------------------------------


def raises(error: BaseException, after: int = 0) -> Callable[[int], None]:
    def fail(batches: int) -> None:
        if batches >= after:
            raise error

    return fail


def test_an_error_of_the_model_ends_the_stage_for_every_worker(db: Database, project: str) -> None:
    engine = Model(project, raises(RuntimeError("out of memory")))
    model = local_model(engine, Ledger(db), "rag")
    with pytest.raises(Exception, match="out of memory"):
        within(lambda: ask_all(model, questions(WAVE + 5)))
    # The engine is ready for the next stage: nobody is still counted as working.
    engine.fail = lambda batches: None
    assert within(lambda: ask_all(model, ["next"])) == ["NEXT"]


def test_an_error_while_some_have_finished_reaches_those_who_wait(db: Database, project: str) -> None:
    model = local_model(Model(project, raises(RuntimeError("gone"), after=1)), Ledger(db), "rag")
    with pytest.raises(Exception, match="gone"):
        within(lambda: ask_all(model, questions(10), twice=lambda question: question < "q03"))


def test_an_error_of_csift_keeps_its_own_words(db: Database, project: str) -> None:
    error = ModelError("a prompt has 9000 tokens and the model takes 2048; lower retrieval.k or chunk_size")
    with pytest.raises(ModelError) as caught:
        within(lambda: ask_all(local_model(Model(project, raises(error)), Ledger(db), "rag"), questions(3)))
    assert str(caught.value) == str(error)


def test_a_ledger_that_cannot_be_read_ends_the_stage(db: Database, project: str) -> None:
    class Broken(Ledger):
        def find(self, calls: Sequence[Call]) -> dict[str, Generation]:
            raise ModelError("the ledger is gone")

    with pytest.raises(ModelError, match="the ledger is gone"):
        within(lambda: ask_all(local_model(Model(project), Broken(db), "rag"), questions(3)))


def test_ctrl_c_in_the_model_ends_the_stage(db: Database, project: str) -> None:
    model = local_model(Model(project, raises(KeyboardInterrupt())), Ledger(db), "rag")
    with pytest.raises(KeyboardInterrupt):
        within(lambda: ask_all(model, questions(WAVE + 5)))


def test_ctrl_c_at_the_terminal_starts_no_other_wave_and_keeps_the_answers(db: Database, project: str) -> None:
    def press(batches: int) -> None:
        if batches == 0:
            signal.raise_signal(signal.SIGINT)

    model = Model(project, press)
    with pytest.raises(KeyboardInterrupt):
        ask_all(local_model(model, Ledger(db), "rag"), questions(WAVE + 5))
    assert [len(batch) for batch in model.batches] == [WAVE]
    again = Model(project)
    ask_all(local_model(again, Ledger(db), "rag"), questions(WAVE + 5))
    assert [len(batch) for batch in again.batches] == [5]


def test_an_answer_that_a_program_cannot_read_is_a_failure_of_its_item(db: Database, project: str) -> None:
    model = local_model(Model(project), Ledger(db), "rag")
    predict = dspy.Predict("question -> number: int")

    def work(question: str) -> int:
        with dspy.context(adapter=dspy.ChatAdapter(use_json_adapter_fallback=False)):
            number: int = predict(question=question).number
        return number

    outcomes = within(lambda: model.map(work, ["a", "b"]))
    assert [type(outcome) for outcome in outcomes] == [Failure, Failure]
    assert {outcome.kind for outcome in outcomes if isinstance(outcome, Failure)} == {"unparsable"}
