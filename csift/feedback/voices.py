"""Whose word counts: the last of each person, not too many of one person, and none where people contradict each other.

All here takes records in the order in which they were said. One person has one voice on an answer, however often they speak;
who gives no name is another person each time.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

from csift.hashing import content_id
from csift.schemas import Dispute, FeedbackRecord, Ranking, SettledAs

GOOD_FROM, BAD_TO = 4, 2  # ratings

Said = FeedbackRecord | Ranking
Voices = dict[str, FeedbackRecord]  # rater → what they said last


@dataclass
class Question:
    """What people said of the answers to one question: the last word of each. `text` is the question as it is shown."""

    text: str
    opinions: dict[str, Voices] = field(default_factory=lambda: defaultdict(dict))  # answer → rater → the record that rates it
    edits: dict[str, Voices] = field(default_factory=lambda: defaultdict(dict))  # answer → rater → the record that edits it
    preferred: dict[tuple[str, str], dict[str, Said]] = field(default_factory=lambda: defaultdict(dict))  # (better, worse) → …


def heard(records: Sequence[Said], per_rater: int) -> list[Said]:
    """The records without those beyond the cap: each rater is heard on at most `per_rater` answers, those that they spoke of
    last. All who give no name count as one rater here, since nobody knows that they are not.
    """
    spoken: dict[str | None, set[tuple[str, str]]] = defaultdict(set)
    kept = []
    for record in reversed(records):
        about = spoken[record.rater] | {(same(record.question), answer) for answer in answers_of(record)}
        if len(about) <= per_rater:
            spoken[record.rater] = about
            kept.append(record)
    return kept[::-1]


def answers_of(record: Said) -> tuple[str, ...]:
    """The answers that a record speaks of."""
    return record.answers if isinstance(record, Ranking) else (record.answer,)


def same(question: str) -> str:
    """Equal for questions that differ in case and spaces only."""
    return " ".join(question.casefold().split())


def opinion(record: FeedbackRecord) -> int:
    """1 for good, -1 for bad, 0 for neither."""
    rating = record.rating or 0
    good = record.thumb == "up" or rating >= GOOD_FROM
    bad = record.thumb == "down" or 0 < rating <= BAD_TO
    return int(good) - int(bad)


def by_question(records: Iterable[Said]) -> list[Question]:
    """The last words on each question, ordered by question."""
    last = list({record.id: record for record in reversed(list(records))}.values())[::-1]
    shown: dict[str, str] = {}
    for record in sorted(last, key=lambda record: record.id):
        shown.setdefault(same(record.question), record.question)
    asked = {key: Question(shown[key]) for key in sorted(shown)}
    for record in last:
        _add(asked[same(record.question)], record)
    return list(asked.values())


def _add(asked: Question, record: Said) -> None:
    rater = record.rater or record.id
    if isinstance(record, Ranking):
        for better, worse in combinations(record.answers, 2):
            _prefer(asked, better, worse, rater, record)
        return
    if record.thumb is not None or record.rating is not None:
        asked.opinions[record.answer][rater] = record
    if record.edited_answer is not None:
        earlier = asked.edits.get(record.answer, {}).pop(rater, None)
        if earlier and earlier.edited_answer:
            asked.preferred[earlier.edited_answer, record.answer].pop(rater, None)
        if record.edited_answer != record.answer:
            asked.edits[record.answer][rater] = record
            _prefer(asked, record.edited_answer, record.answer, rater, record)


def _prefer(asked: Question, better: str, worse: str, rater: str, record: Said) -> None:
    """From now on this rater prefers it so, whatever they said before."""
    asked.preferred.get((worse, better), {}).pop(rater, None)
    opposite = asked.edits.get(better, {}).get(rater)
    if opposite and opposite.edited_answer == worse:
        del asked.edits[better][rater]
    asked.preferred[better, worse][rater] = record


def contradictions(asked: Question) -> list[Dispute]:
    """Answers that one calls good and another bad, and pairs of answers that people prefer the one way and the other."""
    found = []
    for answer, voices in asked.opinions.items():
        good, bad = ([record for record in voices.values() if opinion(record) == side] for side in (1, -1))
        if good and bad:
            found.append(_dispute(asked, answer, None, good, bad))
    for (better, worse), there in list(asked.preferred.items()):
        back = asked.preferred.get((worse, better))
        if better < worse and there and back:
            found.append(_dispute(asked, better, worse, [*there.values()], [*back.values()]))
    return sorted(found, key=lambda dispute: dispute.id)


def _dispute(asked: Question, answer: str, other: str | None, good: Sequence[Said], bad: Sequence[Said]) -> Dispute:
    return Dispute(
        id=content_id("dispute", [same(asked.text), answer, other]),
        question=asked.text,
        answer=answer,
        other=other,
        good=len(good),
        bad=len(bad),
        comments=tuple(sorted({record.comment for record in (*good, *bad) if record.comment})),
    )


def settle(asked: Question, settled: Mapping[str, SettledAs]) -> None:
    """Takes away what is disputed: both sides of what nobody settled, the wrong one of what somebody did."""
    for dispute in contradictions(asked):
        verdict = settled.get(dispute.id, "neither")
        if dispute.other is None:
            side = {"good": 1, "bad": -1}.get(verdict)
            voices = asked.opinions[dispute.answer]
            asked.opinions[dispute.answer] = {
                rater: record for rater, record in voices.items() if side and opinion(record) in (side, 0)
            }
            continue
        if verdict != "good":
            _withdraw(asked, dispute.answer, dispute.other)
        if verdict != "bad":
            _withdraw(asked, dispute.other, dispute.answer)


def _withdraw(asked: Question, better: str, worse: str) -> None:
    """Nobody prefers it so any more; an edit that said so goes as well."""
    for rater in asked.preferred.pop((better, worse), {}):
        record = asked.edits.get(worse, {}).get(rater)
        if record and record.edited_answer == better:
            del asked.edits[worse][rater]
