"""Chunks → question–answer candidates by a teacher, and the filters that a candidate must pass on its own.

Answer-aware question generation: a span of a passage is chosen as the answer, the teacher writes the question for it, shown
questions
that people wrote about the same corpus (self-instruct, Wang et al., ACL 2023). Kept are questions whose answer stands in the
passage
(grounding) and is found again by the teacher from the passage alone (round-trip consistency, Alberti et al., ACL 2019).
Duplicates and
leaks are csift.dataset's. The document's text is data: it is only ever put into an input field.

Not covered yet: other question styles, several rounds, preference pairs.
"""

import random
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from csift.hashing import content_id
from csift.interfaces import Progress, no_progress
from csift.llm import GatheringEngine, local_lm, map_batched
from csift.prompts import answer_signature, plain_adapter, signature_hash
from csift.schemas import Chunk, Example, Failure, Label, Record, Rejection
from csift.textmatch import normalise

SAMPLES_PER_REASON = 5
QUESTION_WORDS = (5, 26)

SENTENCE = re.compile(r"(?<=[.!?])\s+")
# What can be asked for: a quantity with its unit, a part number or error code, a name inside a sentence.
_UNITS = (
    r"kg|g|mm|cm|km|m[²³]?(?:/h)?|ml|litres?(?: an hour)?|l/min|kWh|Wh|kW|W|V|mAh|Ah|A|bar|psi|rpm|Hz|°C|°|degrees|%|per ?cent"
    r"|dB\(A\)|lumens?|seconds?|minutes?|hours?|days?|weeks?|months?|years?"
)
_NUMBER = r"\d[\d.,]*|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|fifteen|twenty|thirty"
SPAN = re.compile(
    rf"\b(?:{_NUMBER})(?:\s?(?:to|by|–)\s?\d[\d.,]*)?\s?(?:{_UNITS})(?!\w)"
    r"|\b[A-Z]{1,4}-?\d+[A-Z]?\b"
    r"|(?<=[a-z,] )[A-Z][a-z]+(?: [A-Z][a-z]+)*"
)


class SynthesisResult(Record):
    """Candidates that passed the teacher's own filters, and what became of the others."""

    examples: tuple[Example, ...]
    candidates: int
    rejections: tuple[Rejection, ...]


@dataclass(frozen=True)
class Passage:
    """A sentence with its titles, and a span of it that is to be asked for; `subject` is the uppermost title, or empty."""

    chunk: Chunk
    subject: str
    text: str
    answer: str


@lru_cache(maxsize=1)
def question_signature() -> Any:
    """The task of the teacher."""
    import dspy

    class AskForAnswer(dspy.Signature):
        passage: str = dspy.InputField()
        answer: str = dspy.InputField()
        question: str = dspy.OutputField()

    return AskForAnswer.with_instructions(
        "Write one question that a customer would ask, so that the given answer is the right one. "
        "Name the product in the question and never put the answer into it."
    )


def passages(chunks: Sequence[Chunk], count: int, seed: int) -> list[Passage]:
    """At most `count` passages, spread evenly over the chunks; the same seed draws the same."""
    draw = random.Random(seed)
    pools = [pool for chunk in chunks if (pool := _spans(chunk, draw))]
    draw.shuffle(pools)
    chosen: list[Passage] = []
    while pools and len(chosen) < count:
        chosen += [pool.pop() for pool in pools]
        pools = [pool for pool in pools if pool]
    return chosen[:count]


def _spans(chunk: Chunk, draw: random.Random) -> list[Passage]:
    header, separator, body = chunk.text.partition(": ")
    subject = header.partition(" > ")[0] if separator else ""
    found = {}
    for sentence in SENTENCE.split(body if separator else chunk.text):
        for match in SPAN.finditer(sentence):
            span = match.group().strip(" ,.")
            if span and span.lower() not in header.lower():
                found[span] = Passage(chunk, subject, f"{header}: {sentence}" if separator else sentence, span)
    pool = list(found.values())
    draw.shuffle(pool)
    return pool


