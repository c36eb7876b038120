"""The general question set: what a model could do before it was trained on one domain, asked again afterwards.

Training on a domain makes a model forget (McCloskey & Cohen 1989; for instruction tuning Luo et al., An Empirical Study of
Catastrophic Forgetting in Large Language Models During Continual Fine-tuning, 2023). 120 questions of eight skills, written for
csift about invented people and places and about what everybody knows, are scored before and after; they are never trained on.
The set is frozen: `GENERAL_ID` is the hash of all of it, and scores compare only where it is the same.

Not covered: scoring the answers. A question with passages is asked with the passages as excerpts; one without is asked alone,
for with empty excerpts the right answer would be a refusal.
"""

import json
from importlib import resources
from typing import Literal, get_args

from csift.hashing import content_id
from csift.schemas import Record

RESOURCE = "general_questions.jsonl"

Skill = Literal["reading", "yes_no", "arithmetic", "format", "refusal", "knowledge", "translation", "ordering"]
SKILLS: tuple[Skill, ...] = get_args(Skill)


class GeneralQuestion(Record):
    """One question of the set. `id` is the hash of all else; `aliases` are answers as good as `answer`."""

    id: str
    skill: Skill
    context: tuple[str, ...]
    question: str
    answer: str
    aliases: tuple[str, ...]

    @property
    def answers(self) -> tuple[str, ...]:
        """All that counts as right, the usual wording first."""
        return (self.answer, *self.aliases)


def _bundled() -> tuple[GeneralQuestion, ...]:
    text = (resources.files("csift.resources") / RESOURCE).read_text("utf-8")
    rows = [json.loads(line) for line in text.splitlines()]
    return tuple(GeneralQuestion(id=content_id("general", row), **row) for row in rows)


GENERAL_QUESTIONS: tuple[GeneralQuestion, ...] = _bundled()
GENERAL_ID: str = content_id("generalset", [question.id for question in GENERAL_QUESTIONS])
