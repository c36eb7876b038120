"""What people say of answers (thumbs, ratings, edits), kept for a project, and what is to be learnt of it.

- An edit is preferred to the answer it was made of, and is a training row: the answer that a person would have given.
- An answer that more people call good (thumb up, 4, 5) than bad (thumb down, 1, 2) is one to give, and the other way round
  (kto: Ethayarajh et al., ICML 2024). A 3 says nothing, nor does a tie.
- Of two answers to a question the one with the higher mean rating is preferred (reward models: Ouyang et al., NeurIPS 2022).

One person has one voice on an answer, however often they speak; who gives no name is another person each time.

Not covered: an opinion is not withdrawn when the document changes that it was about; caps on how much one rater may teach.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from itertools import combinations

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from csift.db.connection import Database
from csift.db.feedback import FeedbackRow
from csift.hashing import content_id
from csift.schemas import Example, FeedbackRecord, HumanFeedback, PreferencePair, RatedAnswer
from csift.textmatch import is_refusal

GOOD_FROM, BAD_TO = 4, 2  # ratings
WIDEST = 4  # between a rating of 5 and one of 1

Edits = list[tuple[str, str, int]]  # (answer, what it was edited to, by how many people)


def private(record: FeedbackRecord, scrub: Callable[[str], str]) -> FeedbackRecord:
    """The record as it may be stored: texts scrubbed, the rater's name replaced by a hash of it, which keeps people apart and
    leads from a name to all that its bearer said.
    """
    said = record.model_dump(exclude={"id"})
    texts = {name: scrub(said[name]) for name in ("question", "answer", "edited_answer", "comment") if said[name] is not None}
    rater = None if record.rater is None else content_id("rater", record.rater)
    return FeedbackRecord.of(**{**said, **texts, "rater": rater})


def save(db: Database, project: str, records: Iterable[FeedbackRecord]) -> int:
    """Stores the records; those that are known stay as they are. Returns how many are new."""
    unique = {record.id: record for record in records}
    rows = [
        {"project": project, "id": id_, "rater": unique[id_].rater, "record": unique[id_].model_dump(mode="json")}
        for id_ in sorted(unique)
    ]
    if not rows:
        return 0
    with db.session() as session:
        return len(session.scalars(insert(FeedbackRow).on_conflict_do_nothing().returning(FeedbackRow.id), rows).all())


def load(db: Database, project: str) -> list[FeedbackRecord]:
    """All that was said to a project, in order of ids."""
    with db.session() as session:
        found = session.scalars(sa.select(FeedbackRow.record).where(FeedbackRow.project == project).order_by(FeedbackRow.id))
        return [FeedbackRecord.model_validate(record) for record in found]


def learn(records: Iterable[FeedbackRecord]) -> HumanFeedback:
    """What the records teach, whatever their order; the documents that it is about are still to be found."""
    asked: dict[str, list[FeedbackRecord]] = defaultdict(list)
    for record in sorted({record.id: record for record in records}.values(), key=lambda record: record.id):
        asked[" ".join(record.question.casefold().split())].append(record)
    examples: list[Example] = []
    preferences: list[PreferencePair] = []
    ratings: list[RatedAnswer] = []
    for key in sorted(asked):
        said = asked[key]
        question, edits = said[0].question, _edits(said)
        examples += _example(question, edits)
        preferences += [_pair(question, edit, answer, "edit", 1.0) for answer, edit, _ in edits]
        preferences += _compared(question, said, {frozenset(edit[:2]) for edit in edits})
        ratings += _rated(question, said)
    return HumanFeedback(examples=tuple(examples), preferences=tuple(preferences), ratings=tuple(ratings))


def _by_answer(said: Sequence[FeedbackRecord]) -> dict[str, dict[str, list[FeedbackRecord]]]:
    """Answer → rater → what that rater said of it."""
    found: dict[str, dict[str, list[FeedbackRecord]]] = defaultdict(lambda: defaultdict(list))
    for record in said:
        found[record.answer][record.rater or record.id].append(record)
    return {answer: found[answer] for answer in sorted(found)}


def _edits(said: Sequence[FeedbackRecord]) -> Edits:
    """The edits that change their answer. Where people edited either of two answers to the other, those of the majority."""
    people: dict[tuple[str, str], set[str]] = defaultdict(set)
    for record in said:
        if record.edited_answer is not None and record.edited_answer != record.answer:
            people[record.answer, record.edited_answer].add(record.rater or record.id)
    return [
        (answer, edit, len(people[answer, edit]))
        for answer, edit in sorted(people)
        if len(people[answer, edit]) > len(people.get((edit, answer), ()))
    ]


def _example(question: str, edits: Edits) -> Iterator[Example]:
    """The edit that most people made, of those that nobody edited further."""
    people: Counter[str] = Counter()
    for _, edit, number in edits:
        people[edit] += number
    last = people.keys() - {answer for answer, _, _ in edits}
    if last:
        edit = min(last, key=lambda text: (-people[text], text))
        yield Example(
            id=content_id("example", ["feedback", question, edit]),
            question=question,
            answer=edit,
            document_id="",
            style="unanswerable" if is_refusal(edit) else "factoid",
            gold_chunk_ids=(),
            context_chunk_ids=(),
            source="feedback",
            generator=None,
            prompt_hash=None,
        )


def _compared(question: str, said: Sequence[FeedbackRecord], edited: set[frozenset[str]]) -> Iterator[PreferencePair]:
    """Answers of different mean ratings, two by two; two of which one is an edit of the other are told by that."""
    means: dict[str, Fraction] = {}
    for answer, raters in _by_answer(said).items():
        given = [[record.rating for record in own if record.rating is not None] for own in raters.values()]
        voices = [Fraction(sum(own), len(own)) for own in given if own]
        if voices:
            means[answer] = sum(voices, Fraction()) / len(voices)
    for one, other in combinations(means, 2):
        if means[one] != means[other] and {one, other} not in edited:
            better, worse = (one, other) if means[one] > means[other] else (other, one)
            yield _pair(question, better, worse, "ratings", float(means[better] - means[worse]) / WIDEST)


def _pair(question: str, chosen: str, rejected: str, judged_by: str, margin: float) -> PreferencePair:
    return PreferencePair(
        id=content_id("preference", [question, chosen, rejected, judged_by]),
        question=question,
        document_id="",
        context_chunk_ids=(),
        chosen=chosen,
        rejected=rejected,
        source="human",
        judged_by=judged_by,
        margin=margin,
    )


def _rated(question: str, said: Sequence[FeedbackRecord]) -> Iterator[RatedAnswer]:
    """The answers that more people call good than bad, or bad than good."""
    for answer, raters in _by_answer(said).items():
        voices = [sum(_voice(record) for record in own) for own in raters.values()]
        good, bad = sum(voice > 0 for voice in voices), sum(voice < 0 for voice in voices)
        if good != bad:
            yield RatedAnswer(
                id=content_id("rating", [question, answer, good > bad, good + bad]),
                question=question,
                document_id="",
                context_chunk_ids=(),
                answer=answer,
                desirable=good > bad,
                raters=good + bad,
            )


def _voice(record: FeedbackRecord) -> int:
    """1 for good, -1 for bad, 0 for neither."""
    rating = record.rating or 0
    good = record.thumb == "up" or rating >= GOOD_FROM
    bad = record.thumb == "down" or 0 < rating <= BAD_TO
    return int(good) - int(bad)
