"""DSPy's optimisers train csift adapters: real DSPy, real training, a tiny random model."""

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

import dspy
import pytest
from dspy.clients.utils_finetune import TrainDataFormat, TrainingStatus
from hypothesis import given
from hypothesis import strategies as st

from csift.config import TrainingConfig
from csift.db import Database
from csift.exceptions import ConfigError, ModelError, StorageError, TrainingError
from csift.finetuning import (
    Answers,
    Distil,
    StoredAdapters,
    TrainableLM,
    TrainingProvider,
    dataset_id,
    program_hash,
    read,
    trainable,
    training_data,
)
from csift.inference import LocalEngine
from csift.ledger import Ledger
from csift.models import BaseModel
from csift.prompts import answer_prompt
from csift.rag import standard_program
from csift.schemas import METHODS, GenerationParams, Hit, LossPoint, Method
from csift.storage import LocalStore

SMALL = {
    "max_steps": 3, "batch_size": 4, "samples": 2, "checkpoint_every": 1, "answer_tokens": 6, "max_length": 256,
    "learning_rate": 2e-2, "preference_rate": 2e-2, "online_rate": 2e-2,
}  # fmt: skip
GOLD = {f"How heavy is pump {n}?": f"{n} kg" for n in range(6)}
TRAINSET = [dspy.Example(question=question, answer=answer).with_inputs("question") for question, answer in GOLD.items()]


class Shelf:
    """A retriever that finds the one excerpt that answers."""

    id = "shelf"

    def search(self, questions: Sequence[str], k: int) -> list[list[Hit]]:
        return [
            [Hit(chunk_id="c", document_id="d", text=f"It weighs {GOLD.get(question, '5 kg')}.", score=1.0)]
            for question in questions
        ]


class Told:
    """An engine that knows what to answer, with as many mistakes as it is told to make."""

    def __init__(self, answer: Callable[[str], str]) -> None:
        self.answer = answer
        self.asked: list[str] = []

    def complete(self, request: Any) -> Any:
        from dspy.lm15 import Message, Response, Usage

        question = request.messages[-1].text.rpartition("Question: ")[2].strip()
        self.asked.append(question)
        text = self.answer(question)
        return Response(id=None, model=request.model, message=Message.assistant(text), finish_reason="stop", usage=Usage(0, 0))


def rag(lm: Any) -> Any:
    program = standard_program(Shelf(), 1)
    program.set_lm(lm)
    return program


def teacher(answer: Callable[[str], str] = GOLD.__getitem__) -> Any:
    return rag(dspy.LM("told/answers", engine=Told(answer), cache=False))


def exact(example: Any, prediction: Any, trace: Any = None) -> bool:
    return bool(example.answer == prediction.answer)


class Place:
    """A provider in a folder of its own; keeps the losses."""

    def __init__(self, folder: Path, base: BaseModel, db: Database, role: str) -> None:
        self.folder, self.base, self.db, self.role = folder, base, db, role
        self.losses: list[int] = []
        self.engine = LocalEngine(base, 2)

    def provider(self, *methods: Method, **told: Any) -> TrainingProvider:
        def keep(adapter_id: str, point: LossPoint) -> None:
            self.losses.append(point.step)

        config = TrainingConfig(methods=methods or ("sft",), **{**SMALL, **told.pop("config", {})})
        store = LocalStore(self.folder / "artifacts")
        return TrainingProvider(
            self.base, config, store, Ledger(self.db), self.folder / "work", role=self.role, on_loss=keep, **told
        )

    def tuned(self, *methods: Method, **told: Any) -> Any:
        """The student after BootstrapFinetune."""
        return finetuned(self.provider(*methods, **told).lm())

    def says(self, lm: TrainableLM, question: str) -> str:
        """What the weights answer by csift's own engine, DSPy left out."""
        path = None
        if lm.adapter_id:
            store = LocalStore(self.folder / "artifacts")
            adapter = StoredAdapters(store).find(lm.adapter_id)
            assert adapter is not None
            path = str(store.open_artifact(adapter.artifact))
        prompt = answer_prompt(question, [f"It weighs {GOLD.get(question, '5 kg')}."])
        return self.engine.generate([prompt], GenerationParams(), path)[0].text.strip()


