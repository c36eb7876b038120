"""Calls of many threads in one batch, whatever their timing; and none that was paid for is made again."""

import random
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from datetime import UTC, datetime
from typing import Any, TypeVar

import dspy
import pytest

from csift import cycles
from csift.db import Database
from csift.exceptions import ModelError
from csift.interfaces import Messages, Progress, no_progress
from csift.ledger import Call, Ledger, cost_of
from csift.llm import WAVE, GatheringEngine, local_lm, map_batched
from csift.prompts import answer_signature, plain_adapter
from csift.schemas import Cost, Failure, Generation, GenerationParams

T = TypeVar("T")
SECONDS = 30  # far more than any of these takes; a hang fails instead of stopping the run


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


def ask_all(
    gathering: GatheringEngine, questions: Sequence[str], twice: Callable[[str], bool] = lambda question: False,
    progress: Progress = no_progress,
) -> list[Any]:  # fmt: skip
    """Asks each question, and those that are to be asked twice once more with its answer."""
    predict = dspy.Predict(answer_signature())

    def work(question: str) -> str:
        answer: str = predict(excerpts="-", question=question).answer
        return predict(excerpts="-", question=f"{answer} again").answer if twice(question) else answer

    with dspy.context(lm=local_lm(gathering, "test"), adapter=plain_adapter()):
        return map_batched(work, questions, gathering, progress, "ask")


@pytest.fixture
def cycle(db: Database, project: str) -> str:
    """A cycle to book calls on."""
    return cycles.begin(db, project, "manual", datetime(2026, 11, 20, 2, tzinfo=UTC))


