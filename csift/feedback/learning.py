"""What is to be learnt of people's words on answers.

- An edit is preferred to the answer it was made of, and is a training row: the answer that a person would have given.
- An answer that people call good (thumb up, 4, 5) is one to give, one that they call bad (thumb down, 1, 2) is not (kto:
  Ethayarajh et al., ICML 2024). A 3 says nothing. Where people contradict each other nothing is learnt until it is settled.
- Of the answers of a ranking each is preferred to those behind it, and of two answers to a question the one with the higher mean
  rating (reward models: Ouyang et al., NeurIPS 2022). The mean rating itself is the answer's score.
- Where people said nothing, what a critic said that agrees with people (RLAIF: Lee et al., ICML 2024).

Not covered: an opinion is not withdrawn when the document changes that it was about.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import combinations

from csift.feedback.voices import Question, Said, by_question, opinion, same, settle
from csift.hashing import content_id
from csift.schemas import Critique, Example, HumanFeedback, PreferencePair, Ranking, RatedAnswer, ScoredAnswer, SettledAs
from csift.textmatch import is_refusal

WORST, WIDEST = 1, 4  # rating; difference between the best and the worst

Row = Example | PreferencePair | RatedAnswer | ScoredAnswer
Origin = tuple[Row, Iterable[str]]  # a row, and the ids of what it was made of
NOTHING_SETTLED: Mapping[str, SettledAs] = {}


def learn(
    records: Iterable[Said], settled: Mapping[str, SettledAs] = NOTHING_SETTLED, critiques: Sequence[Critique] = ()
) -> HumanFeedback:
    """What the records teach; the documents that it is about are still to be found.

    Args:
        records: in the order in which they were said: of what one person said of an answer the last counts.
        settled: dispute → who was right, of those that somebody settled.
        critiques: what a critic said; taken of answers that nobody rated.
    """
    made: list[Origin] = []
    rated: set[tuple[str, str]] = set()
    for asked in by_question(records):
        rated |= {(same(asked.text), answer) for answer in (*asked.opinions, *asked.edits)}
        settle(asked, settled)
        made += [*_example(asked), *_preferred(asked), *_compared(asked), *_rated(asked), *_scored(asked)]
    made += _criticised([one for one in critiques if (same(one.question), one.answer) not in rated])
    rows = [row for row, _ in made]
    return HumanFeedback(
        examples=tuple(row for row in rows if isinstance(row, Example)),
        preferences=tuple(row for row in rows if isinstance(row, PreferencePair)),
        ratings=tuple(row for row in rows if isinstance(row, RatedAnswer)),
        scores=tuple(row for row in rows if isinstance(row, ScoredAnswer)),
        origins={row.id: tuple(sorted(set(ids))) for row, ids in made},
    )


def _example(asked: Question) -> Iterator[Origin]:
    """The edit that most people made, of those that nobody edited further."""
    people: Counter[str] = Counter()
    ids: dict[str, list[str]] = {}
    for voices in asked.edits.values():
        for record in voices.values():
            edit = str(record.edited_answer)
            people[edit] += 1
            ids.setdefault(edit, []).append(record.id)
    last = people.keys() - {answer for answer, voices in asked.edits.items() if voices}
    if last:
        edit = min(last, key=lambda text: (-people[text], text))
        row = Example(
            id=content_id("example", ["feedback", asked.text, edit]),
            question=asked.text,
            answer=edit,
            document_id="",
            style="unanswerable" if is_refusal(edit) else "factoid",
            gold_chunk_ids=(),
            context_chunk_ids=(),
            source="feedback",
            generator=None,
            prompt_hash=None,
        )
        yield row, ids[edit]


def _preferred(asked: Question) -> Iterator[Origin]:
    """Edits and rankings, which tell of two answers which is better."""
    for (better, worse), voices in sorted(asked.preferred.items()):
        if voices:
            ranked = [record for record in voices.values() if isinstance(record, Ranking)]
            by = "ranking" if len(ranked) == len(voices) else "edit"
            yield _pair(asked.text, better, worse, by, 1.0), [record.id for record in voices.values()]


def _compared(asked: Question) -> Iterator[Origin]:
    """Answers of different mean ratings, two by two; two of which people said themselves which is better are told by that."""
    means = _means(asked)
    told = {frozenset(pair) for pair, voices in asked.preferred.items() if voices}
    for one, other in combinations(means, 2):
        if means[one] != means[other] and {one, other} not in told:
            better, worse = (one, other) if means[one] > means[other] else (other, one)
            ids = [
                record.id for answer in (one, other) for record in asked.opinions[answer].values() if record.rating is not None
            ]
            yield _pair(asked.text, better, worse, "ratings", float(means[better] - means[worse]) / WIDEST), ids


def _means(asked: Question) -> dict[str, Fraction]:
    """Answer → mean rating, of those that were rated."""
    given = {
        answer: [record.rating for record in asked.opinions[answer].values() if record.rating is not None]
        for answer in sorted(asked.opinions)
    }
    return {answer: Fraction(sum(ratings), len(ratings)) for answer, ratings in given.items() if ratings}


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


def _rated(asked: Question) -> Iterator[Origin]:
    """The answers that people call good, or bad; after `settle` nobody says the opposite."""
    for answer in sorted(asked.opinions):
        said = [record for record in asked.opinions[answer].values() if opinion(record)]
        if said:
            row = RatedAnswer(
                id=content_id("rating", [asked.text, answer, opinion(said[0]) > 0, len(said)]),
                question=asked.text,
                document_id="",
                context_chunk_ids=(),
                answer=answer,
                desirable=opinion(said[0]) > 0,
                raters=len(said),
            )
            yield row, [record.id for record in said]


def _scored(asked: Question) -> Iterator[Origin]:
    """The mean rating of each answer."""
    for answer, mean in _means(asked).items():
        ids = [record.id for record in asked.opinions[answer].values() if record.rating is not None]
        yield _score(asked.text, answer, float(mean - WORST) / WIDEST, len(ids), "human"), ids


def _criticised(critiques: Sequence[Critique]) -> Iterator[Origin]:
    """Whether each answer is one to give, and its score; the first critique of an answer counts."""
    first: dict[tuple[str, str], Critique] = {}
    for one in sorted(critiques, key=lambda one: one.answer_id):
        first.setdefault((same(one.question), one.answer), one)
    for one in first.values():
        rating = RatedAnswer(
            id=content_id("rating", [one.question, one.answer, one.correct, one.critic_id]),
            question=one.question,
            document_id="",
            context_chunk_ids=(),
            answer=one.answer,
            desirable=one.correct,
            raters=1,
            source="ai",
        )
        yield rating, [one.answer_id]
        yield _score(one.question, one.answer, one.value, 1, "ai"), [one.answer_id]


def _score(question: str, answer: str, score: float, raters: int, source: str) -> ScoredAnswer:
    return ScoredAnswer.model_validate(
        {
            "id": content_id("score", [question, answer, score, raters, source]),
            "question": question,
            "document_id": "",
            "context_chunk_ids": (),
            "answer": answer,
            "score": score,
            "raters": raters,
            "source": source,
        }
    )
