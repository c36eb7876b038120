"""The general question set: frozen, balanced, answerable, and apart from the demo's domain."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from csift.firewall.scorer import ngrams
from csift.general import GENERAL_ID, GENERAL_QUESTIONS, SKILLS, GeneralQuestion
from csift.textmatch import REFUSAL, normalise, tokens

EXAMPLES = Path(__file__).parent.parent / "examples"


def of_skill(skill: str) -> list[GeneralQuestion]:
    """The set's questions of one skill."""
    return [question for question in GENERAL_QUESTIONS if question.skill == skill]


def demo_texts() -> dict[str, str]:
    """Everything of the bundled demo that a model may be trained or judged on, by where it stands."""
    texts = {str(path): path.read_text("utf-8") for path in EXAMPLES.rglob("*.md")}
    for path in EXAMPLES.glob("*.jsonl"):
        for number, line in enumerate(path.read_text("utf-8").splitlines()):
            row = json.loads(line)
            texts[f"{path.name}:{number}"] = f"{row['question']} | {row.get('answer') or ''}"
    return texts


def test_set_is_the_frozen_one() -> None:
    """Scores are compared by this id: whoever changes a question changes it on purpose, and old scores no longer compare."""
    assert GENERAL_ID == "generalset-73914c9f6d66ce33"


def test_eight_skills_of_fifteen_questions() -> None:
    assert Counter(question.skill for question in GENERAL_QUESTIONS) == dict.fromkeys(SKILLS, 15)


def test_no_question_is_asked_twice() -> None:
    assert len({normalise(question.question) for question in GENERAL_QUESTIONS}) == len(GENERAL_QUESTIONS)
    assert len({question.id for question in GENERAL_QUESTIONS}) == len(GENERAL_QUESTIONS)


def test_id_follows_the_content() -> None:
    one, other = GENERAL_QUESTIONS[:2]
    assert re.fullmatch(r"general-[0-9a-f]{16}", one.id)
    assert one.id != other.id


@pytest.mark.parametrize("question", GENERAL_QUESTIONS, ids=lambda question: f"{question.skill}-{question.id[-6:]}")
def test_question_is_short_and_its_answers_differ(question: GeneralQuestion) -> None:
    assert question.question.endswith(("?", "."))
    assert len(question.context) <= 3
    assert sum(len(passage) for passage in question.context) <= 400
    assert 1 <= len(question.answer.split()) <= 8
    assert len(set(question.answers)) == len(question.answers)
    assert all(text == text.strip() and text for text in (*question.context, question.question, *question.answers))


@pytest.mark.parametrize("question", of_skill("reading"), ids=lambda question: question.answer)
def test_reading_answer_stands_in_its_passages(question: GeneralQuestion) -> None:
    assert normalise(question.answer) in normalise(" ".join(question.context))


def test_refusals_are_asked_about_a_passage() -> None:
    assert all(question.context and question.answers == (REFUSAL,) for question in of_skill("refusal"))
    assert all(REFUSAL not in question.answers for question in GENERAL_QUESTIONS if question.skill != "refusal")


def test_yes_and_no_are_balanced() -> None:
    """A model that always says yes is not taken for one that has kept its wits."""
    assert Counter(question.answer for question in of_skill("yes_no")) == {"Yes": 8, "No": 7}


@pytest.mark.parametrize("question", of_skill("ordering"), ids=lambda question: question.answer)
def test_ordering_answer_names_what_was_given(question: GeneralQuestion) -> None:
    given = set(tokens(" ".join((*question.context, question.question))))
    assert set(tokens(question.answer)) <= given


def test_knowledge_and_translation_need_no_passage() -> None:
    assert not any(question.context for skill in ("knowledge", "translation") for question in of_skill(skill))


def test_no_eight_words_in_a_row_of_the_demo() -> None:
    """Neither of its documents nor of its questions, or training on the demo would teach the general set."""
    mine = {
        gram: question.question
        for question in GENERAL_QUESTIONS
        for text in (question.question, *question.context)
        for gram in ngrams(text)
    }
    theirs = demo_texts()
    assert len(theirs) > 700
    shared = {(mine[gram], place) for place, text in theirs.items() for gram in ngrams(text) & mine.keys()}
    assert shared == set()