@pytest.fixture
def hasty() -> Iterator[None]:
    """Threads are exchanged as often as the interpreter can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def questions(count: int) -> list[str]:
    return [f"q{i:02}" for i in range(count)]


# --- gathering ------------------------------------------------------------------------------------------------------------


def test_concurrent_calls_go_to_the_model_in_one_batch(db: Database, project: str) -> None:
    model = Model(project)
    answers = within(lambda: ask_all(GatheringEngine(model, Ledger(db), "rag", None, None), questions(20)))
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
        engine = GatheringEngine(model, Forgetful(db), "rag", None, None)
        within(lambda engine=engine, twice=twice: ask_all(engine, questions(40), twice))  # type: ignore[misc]
        seen.append(model.batches)
    assert [len(batch) for batch in seen[0]] == [WAVE, 11, 40 - WAVE, 3]
    assert all(batches == seen[0] for batches in seen)


def test_equal_calls_of_a_batch_are_made_once(db: Database, project: str) -> None:
    model = Model(project)
    assert within(lambda: ask_all(GatheringEngine(model, Ledger(db), "rag", None, None), ["same"] * 5)) == ["SAME"] * 5
    assert model.batches == [["same"]]


def test_a_single_call_needs_no_other(db: Database, project: str) -> None:
    gathering = GatheringEngine(Model(project), Ledger(db), "rag", None, None)
    predict = dspy.Predict(answer_signature())

    def ask() -> str:
        with dspy.context(lm=local_lm(gathering, "test"), adapter=plain_adapter()):
            return str(predict(excerpts="-", question="alone").answer)

    assert within(ask) == "ALONE"
    assert [generation.text for generation in gathering.take_spent()] == []  # they belong to the thread that asked


def test_progress_is_told_after_each_wave(db: Database, project: str) -> None:
    shown: list[tuple[str, int, int]] = []

    def progress(stage: str, done: int, total: int, note: str = "") -> None:
        shown.append((stage, done, total))

    ask_all(GatheringEngine(Model(project), Ledger(db), "rag", None, None), questions(WAVE + 3), progress=progress)
    assert shown == [("ask", 0, WAVE + 3), ("ask", WAVE, WAVE + 3), ("ask", WAVE + 3, WAVE + 3)]


# --- errors ---------------------------------------------------------------------------------------------------------------


def raises(error: BaseException, after: int = 0) -> Callable[[int], None]:
    def fail(batches: int) -> None:
        if batches >= after:
            raise error

    return fail


def test_an_error_of_the_model_ends_the_stage_for_every_worker(db: Database, project: str) -> None:
    model = Model(project, raises(RuntimeError("out of memory")))
    gathering = GatheringEngine(model, Ledger(db), "rag", None, None)
    with pytest.raises(Exception, match="out of memory"):
        within(lambda: ask_all(gathering, questions(WAVE + 5)))
    # The engine is ready for the next stage: nobody is still counted as working.
    model.fail = lambda batches: None
    assert within(lambda: ask_all(gathering, ["next"])) == ["NEXT"]


def test_an_error_while_some_have_finished_reaches_those_who_wait(db: Database, project: str) -> None:
    gathering = GatheringEngine(Model(project, raises(RuntimeError("gone"), after=1)), Ledger(db), "rag", None, None)
    with pytest.raises(Exception, match="gone"):
        within(lambda: ask_all(gathering, questions(10), twice=lambda question: question < "q03"))


def test_an_error_of_csift_keeps_its_own_words(db: Database, project: str) -> None:
    error = ModelError("a prompt has 9000 tokens and the model takes 2048; lower retrieval.k or chunk_size")
    with pytest.raises(ModelError) as caught:
        within(lambda: ask_all(GatheringEngine(Model(project, raises(error)), Ledger(db), "rag", None, None), questions(3)))
    assert str(caught.value) == str(error)


def test_a_ledger_that_cannot_be_read_ends_the_stage(db: Database, project: str) -> None:
    class Broken(Ledger):
        def find(self, calls: Sequence[Call]) -> dict[str, Generation]:
            raise ModelError("the ledger is gone")

    with pytest.raises(ModelError, match="the ledger is gone"):
        within(lambda: ask_all(GatheringEngine(Model(project), Broken(db), "rag", None, None), questions(3)))


def test_ctrl_c_in_the_model_ends_the_stage(db: Database, project: str) -> None:
    gathering = GatheringEngine(Model(project, raises(KeyboardInterrupt())), Ledger(db), "rag", None, None)
    with pytest.raises(KeyboardInterrupt):
        within(lambda: ask_all(gathering, questions(WAVE + 5)))


def test_ctrl_c_at_the_terminal_starts_no_other_wave_and_keeps_the_answers(db: Database, project: str) -> None:
    def press(batches: int) -> None:
        if batches == 0:
            signal.raise_signal(signal.SIGINT)

    model = Model(project, press)
    with pytest.raises(KeyboardInterrupt):
        ask_all(GatheringEngine(model, Ledger(db), "rag", None, None), questions(WAVE + 5))
    assert [len(batch) for batch in model.batches] == [WAVE]
    again = Model(project)
    ask_all(GatheringEngine(again, Ledger(db), "rag", None, None), questions(WAVE + 5))
    assert [len(batch) for batch in again.batches] == [5]


def test_an_answer_that_a_program_cannot_read_is_a_failure_of_its_item(db: Database, project: str) -> None:
    gathering = GatheringEngine(Model(project), Ledger(db), "rag", None, None)
    predict = dspy.Predict("question -> number: int")

    def work(question: str) -> int:
        number: int = predict(question=question).number
        return number

    def ask() -> list[int | Failure]:
        with dspy.context(lm=local_lm(gathering, "test"), adapter=dspy.ChatAdapter(use_json_adapter_fallback=False)):
            return map_batched(work, ["a", "b"], gathering)

    outcomes = within(ask)
    assert [type(outcome) for outcome in outcomes] == [Failure, Failure]
    assert {outcome.kind for outcome in outcomes if isinstance(outcome, Failure)} == {"unparsable"}


# --- the ledger -----------------------------------------------------------------------------------------------------------


def test_a_call_in_the_ledger_is_not_made_again(db: Database, project: str, cycle: str) -> None:
    ask_all(GatheringEngine(Model(project), Ledger(db, cycle), "rag", None, None), questions(4))
    later = cycles.begin(db, project, "manual", datetime(2026, 11, 21, 2, tzinfo=UTC))
    idle = Model(project, raises(AssertionError("called again")))
    assert ask_all(GatheringEngine(idle, Ledger(db, later), "rag", None, None), questions(4)) == ["Q00", "Q01", "Q02", "Q03"]
    assert cost_of(db, cycle) == Cost(calls=4, reused_calls=0, tokens_in=20, tokens_out=8)
    assert cost_of(db, later) == Cost(calls=0, reused_calls=4)


def test_a_run_that_was_cut_off_pays_only_for_the_rest(db: Database, project: str, cycle: str) -> None:
    dying = Model(project, raises(RuntimeError("killed"), after=1))
    with pytest.raises(Exception, match="killed"):
        ask_all(GatheringEngine(dying, Ledger(db, cycle), "rag", None, None), questions(6), twice=lambda question: True)
    assert cost_of(db, cycle).calls == 6
    rest = Model(project)
    answers = ask_all(GatheringEngine(rest, Ledger(db, cycle), "rag", None, None), questions(6), twice=lambda question: True)
    assert answers == [f"Q{i:02} AGAIN" for i in range(6)]
    assert [len(batch) for batch in rest.batches] == [6]
    assert (cost_of(db, cycle).calls, cost_of(db, cycle).reused_calls) == (12, 6)


def test_another_adapter_or_prompt_or_setting_is_another_call(db: Database, project: str) -> None:
    ledger = Ledger(db)
    chat = ({"role": "user", "content": "hello"},)
    call = Call(project, "rag", chat, GenerationParams())
    others = [
        Call(f"{project}+adapter", "rag", chat, GenerationParams()),
        Call(project, "rag", ({"role": "system", "content": "hello"},), GenerationParams()),
        Call(project, "rag", chat, GenerationParams(max_new_tokens=33)),
        Call(project, "rag", chat, GenerationParams(seed=1)),
    ]
    ledger.book([(call, Generation(text="hi", finish="stop", tokens_in=1, tokens_out=1, seconds=0.0))])
    assert ledger.find([call, *others]).keys() == {call.key}
    # Who asks is for the accounts only.
    assert ledger.find([Call(project, "teacher", chat, GenerationParams())]).keys() == {call.key}


def test_an_adapter_has_answers_of_its_own(db: Database, project: str) -> None:
    base, tuned = Model(project), Model(project)
    ask_all(GatheringEngine(base, Ledger(db), "rag", None, None), ["q"])
    ask_all(GatheringEngine(tuned, Ledger(db), "rag", "/adapters/a", "adapter-a"), ["q"])
    assert (len(base.batches), len(tuned.batches)) == (1, 1)


def test_the_first_answer_to_a_call_stays(db: Database, project: str) -> None:
    call = Call(project, "rag", ({"role": "user", "content": "hello"},), GenerationParams())
    for text in ("first", "second"):
        Ledger(db).book([(call, Generation(text=text, finish="stop", tokens_in=1, tokens_out=1, seconds=0.0))])
    assert Ledger(db).find([call])[call.key].text == "first"


def test_a_cycle_costs_its_own_calls_only(db: Database, project: str, cycle: str) -> None:
    chat = ({"role": "user", "content": "hello"},)
    made = [
        (
            Call(project, "teacher", chat, GenerationParams(seed=i)),
            Generation(text="x", finish="length", tokens_in=7, tokens_out=i, seconds=0.2),
        )
        for i in range(3)
    ]
    Ledger(db, cycle).book(made[:2], usd_per_call=0.25)
    Ledger(db).book(made[2:], usd_per_call=9.0)
    assert cost_of(db, cycle) == Cost(calls=2, reused_calls=0, tokens_in=14, tokens_out=1, usd=0.5)
    assert cost_of(db, f"{project}-unknown") == Cost()