def demonstrations(labels: Sequence[Label], chunks: Sequence[Chunk]) -> list[dict[str, str]]:
    """Human examples in the teacher's own format: those whose answer stands word for word in a sentence of their document."""
    by_document: dict[str, list[Chunk]] = {}
    for chunk in chunks:
        by_document.setdefault(chunk.document_id, []).append(chunk)
    shown = []
    for label in labels:
        if label.style != "factoid" or label.answer is None:
            continue
        for chunk in by_document.get(label.document_id, []):
            header, separator, body = chunk.text.partition(": ")
            sentence = next((s for s in SENTENCE.split(body) if label.answer.lower() in s.lower()), None)
            if separator and sentence:
                shown.append({"passage": f"{header}: {sentence}", "answer": label.answer, "question": label.question})
                break
    return shown


def synthesise(
    engine: GatheringEngine,
    teacher: str,
    chunks: Sequence[Chunk],
    labels: Sequence[Label],
    count: int,
    shots: int,
    seed: int,
    progress: Progress = no_progress,
) -> SynthesisResult:
    """Asks the teacher for `count` questions about the chunks (of documents that may be trained on) and filters them.

    `labels` are human training examples of the same documents, from which each prompt shows `shots`.
    """
    import dspy

    chosen = passages(chunks, count, seed)
    pool = demonstrations(labels, chunks)
    ask, read = dspy.Predict(question_signature()), dspy.Predict(answer_signature())

    def write(passage: Passage) -> tuple[str, str]:
        draw = random.Random(f"{seed} {passage.text} {passage.answer}")
        demos = [dspy.Example(**demo) for demo in draw.sample(pool, min(shots, len(pool)))]
        question = ask(passage=passage.text, answer=passage.answer, demos=demos).question.partition("\n")[0].strip()
        if reason := _unfit(question, passage):
            return question, reason
        answer = read(excerpts=passage.chunk.text, question=question).answer
        return question, "" if contains_answer(answer, passage.answer) else f"round trip: {answer[:120]}"

    with dspy.context(lm=local_lm(engine, "teacher"), adapter=plain_adapter()):
        written = map_batched(write, chosen, engine, progress, "synthesise")
    examples, rejections = [], []
    prompt_hash = signature_hash(question_signature())
    for passage, outcome in zip(chosen, written, strict=True):
        question, reason = ("", f"{outcome.kind}: {outcome.message}") if isinstance(outcome, Failure) else outcome
        if reason:
            kind, _, detail = reason.partition(": ")
            rejections.append(
                Rejection(
                    reason=kind,
                    question=question,
                    answer=passage.answer,
                    document_id=passage.chunk.document_id,
                    detail=detail,
                )
            )
        else:
            examples.append(_example(question, passage, teacher, prompt_hash))
    return SynthesisResult(examples=tuple(examples), candidates=len(chosen), rejections=tuple(rejections))


def _unfit(question: str, passage: Passage) -> str:
    """Why a question is refused before the teacher is asked to answer it; empty when it is fit."""
    words = question.split()
    if not question.endswith("?"):
        return "format: not a question"
    if not QUESTION_WORDS[0] <= len(words) <= QUESTION_WORDS[1]:
        return f"length: {len(words)} words"
    if contains_answer(question, passage.answer):
        return "gives the answer away"
    if passage.answer.lower() not in passage.chunk.text.lower():
        return "not grounded: the answer is not in the chunk"
    if passage.subject and passage.subject.split()[0].lower() not in question.lower():
        return "vague: does not name what it asks about"
    return ""


def contains_answer(text: str, answer: str) -> bool:
    """Whether the answer's normalised words stand together in the text."""
    return f" {normalise(answer)} " in f" {normalise(text)} "


def _example(question: str, passage: Passage, teacher: str, prompt_hash: str) -> Example:
    return Example(
        id=content_id("example", [question, passage.answer, passage.chunk.id]),
        question=question,
        answer=passage.answer,
        document_id=passage.chunk.document_id,
        context_chunk_ids=(passage.chunk.id,),
        source="synthetic",
        generator=teacher,
        prompt_hash=prompt_hash,
    )


def count_reasons(rejections: Sequence[Rejection]) -> dict[str, int]:
    """Rejections by reason, the most frequent first."""
    return dict(Counter(rejection.reason for rejection in rejections).most_common())


def sample_rejections(rejections: Sequence[Rejection]) -> tuple[Rejection, ...]:
    """The first few of each reason, to look at."""
    seen: Counter[str] = Counter()
    kept = []
    for rejection in rejections:
        seen[rejection.reason] += 1
        if seen[rejection.reason] <= SAMPLES_PER_REASON:
            kept.append(rejection)
    return tuple(kept)
