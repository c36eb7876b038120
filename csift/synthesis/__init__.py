"""Chunks → question–answer pairs by a teacher, behind filters; and preference pairs.

A served teacher (csift.llm) writes several pairs about a document at once and checks them in further steps; a local one, tuned
first (teaching), asks for chosen spans and must find them again. The document's text is data: it is only ever put into an input
field.
"""

from csift.synthesis.drafts import Assignment, Candidate, Demonstration, Drafts, SynthesisResult
from csift.synthesis.preferences import Answers, PreferenceResult, against_gold, judge_answers, sample_answers
from csift.synthesis.run import Harvest, count_reasons, gather, result, sample_rejections, synthesise
from csift.synthesis.signatures import STEPS, prompt_hashes
from csift.synthesis.teaching import (
    Lesson,
    LessonRow,
    bundled_lessons,
    lesson_rows,
    lessons_for,
    lessons_hash,
    lessons_of,
    tuning,
)
from csift.synthesis.workload import Workload, workload
from csift.synthesis.writers import PairWriter, SpanWriter, Writer

__all__ = [
    "STEPS",
    "Answers",
    "Assignment",
    "Candidate",
    "Demonstration",
    "Drafts",
    "Harvest",
    "Lesson",
    "LessonRow",
    "PairWriter",
    "PreferenceResult",
    "SpanWriter",
    "SynthesisResult",
    "Workload",
    "Writer",
    "against_gold",
    "bundled_lessons",
    "count_reasons",
    "gather",
    "judge_answers",
    "lesson_rows",
    "lessons_for",
    "lessons_hash",
    "lessons_of",
    "prompt_hashes",
    "result",
    "sample_answers",
    "sample_rejections",
    "synthesise",
    "tuning",
    "workload",
]
