"""Forgetting: how general answers are graded, who is asked and how, what is stored, what fails."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import sample_cycle

from csift.db import Database
from csift.exceptions import GateError
from csift.forgetting import is_right, of_cycle, retention, score, score_id, without_adapter
from csift.general import GENERAL_ID, GENERAL_QUESTIONS, SKILLS, GeneralQuestion
from csift.interfaces import Messages
from csift.intervals import bootstrap_mean
from csift.ledger import Call, Ledger, Reply
from csift.llm import LanguageModel, local_model
from csift.llm.engine import Account
from csift.prompts import answer_prompt
from csift.reports.forgetting import retention_sentence
from csift.schemas import Failure, Generation, GenerationParams, StageRun, System
from csift.textmatch import REFUSAL

T, R = TypeVar("T"), TypeVar("R")
BY_TEXT = {question.question: question for question in GENERAL_QUESTIONS}
ANY = st.sampled_from(GENERAL_QUESTIONS)
IN_SENTENCES = st.sampled_from([question for question in GENERAL_QUESTIONS if question.skill != "format"])

Script = Callable[[GeneralQuestion], str]


def question(text: str) -> GeneralQuestion:
    """The one question of the set with these words in it."""
    (found,) = (question for question in GENERAL_QUESTIONS if text in question.question)
    return found


def system(project: str, adapter: str | None = None, k: int = 3) -> System:
    """A System on a base model that no other test has."""
    return System.of(
        base_model="model",
        base_revision=project,
        adapter_id=adapter,
        program="standard",
        program_hash="p",
        snapshot_id="corpus",
        embedder="e",
        k=k,
        generation=GenerationParams(),
    )


class Scripted:
    """An Engine that answers each general question as a script says; keeps what it was sent."""

    def __init__(self, name: str, script: Script) -> None:
        self.id = name
        self.script = script
        self.sent: list[tuple[Messages, GenerationParams]] = []

    def generate(
        self, prompts: Sequence[Messages], params: GenerationParams, adapter_path: str | None = None
    ) -> list[Generation]:
        self.sent += [(prompt, params) for prompt in prompts]
        texts = [self.script(BY_TEXT[prompt[-1]["content"].rpartition("Question: ")[2]]) for prompt in prompts]
        return [Generation(text=text, finish="stop", tokens_in=5, tokens_out=2, seconds=0.1) for text in texts]


class Refusing:
    """A Caller whose calls fail where a script says so."""

    structured, default = False, GenerationParams()

    def __init__(self, name: str, fails: Callable[[str], bool]) -> None:
        self.model, self.role, self.account = name, "general", Account()
        self.fails = fails

    def answer(self, call: Call) -> Reply:
        text = call.messages[-1]["content"]
        if self.fails(text):
            return Failure(kind="refused", message="the model will not speak of this")
        return Generation(text="Yes", finish="stop", tokens_in=5, tokens_out=1, seconds=0.1)

    def run(self, one: Callable[[T], R], items: Sequence[T], done: Callable[[int], None]) -> list[R]:
        return [one(item) for item in items]


class World:
    """Models by adapter, each with its script; remembers who was asked for."""

    def __init__(self, db: Database, project: str, **scripts: Script) -> None:
        self.db, self.project = db, project
        self.engines = {name: Scripted(f"{project}-{name}", script) for name, script in scripts.items()}
        self.asked: list[str] = []

    def ask(self, answering: System) -> LanguageModel:
        name = answering.adapter_id or "base"
        self.asked.append(name)
        return local_model(self.engines[name], Ledger(self.db), "general", None, answering.adapter_id)


def knows(*skills: str) -> Script:
    """Answers these skills as the set wants it, and nothing else."""
    return lambda question: question.answer if question.skill in skills else "I am a small model."


# --- grading --------------------------------------------------------------------------------------------------------------


@given(ANY, st.integers(0, 3), st.sampled_from(["{}", "{}.", "  {}\n", '"{}"']))
def test_every_answer_of_the_set_is_right(asked: GeneralQuestion, which: int, form: str) -> None:
    wanted = asked.answers[which % len(asked.answers)]
    assert is_right(asked, form.format(wanted))


@given(IN_SENTENCES, st.sampled_from(["The answer is {}.", "The answer to the question is: {}.", "Answer: {}"]))
def test_a_sentence_is_as_good_as_a_word(asked: GeneralQuestion, form: str) -> None:
    """Training makes answers shorter; that alone is no knowledge gained."""
    assert is_right(asked, form.format(asked.answer))


@given(ANY, ANY)
def test_a_refusal_is_right_only_where_one_is_asked_for(asked: GeneralQuestion, other: GeneralQuestion) -> None:
    assert is_right(asked, REFUSAL) == (asked.skill == "refusal")
    assert not (asked.skill == "refusal" and other.skill != "refusal" and is_right(asked, other.answer))


@given(ANY, st.sampled_from(["", " ", "I am a small model.", "The question asks what is asked."]))
def test_words_without_an_answer_are_wrong(asked: GeneralQuestion, said: str) -> None:
    assert not is_right(asked, said)


@given(st.data(), st.sampled_from([q for q in GENERAL_QUESTIONS if q.skill not in ("refusal", "yes_no")]))
def test_the_answer_to_another_question_is_wrong(data: st.DataObject, asked: GeneralQuestion) -> None:
    others = [other for other in GENERAL_QUESTIONS if other.skill == asked.skill and other.id != asked.id]
    assert not is_right(asked, data.draw(st.sampled_from(others)).answer)


@given(st.data(), st.sampled_from([q for q in GENERAL_QUESTIONS if q.skill == "ordering" and "," in q.answer]))
def test_a_list_is_right_in_one_order_only(data: st.DataObject, asked: GeneralQuestion) -> None:
    items = asked.answer.split(", ")
    given_ = data.draw(st.permutations(items))
    said = f"In order they are: {', '.join(given_[:-1])} and {given_[-1]}."
    assert is_right(asked, said) == (given_ == items)


@pytest.mark.parametrize(
    ("about", "said", "right"),
    [
        ("captain's surname", "ACHTERBERG", True),
        ("captain's surname", "Achterberg", False),
        ("which bird", "Heron", True),
        ("which bird", "The bird is a heron.", False),
        ("two rivers", "Ister and Nahle", False),
        ("number 15", "15", False),
        ("Spell the word house", "house", False),
        ("Which month comes first", "March comes first.", True),
        ("Which month comes first", "October, March or July", False),
        ("Which month comes first", "October, March, July", False),
        ("rising order", "9, 2, 5 in rising order: 2, 5, 9", True),
        ("rising order", "2, 5, 9 or 9, 2, 5", False),
        ("rising order", "2 and 5", False),
        ("10 percent of 350", "10% of 350 is 0.10 * 350 = 35.", True),
        ("8 times 7", "8 times 7 is 54, not 56", False),
        ("8 times 7", "8 * 7 =", False),
        ("17 plus 26", "17 + 26 is 43", True),
        ("penguin", "No, penguins swim.", True),
        ("penguin", "The answer is: yes", False),
        ("French word for bread", "Le pain!", True),
        ("duke shut", "It was 9 weeks.", True),
        ("duke shut", "For ten weeks.", False),
        ("How deep is Lake Vessel", "The passage does not say how deep it is.", True),
        ("How deep is Lake Vessel", "Not stated, but about 30 m.", False),
    ],
)
def test_how_answers_are_graded(about: str, said: str, right: bool) -> None:
    assert is_right(question(about), said) is right


# --- asking ---------------------------------------------------------------------------------------------------------------


def test_before_and_after_are_paired_by_skill_beside_the_untrained_model(db: Database, project: str) -> None:
    world = World(
        db, project, base=knows("reading", "knowledge"), old=knows("reading", "knowledge", "format"), new=knows("knowledge")
    )
    found = retention(db, system(project, "old"), system(project, "new"), world.ask)

    assert (found.general_id, found.questions, found.failures) == (GENERAL_ID, 120, 0)
    assert (found.untrained, found.before, found.after) == (30, 45, 15)
    assert found.difference.value == -30 / 120
    assert found.since_untrained.value == -15 / 120
    assert found.difference.low < -30 / 120 < found.difference.high < 0
    skills = {part.skill: (part.questions, part.untrained, part.before, part.after) for part in found.skills}
    assert list(skills) == list(SKILLS)
    assert skills["reading"] == (15, 15, 15, 0)
    assert skills["format"] == (15, 0, 15, 0)
    assert skills["knowledge"] == (15, 15, 15, 15)


def test_questions_are_asked_as_served_with_their_own_passages_else_alone(db: Database, project: str) -> None:
    world = World(db, project, base=knows())
    retention(db, system(project), system(project), world.ask)

    sent = {
        BY_TEXT[chat[-1]["content"].rpartition("Question: ")[2]].id: (list(chat), params)
        for chat, params in world.engines["base"].sent
    }
    assert len(sent) == len(world.engines["base"].sent) == 120
    for asked in GENERAL_QUESTIONS:
        chat, params = sent[asked.id]
        bare = [{"role": "user", "content": asked.question}]
        assert chat == (list(answer_prompt(asked.question, asked.context)) if asked.context else bare)
        assert params == GenerationParams(max_new_tokens=24)


def test_only_a_model_without_a_score_is_asked(db: Database, project: str) -> None:
    world = World(db, project, base=knows(), one=knows("format"), two=knows("reading"))
    first = retention(db, system(project), system(project, "one"), world.ask)
    assert sorted(world.asked) == ["base", "one"]  # champion and untrained model are one model

    world.asked.clear()
    second = retention(db, system(project, "one"), system(project, "two", k=5), world.ask)
    assert world.asked == ["two"]  # what is retrieved, or how much, is not asked for
    assert (second.before_score_id, second.before) == (first.after_score_id, first.after)
    assert retention(db, system(project, "one"), system(project, "two", k=5), world.ask) == second
    assert world.asked == ["two"]


def test_a_custom_model_is_compared_with_the_champion_alone_by_the_score_it_was_given(db: Database, project: str) -> None:
    """It costs by the hour while it answers, so its score is made while it does; its base is not asked at all."""
    parts = system(project).model_dump(exclude={"id", "base_model", "base_revision", "generation"})
    custom = System.of(**parts, base_model=f"bedrock/{project}", base_revision="r", generation=GenerationParams())
    world = World(db, project, base=knows("format"), served=knows("format", "reading"))
    made = score(db, [custom], lambda _: local_model(world.engines["served"], Ledger(db), "general"))

    found = retention(db, system(project), custom, world.ask, scored=made)

    assert world.asked == ["base"]
    assert (found.untrained, found.before, found.after) == (None, 15, 30)
    assert (found.untrained_score_id, found.since_untrained) == (None, None)
    told = retention_sentence(found)
    assert "Of 120 general questions the challenger got 30 right" in told
    assert "untrained" not in told


def test_a_score_is_of_weights_and_generation_not_of_retrieval(project: str) -> None:
    here = system(project, "a")
    warm = here.model_copy(update={"generation": GenerationParams(temperature=0.7)})
    assert score_id(here) == score_id(system(project, "a", k=9)) == score_id(here.on("another corpus"))
    assert len({score_id(each) for each in (here, warm, system(project, "b"), system("other", "a"), without_adapter(here))}) == 5


def test_progress_counts_the_answers_of_all_who_are_asked(db: Database, project: str) -> None:
    shown: list[tuple[str, int, int]] = []
    world = World(db, project, base=knows(), new=knows())
    retention(
        db,
        system(project),
        system(project, "new"),
        world.ask,
        lambda stage, done, total, note="": shown.append((stage, done, total)),
    )

    assert {(stage, total) for stage, _, total in shown} == {("forgetting", 240)}
    assert [done for _, done, _ in shown] == sorted(done for _, done, _ in shown)
    assert shown[-1][1] == 240


def test_a_cycle_leads_to_what_it_found(db: Database, project: str) -> None:
    found = retention(db, system(project), system(project, "new"), World(db, project, base=knows(), new=knows("format")).ask)
    stage = StageRun(stage="forgetting", state="completed", seconds=1.0, record_id=found.id)
    assert of_cycle(db, sample_cycle().model_copy(update={"stages": (stage,)})) == found
    assert of_cycle(db, sample_cycle().model_copy(update={"stages": (stage.model_copy(update={"record_id": None}),)})) is None
    assert of_cycle(db, sample_cycle().model_copy(update={"stages": ()})) is None


# --- failures -------------------------------------------------------------------------------------------------------------


def test_a_failed_answer_is_counted_apart_and_asked_again(db: Database, project: str) -> None:
    world = World(db, project, base=knows("yes_no"))
    failing = [True]

    def ask(answering: System) -> LanguageModel:
        if answering.adapter_id is None:
            return world.ask(answering)
        world.asked.append(answering.adapter_id)
        return LanguageModel(Refusing(project, lambda text: failing[0] and "Apfel" in text))

    found = retention(db, system(project), system(project, "new"), ask)
    assert (found.questions, found.failures) == (119, 1)
    assert {part.skill: part.questions for part in found.skills}["translation"] == 14
    assert found.after == 8  # those to which yes is the answer

    failing[0] = False
    whole = retention(db, system(project), system(project, "new"), ask)
    assert (whole.questions, whole.failures) == (120, 0)
    assert world.asked == ["new", "base", "new"]
    assert whole.id != found.id


def test_a_model_that_answers_nothing_has_no_score(db: Database, project: str) -> None:
    with pytest.raises(GateError, match=r"not one of 120 general questions was answered by model with new: .*will not speak"):
        retention(db, system(project), system(project, "new"), lambda _: LanguageModel(Refusing(project, lambda _: True)))


# --- the interval ---------------------------------------------------------------------------------------------------------


@given(st.lists(st.sampled_from([-1.0, 0.0, 1.0]), min_size=1, max_size=120))
def test_the_interval_holds_its_mean_and_mirrors(differences: list[float]) -> None:
    values = np.array(differences)
    found, mirrored = (bootstrap_mean(side, 0.95, 500, 0, (-1.0, 1.0)) for side in (values, -values))
    assert -1 <= found.low <= found.high <= 1
    assert (mirrored.low, mirrored.high) == (-found.high, -found.low)
    assert found.value == values.mean()


def test_without_values_anything_is_possible() -> None:
    found = bootstrap_mean(np.array([]), 0.95, 500, 0, (-1.0, 1.0))
    assert (found.value, found.low, found.high) == (0.0, -1.0, 1.0)