def finetuned(lm: Any, metric: Any = exact, **options: Any) -> Any:
    student = rag(lm)
    with dspy.context(adapter=lm.format):
        return dspy.BootstrapFinetune(metric=metric, num_threads=2, **options).compile(student, TRAINSET, teacher=teacher())


@pytest.fixture
def place(tmp_path: Path, tiny_model: BaseModel, db: Database, project: str) -> Place:
    return Place(tmp_path, tiny_model, db, project[:20])


# --- BootstrapFinetune ----------------------------------------------------------------------------------------------------


def test_bootstrap_finetune_ends_with_the_same_program_on_an_adapter_and_leaves_the_base_as_it_was(place: Place) -> None:
    provider = place.provider(config={"max_steps": 12})
    question = TRAINSET[3].question
    with dspy.context(adapter=provider.lm().format):
        before = rag(provider.lm())(question=question).answer
        program = finetuned(provider.lm())
        after = program(question=question)
        again = rag(provider.lm())(question=question).answer

    assert place.losses == list(range(1, 13))
    assert program.answer.lm.adapter_id.startswith("adapter-")
    assert program.answer.signature.instructions == standard_program(Shelf(), 1).answer.signature.instructions
    assert after.answer.strip() == place.says(program.answer.lm, question) != before.strip()
    assert after.contexts == ["It weighs 3 kg."]
    assert again == before


@pytest.mark.parametrize("methods", [(m,) for m in METHODS if m not in ("cpt", "reward", "ppo")] + [("sft", "reward", "ppo")])
def test_every_method_that_answers_can_teach_trains_by_bootstrap_finetune(place: Place, methods: tuple[Method, ...]) -> None:
    program = place.tuned(*methods)

    adapter = StoredAdapters(LocalStore(place.folder / "artifacts")).find(program.answer.lm.adapter_id)
    assert adapter is not None
    assert adapter.stages == methods


def test_it_trains_on_the_prompt_that_the_student_is_asked_with(place: Place) -> None:
    lm = place.provider().lm()
    signature = standard_program(Shelf(), 1).answer.signature
    inputs = {"excerpts": "- It weighs 3 kg.", "question": "How heavy is pump 3?"}

    row = lm.format.format_finetune_data(signature, [], inputs, {"answer": "3 kg"})

    assert row["messages"] == [
        *answer_prompt("How heavy is pump 3?", ["It weighs 3 kg."]),
        {"role": "assistant", "content": "3 kg"},
    ]


def test_the_same_rows_and_configuration_are_not_trained_twice(place: Place) -> None:
    first = place.tuned()
    place.losses.clear()
    second = place.tuned()

    assert second.answer.lm.model == first.answer.lm.model
    assert place.losses == []
    assert place.tuned(config={"seed": 1}).answer.lm.model != first.answer.lm.model
    assert place.losses == [1, 2, 3]


def test_train_kwargs_are_fields_of_the_configuration(place: Place) -> None:
    finetuned(place.provider().lm(), train_kwargs={"max_steps": 2})
    assert place.losses == [1, 2]

    with pytest.raises(ConfigError, match="unknown key `epochs`"):
        finetuned(place.provider().lm(), train_kwargs={"epochs": 2})
    with pytest.raises(ConfigError, match="run_on"):
        finetuned(place.provider().lm(), train_kwargs={"run_on": "gpu"})


def test_a_training_that_was_cancelled_goes_on_from_its_checkpoint(place: Place) -> None:
    jobs, known = [], Event()

    def progress(stage: str, done: int, total: int, note: str = "") -> None:
        known.wait(60)
        if done == 2:
            assert jobs[0].status() == TrainingStatus.running
            jobs[0].cancel()

    rows = [{"messages": [{"role": "user", "content": q}, {"role": "assistant", "content": a}]} for q, a in GOLD.items()]
    lm = place.provider(config={"max_steps": 6}, progress=progress).lm()
    jobs.append(lm.finetune(rows, TrainDataFormat.CHAT))
    known.set()
    with pytest.raises(TrainingError, match="cancelled at step 2 of 6; start it again"):
        jobs[0].result()
    assert jobs[0].status() == TrainingStatus.cancelled
    stopped = max(place.losses)
    place.losses.clear()

    job = place.provider(config={"max_steps": 6}).lm().finetune(rows, TrainDataFormat.CHAT)

    assert job.result().adapter_id
    assert job.status() == TrainingStatus.succeeded
    assert min(place.losses) >= stopped
    assert max(place.losses) == 6


