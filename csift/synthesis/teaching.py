"""What a local teacher is tuned on before it writes: questions written by hand for passages of many kinds, and the project's own.

A small model that is merely shown examples asks vaguely and about other things than the answer; after a few minutes of LoRA
tuning on such rows it keeps to the marked span. The same rows, turned round, teach it to read for the round trip.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

from csift.config import TeacherConfig, TrainingConfig
from csift.hashing import content_id, sha256
from csift.interfaces import Messages
from csift.prompts import answer_prompt, plain_adapter
from csift.schemas import Chunk, Label
from csift.synthesis.checks import contains
from csift.synthesis.signatures import ask_for_answer
from csift.synthesis.spans import mark, sentences, titles
from csift.textmatch import REFUSAL

RESOURCE = "question_writing.jsonl"
OWN_SHARE = 1 / 3  # of the lessons, so that it asks and answers as these people do
MOST_REPEATED = 5
REFUSALS = 8  # every eighth passage is also shown with a question of another one


@dataclass(frozen=True)
class Lesson:
    """A passage (opening with its titles, where it has any), a span of it, and a question that a person wrote for the span."""

    passage: str
    answer: str
    question: str


@dataclass(frozen=True)
class LessonRow:
    """A chat up to the model's turn, and what the model is to say."""

    prompt: Messages
    completion: str


@lru_cache(maxsize=1)
def bundled_lessons() -> tuple[Lesson, ...]:
    """The questions that come with csift; every second passage opens with its title, as chunks of titled documents do."""
    text = (resources.files("csift.resources") / RESOURCE).read_text("utf-8")
    rows = [json.loads(line) for line in text.splitlines()]
    return tuple(
        Lesson(f"{row['title']}: {row['passage']}" if number % 2 else row["passage"], row["answer"], row["question"])
        for number, row in enumerate(rows)
    )


def lessons_of(labels: Sequence[Label], chunks: Sequence[Chunk]) -> list[Lesson]:
    """The project's own questions whose answer stands word for word in a sentence of their document, with that sentence."""
    by_document: dict[str, list[Chunk]] = {}
    for chunk in chunks:
        by_document.setdefault(chunk.document_id, []).append(chunk)
    lessons = []
    for label in labels:
        if label.style != "factoid" or label.answer is None:
            continue
        for chunk in by_document.get(label.document_id, []):
            header, body = titles(chunk)
            sentence = next((part for part in sentences(body) if label.answer in part), None)
            if sentence and not contains(label.question, label.answer):
                lessons.append(Lesson(f"{header}: {sentence}" if header else sentence, label.answer, label.question))
                break
    return lessons


def lessons_for(labels: Sequence[Label], chunks: Sequence[Chunk]) -> list[Lesson]:
    """What a project's teacher is tuned on: the bundled lessons and its own, repeated until they are about a third."""
    bundled, own = list(bundled_lessons()), lessons_of(labels, chunks)
    times = max(1, round(OWN_SHARE / (1 - OWN_SHARE) * len(bundled) / max(len(own), 1)))
    return bundled + own * min(times, MOST_REPEATED)


def lesson_rows(lessons: Sequence[Lesson]) -> list[LessonRow]:
    """For each lesson a row that teaches to ask and one that teaches to read; some are to be refused.

    A lesson that is repeated teaches to read again, not to ask: people's questions are poor lessons in asking.
    """
    rows = []
    asked: set[Lesson] = set()
    order = sorted(lessons, key=lambda lesson: sha256(lesson.question))
    for number, lesson in enumerate(order):
        inputs = {"passage": mark(lesson.passage, lesson.answer), "answer": lesson.answer}
        if lesson not in asked:
            asked.add(lesson)
            rows.append(LessonRow(plain_adapter().format(ask_for_answer(), [], inputs), lesson.question))
        rows.append(LessonRow(answer_prompt(lesson.question, [lesson.passage]), lesson.answer))
        other = order[(number + len(order) // 2) % len(order)]
        if number % REFUSALS == 0 and not contains(other.passage, lesson.answer):
            rows.append(LessonRow(answer_prompt(lesson.question, [other.passage]), REFUSAL))
    return rows


def tuning(teacher: TeacherConfig, max_length: int) -> TrainingConfig:
    """How a local teacher is tuned: short rows, twice as many a step as in training."""
    return TrainingConfig(
        base_model=teacher.model, max_steps=teacher.tune_steps, batch_size=8, checkpoint_every=20, max_length=max_length
    )


def lessons_hash(lessons: Sequence[Lesson]) -> str:
    """What an adapter is named after that was tuned on these."""
    return content_id("lessons", [[row.prompt, row.completion] for row in lesson_rows(lessons)])
