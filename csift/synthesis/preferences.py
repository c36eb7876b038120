"""Preference pairs: from AI feedback on the champion's own answers, and the champion's wrong answers against grounded gold.

AI feedback (RLAIF: Lee et al., ICML 2024): several answers of the champion at rising temperatures, judged two by two in both
orders (Zheng et al., Judging LLM-as-a-Judge, NeurIPS 2023: judges favour a position), kept where both orders agree. On-policy
rejected answers: what the champion itself says wrongly is preferred less than the answer that stands in the chunk.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Literal

from csift.hashing import content_id
from csift.interfaces import Judge, Progress, no_progress
from csift.llm import LanguageModel
from csift.prompts import answer_signature, join_excerpts, signature_hash
from csift.schemas import Chunk, Example, Failure, JudgeItem, PreferencePair, Record
from csift.synthesis.signatures import compare_answers
from csift.textmatch import REFUSAL, normalise

TEMPERATURES = (0.0, 0.7, 1.0, 1.3)
WIDEST = 3  # the largest margin a judge may give


class Answers(Record):
    """The champion's different answers to an example's question over its chunks, the coolest first."""

    example: Example
    texts: tuple[str, ...]


class PreferenceResult(Record):
    """Pairs that were kept; `asked` is the number of comparisons, `inconsistent` of those whose orders disagreed or tied."""

    pairs: tuple[PreferencePair, ...]
    asked: int
    inconsistent: int
    failed: int

    def __add__(self, other: "PreferenceResult") -> "PreferenceResult":
        """Both together."""
        return PreferenceResult(
            pairs=(*self.pairs, *other.pairs),
            asked=self.asked + other.asked,
            inconsistent=self.inconsistent + other.inconsistent,
            failed=self.failed + other.failed,
        )


def sample_answers(
    champion: LanguageModel,
    examples: Sequence[Example],
    chunks: Mapping[str, Chunk],
    progress: Progress = no_progress,
) -> list[Answers | Failure]:
    """Each question answered by the champion at each of TEMPERATURES, over the chunks of its training row."""
    import dspy

    read = dspy.Predict(answer_signature())

    def answer(example: Example) -> Answers:
        excerpts = join_excerpts([chunks[id_].text for id_ in example.context_chunk_ids])
        texts = [
            read(excerpts=excerpts, question=example.question, config={"temperature": temperature, "seed": number}).answer
            for number, temperature in enumerate(TEMPERATURES)
        ]
        different = {normalise(text): text for text in reversed(texts) if text.strip()}
        return Answers(example=example, texts=tuple(reversed(different.values())))

    return champion.map(answer, examples, progress, "preferences")


def judge_answers(
    teacher: LanguageModel, answers: Sequence[Answers], chunks: Mapping[str, Chunk], progress: Progress = no_progress
) -> PreferenceResult:
    """A served teacher compares the answers two by two, each pair in both orders."""
    compared = [(entry, first, second) for entry in answers for first, second in combinations(entry.texts, 2)]

    def compare(pair: tuple[Answers, str, str]) -> tuple[int, int]:
        entry, first, second = pair
        excerpts = join_excerpts([chunks[id_].text for id_ in entry.example.context_chunk_ids])
        return _verdict(excerpts, entry.example.question, first, second), -_verdict(
            excerpts, entry.example.question, second, first
        )

    judged_by = f"{teacher.id}/{signature_hash(compare_answers())}"
    pairs, inconsistent, failed = [], 0, 0
    for (entry, first, second), outcome in zip(compared, teacher.map(compare, compared, progress, "preferences"), strict=True):
        if isinstance(outcome, Failure):
            failed += 1
        elif outcome[0] * outcome[1] <= 0:
            inconsistent += 1
        else:
            chosen, rejected = (first, second) if outcome[0] > 0 else (second, first)
            margin = (abs(outcome[0]) + abs(outcome[1])) / (2 * WIDEST)
            pairs.append(_pair(entry.example, chosen, rejected, judged_by, margin))
    return PreferenceResult(pairs=tuple(pairs), asked=len(compared), inconsistent=inconsistent, failed=failed)


def _verdict(excerpts: str, question: str, first: str, second: str) -> int:
    """Positive where the first answer is better, by how much; 0 for a tie."""
    import dspy

    told = dspy.Predict(compare_answers())(
        passages=excerpts, question=question, answer_a=first, answer_b=second, config={"temperature": 0.0}
    )
    sign: dict[Literal["a", "b", "tie"], int] = {"a": 1, "b": -1, "tie": 0}
    return sign[told.better] * told.margin


def against_gold(judge: Judge, answers: Sequence[Answers]) -> PreferenceResult:
    """The gold answer over each of the champion's answers that the judge calls wrong; needs no teacher."""
    entries = [(entry, text) for entry in answers for text in entry.texts]
    items = [
        JudgeItem(question=entry.example.question, gold=_gold(entry.example), answer=text, contexts=()) for entry, text in entries
    ]
    pairs, failed = [], 0
    for (entry, text), score in zip(entries, judge.judge(items), strict=True):
        if isinstance(score, Failure):
            failed += 1
        elif not score.correct:
            pairs.append(_pair(entry.example, entry.example.answer, text, judge.id, 1.0 - score.value))
    return PreferenceResult(pairs=tuple(pairs), asked=len(entries), inconsistent=0, failed=failed)


def _gold(example: Example) -> str | None:
    return None if example.answer == REFUSAL else example.answer


def _pair(example: Example, chosen: str, rejected: str, judged_by: str, margin: float) -> PreferencePair:
    identity = [example.question, example.context_chunk_ids, chosen, rejected, judged_by]
    return PreferencePair(
        id=content_id("preference", identity),
        question=example.question,
        document_id=example.document_id,
        context_chunk_ids=example.context_chunk_ids,
        chosen=chosen,
        rejected=rejected,
        source="ai",
        judged_by=judged_by,
        margin=margin,
    )