def test_whoever_waits_for_a_training_hears_of_its_sudden_end(place: Place) -> None:
    def progress(stage: str, done: int, total: int, note: str = "") -> None:
        raise SystemExit(3)

    rows = [{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}]
    with pytest.raises(SystemExit):
        place.provider(progress=progress).lm().finetune(rows, TrainDataFormat.CHAT).result(120)


def test_two_predictors_with_models_of_their_own_get_adapters_of_their_own(place: Place) -> None:
    class Twice(dspy.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = (dspy.Predict("question -> answer") for _ in range(2))

        def forward(self, question: str) -> Any:
            return self.second(question=self.first(question=question).answer)

    lm = place.provider().lm()
    student, knows = Twice(), Twice()
    student.set_lm(lm)
    knows.set_lm(dspy.LM("told/answers", engine=Told(str.upper), cache=False))
    with dspy.context(adapter=lm.format):
        program = dspy.BootstrapFinetune(multitask=False, num_threads=2).compile(student, TRAINSET, teacher=knows)

    assert program.first.lm.adapter_id != program.second.lm.adapter_id
    assert len(place.losses) == 6


# --- Distil ---------------------------------------------------------------------------------------------------------------


def test_distil_hands_over_scored_answers_with_the_prompt_of_the_student(place: Place) -> None:
    lm = place.provider("dpo", config={"max_steps": 2}).lm()
    student, good, bad = rag(lm), teacher(), teacher(lambda question: "no idea")
    good.answer.demos = [{"excerpts": "- Blue.", "question": "Which colour?", "answer": "blue"}]
    good.answer.signature = good.answer.signature.with_instructions("Think of the catalogue.")

    program = Distil(exact).compile(student, trainset=TRAINSET, teacher=[good, bad])

    assert program is student
    expected = [Answers(answer_prompt(q, [f"It weighs {a}."]), {a: 1.0, "no idea": 0.0}) for q, a in GOLD.items()]
    adapter = StoredAdapters(LocalStore(place.folder / "artifacts")).find(program.answer.lm.adapter_id)
    assert adapter is not None
    assert adapter.dataset_id == dataset_id(expected)
    assert adapter.stages == ("dpo",)


def test_without_a_teacher_the_student_teaches_itself(place: Place) -> None:
    lm = place.provider(config={"max_steps": 1}).lm()
    program = Distil(lambda example, prediction, trace: 1).compile(rag(lm), trainset=TRAINSET)

    expected = [Answers(answer_prompt(q, [f"It weighs {a}."]), {place.says(lm, q) or " ": 1.0}) for q, a in GOLD.items()]
    adapter = StoredAdapters(LocalStore(place.folder / "artifacts")).find(program.answer.lm.adapter_id)
    assert adapter is not None
    assert adapter.dataset_id == dataset_id(expected)


def test_an_error_of_the_metric_stops_distil_and_names_the_example(place: Place) -> None:
    def broken(example: Any, prediction: Any, trace: Any) -> bool:
        return bool(example.golden == prediction.answer)

    with pytest.raises(TrainingError, match=r"the metric raises AttributeError.*How heavy is pump"):
        Distil(broken).compile(rag(place.provider().lm()), trainset=TRAINSET, teacher=teacher())


def test_distil_refuses_programs_that_do_not_fit(place: Place) -> None:
    with pytest.raises(TrainingError, match=r"set_lm"):
        Distil(exact).compile(teacher(), trainset=TRAINSET)
    with pytest.raises(TrainingError, match=r"a teacher has the predictors \['self'\], and the student \['answer'\]"):
        Distil(exact).compile(rag(place.provider().lm()), trainset=TRAINSET, teacher=dspy.Predict("question -> answer"))


# --- errors -----------------------------------------------------------------------------------------------------------------


def nothing_kept(lm: Any) -> None:
    finetuned(lm, metric=lambda example, prediction, trace=None: False)


def completion_rows(lm: Any) -> None:
    lm.finetune([{"prompt": "a", "completion": "b"}], TrainDataFormat.COMPLETION).result()


def rows_without_an_answer(lm: Any) -> None:
    lm.finetune([{"messages": [{"role": "user", "content": "a"}]}], TrainDataFormat.CHAT).result()


def all_scored_alike(lm: Any) -> None:
    Distil(exact, {"methods": ("dpo",)}).compile(rag(lm), trainset=TRAINSET, teacher=teacher())


def corpus_text(lm: Any) -> None:
    finetuned(lm, train_kwargs={"methods": ("sft", "cpt")})


def nothing_good(lm: Any) -> None:
    Distil(lambda *_: 0).compile(rag(lm), trainset=TRAINSET, teacher=teacher())


@pytest.mark.parametrize(
    ("work", "message"),
    [
        (nothing_kept, "nothing to train on: no answer of the teacher was kept"),
        (completion_rows, "trained on chats, not on rows of format 'completion'"),
        (rows_without_an_answer, "training row 0 is not as DSPy's format chat has it"),
        (all_scored_alike, "dpo learns from better and worse answers"),
        (corpus_text, "cpt learns from the text of documents"),
        (nothing_good, "sft has nothing to learn from"),
        (lambda lm: Distil(exact).compile(rag(lm), trainset=[], teacher=teacher()), "nothing to train on"),
        (lambda lm: lm.reinforce({}), "csift.finetuning.Distil"),
    ],
)  # fmt: skip
def test_what_cannot_be_trained_is_refused_in_one_line(place: Place, work: Callable[[Any], None], message: str) -> None:
    with pytest.raises(TrainingError, match=message) as caught:
        work(place.provider().lm())
    assert "\n" not in str(caught.value)
    assert place.losses == []


def test_an_adapter_that_is_not_there_is_refused(place: Place) -> None:
    with pytest.raises(StorageError, match=r"there is no adapter-0123456789abcdef in .*CSIFT_STORE_URL"):
        place.provider().lm("adapter-0123456789abcdef")


def test_a_model_with_an_adapter_is_not_trained_on(place: Place) -> None:
    program = place.tuned()
    with pytest.raises(TrainingError, match=r"has adapter-.* already"):
        finetuned(program.answer.lm)


def test_a_name_of_other_weights_is_refused(place: Place) -> None:
    with pytest.raises(ModelError, match="no model of this provider"):
        place.provider().lm().copy(model="openai/gpt-4o")


# --- use --------------------------------------------------------------------------------------------------------------------


def test_base_and_adapter_answer_side_by_side_in_many_threads(place: Place) -> None:
    provider = place.provider(config={"max_steps": 12})
    tuned, base = finetuned(provider.lm()), rag(provider.lm())
    asked = [(program, question) for question in GOLD for program in (tuned, base)]

    def ask(program: Any, question: str) -> str:
        with dspy.context(adapter=provider.lm().format):
            return str(program(question=question).answer).strip()

    with ThreadPoolExecutor(8) as pool:
        said = list(pool.map(lambda one: (*one, ask(*one)), asked))

    said.sort(key=lambda one: one[0] is base)  # the engine that checks holds one model at a time
    assert [answer for *_, answer in said] == [place.says(program.answer.lm, question) for program, question, _ in said]


def test_a_program_runs_batched_over_many_questions(place: Place) -> None:
    lm = place.provider().lm()
    program = rag(lm)

    answers = lm.batched.map(lambda question: program(question=question).answer.strip(), list(GOLD))

    assert answers == [place.says(lm, question) for question in GOLD]


def test_a_compiled_program_is_saved_as_json_and_loaded_with_its_adapter(
    tmp_path: Path, tiny_model: BaseModel, db: Database
) -> None:
    lm = trainable(TrainingConfig(base_model=tiny_model.name, methods=("sft",), **{**SMALL, "max_steps": 12}))
    program = finetuned(lm)
    program.answer.demos = [{"excerpts": "- Blue.", "question": "Which colour?", "answer": "blue"}]
    file = tmp_path / "program.json"
    program.save(file)
    loaded = standard_program(Shelf(), 1)

    with pytest.raises(ValueError, match="allow_unsafe_lm_state"):
        loaded.load(file)
    loaded.load(file, allow_unsafe_lm_state=True)

    state = json.loads(file.read_text())
    assert state["answer"]["lm"]["csift"]["adapter_id"] == program.answer.lm.adapter_id
    assert str(lm.provider._store.url) not in file.read_text()
    assert loaded.answer.lm.provider is not lm.provider
    assert loaded.answer.lm.provider.config == lm.provider.config
    assert program_hash(loaded) == program_hash(program)
    assert program_hash(loaded) != program_hash(rag(lm))
    with dspy.context(adapter=lm.format):
        assert loaded(question="How heavy is pump 3?").answer == program(question="How heavy is pump 3?").answer


def test_a_saved_program_is_not_loaded_over_other_weights(tmp_path: Path, tiny_model: BaseModel, db: Database) -> None:
    state = trainable(TrainingConfig(base_model=tiny_model.name)).dump_state()
    state["csift"]["revision"] = "other"
    with pytest.raises(ModelError, match="was saved with other"):
        TrainableLM.load_state(state)


def test_a_copied_program_shares_the_weights_and_keeps_its_defaults(place: Place) -> None:
    lm = TrainableLM(place.provider(), max_tokens=5)
    copied = rag(lm).deepcopy()

    assert copied.answer.lm is not lm
    assert copied.answer.lm.engine is lm.engine
    assert copied.answer.lm.kwargs["max_tokens"] == 5


# --- rows -------------------------------------------------------------------------------------------------------------------


def group(*members: tuple[str, float]) -> dict[str, Any]:
    prompt = [{"role": "user", "content": "q"}]
    return {
        "batch_id": None,
        "group": [{"messages": prompt, "completion": {"role": "assistant", "content": t}, "reward": r} for t, r in members],
    }


def test_groups_become_pairs_of_the_best_answer_and_each_that_got_less() -> None:
    (answers,) = read([group(("a", 1.0), ("b", 0.5), ("c", -1.0), ("a", 0.2))], "grpo_chat")
    data = training_data([answers], ("sft", "dpo", "kto", "grpo"))

    assert [row.completion for row in data.pairs] == ["a", "b"]
    assert [(row.chosen, row.rejected) for row in data.preferences] == [("a", "b"), ("a", "c")]
    assert [(row.completion, row.desirable) for row in data.ratings] == [("a", True), ("b", True), ("c", False)]
    assert [row.gold for row in data.prompts] == ["a"]


def test_an_own_answer_that_says_the_same_is_not_a_worse_one() -> None:
    answers = Answers([{"role": "user", "content": "q"}], {"The 29 kg": 1.0})
    assert answers.against("29 kg.") == answers
    assert answers.against("30 kg").rewards == {"The 29 kg": 1.0, "30 kg": 0.0}


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.floats(-1, 1)), min_size=1))
def test_no_pair_prefers_an_answer_that_got_less_or_is_not_one_to_give(members: list[tuple[str, float]]) -> None:
    answers = read([group(*members)], "grpo_chat")
    rewards = answers[0].rewards
    data = training_data(answers, ())

    assert all(rewards[row.chosen] > max(0, rewards[row.rejected]) for row in data.preferences)
    assert {row.completion for row in data.pairs} == {text for text, reward in rewards.items() if reward > 0}
    assert {row.desirable for row in data.ratings} in (set(), {True, False})


def test_the_id_of_rows_is_that_of_their_content_and_order() -> None:
    one, two = (Answers([{"role": "user", "content": text}], {"a": 1.0}) for text in "xy")
    assert dataset_id([one, two]) == dataset_id([one, two])
    assert len({dataset_id(rows) for rows in ([one], [one, two], [two, one])}) == 3
