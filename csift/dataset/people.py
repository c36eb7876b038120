"""People's feedback on its way into a dataset: the document that a question is about, the chunks beside it, and what it was made
of."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from csift.config import DatasetConfig
from csift.dataset.cleaning import allowed_only, clean_pairs, clean_ratings
from csift.dataset.contexts import with_contexts
from csift.firewall import Firewall
from csift.hashing import content_id
from csift.interfaces import Retriever
from csift.schemas import Chunk, Example, HumanFeedback, PreferencePair, RatedAnswer, Rejection, ScoredAnswer
from csift.textmatch import REFUSAL


def with_documents(feedback: HumanFeedback, retriever: Retriever) -> HumanFeedback:
    """A question is about the document of the chunk that is retrieved first for it; "" where nothing is."""
    questions = sorted({row.question for row in feedback.rows})
    found = retriever.search(questions, 1) if questions else []
    about = {question: hits[0].document_id if hits else "" for question, hits in zip(questions, found, strict=True)}
    return HumanFeedback(
        examples=tuple(row.model_copy(update={"document_id": about[row.question]}) for row in feedback.examples),
        preferences=tuple(row.model_copy(update={"document_id": about[row.question]}) for row in feedback.preferences),
        ratings=tuple(row.model_copy(update={"document_id": about[row.question]}) for row in feedback.ratings),
        scores=tuple(row.model_copy(update={"document_id": about[row.question]}) for row in feedback.scores),
        origins=feedback.origins,
    )


@dataclass(frozen=True)
class Opinions:
    """What feedback says of answers, with the chunks beside the questions; and what of it was refused."""

    preferences: list[PreferencePair]
    ratings: list[RatedAnswer]
    scores: list[ScoredAnswer]
    refused: list[Rejection]


def opinions(
    said: HumanFeedback,
    firewall: Firewall,
    retriever: Retriever,
    chunks: Sequence[Chunk],
    allowed: Collection[str],
    k: int,
    config: DatasetConfig,
) -> Opinions:
    """The preference pairs, rated and scored answers about one of the `allowed` documents which leak nothing, with their chunks;
    the others with why.

    A pair has the chunks that an example would have whose answer is the preferred one, so that no answer is preferred that
    cannot be read. A rated answer has those that are retrieved for its question, whatever they hold: from them it was given.

    Args:
        chunks: all chunks that may stand in a training row.
    """
    about_pairs, barred_pairs = allowed_only(said.preferences, allowed)
    about_ratings, barred_ratings = allowed_only(said.ratings, allowed)
    about_scores, barred_scores = allowed_only(said.scores, allowed)
    pairs, leaking_pairs = clean_pairs(about_pairs, firewall)
    ratings, leaking_ratings = clean_ratings(about_ratings, firewall)
    scores, leaking_scores = clean_ratings(about_scores, firewall)
    told: list[RatedAnswer | ScoredAnswer] = [*ratings, *scores]
    probes = [*(_probe(pair, pair.chosen) for pair in pairs), *(_probe(row, REFUSAL) for row in told)]
    never = config.model_copy(update={"refusals": 0.0})  # none of these rows is refused on purpose
    rows = with_contexts(probes, retriever, chunks, k, never) if probes else []
    shown = {row.id: ids.context_chunk_ids for row, ids in zip(probes, rows, strict=True)}
    barred = [*barred_pairs, *barred_ratings, *barred_scores]
    return Opinions(
        preferences=[_pair(pair, shown[pair.id]) for pair in pairs],
        ratings=[_rating(rating, shown[rating.id]) for rating in ratings],
        scores=[_score(score, shown[score.id]) for score in scores],
        refused=[*barred, *leaking_pairs, *leaking_ratings, *leaking_scores],
    )


def origins(
    said: HumanFeedback, rows: Sequence[Example | PreferencePair | RatedAnswer | ScoredAnswer]
) -> dict[str, tuple[str, ...]]:
    """Row → the feedback that it was made of, of those that were made of any. Their ids changed on the way, not what they say."""
    known: Mapping[tuple[str, ...], tuple[str, ...]] = {_says(row): said.origins.get(row.id, ()) for row in said.rows}
    return {row.id: made_of for row in rows if (made_of := known.get(_says(row), ()))}


def _says(row: Example | PreferencePair | RatedAnswer | ScoredAnswer) -> tuple[str, ...]:
    """Equal for a row of feedback before and after it got its document and chunks. An edited question has one example, whose
    answer may have become the refusal."""
    if isinstance(row, Example):
        return "example", row.source, row.question
    if isinstance(row, PreferencePair):
        return "pair", row.judged_by, row.question, row.chosen, row.rejected
    return type(row).__name__, row.question, row.answer


def _pair(pair: PreferencePair, chunks: Sequence[str]) -> PreferencePair:
    """Its id depends on the chunks beside it, as that of a training row does."""
    id_ = content_id("preference", [pair.question, chunks, pair.chosen, pair.rejected, pair.judged_by])
    return pair.model_copy(update={"id": id_, "context_chunk_ids": chunks})


def _rating(rating: RatedAnswer, chunks: Sequence[str]) -> RatedAnswer:
    by = [] if rating.source == "human" else [rating.source]
    id_ = content_id("rating", [rating.question, chunks, rating.answer, rating.desirable, rating.raters, *by])
    return rating.model_copy(update={"id": id_, "context_chunk_ids": chunks})


def _score(score: ScoredAnswer, chunks: Sequence[str]) -> ScoredAnswer:
    id_ = content_id("score", [score.question, chunks, score.answer, score.score, score.raters, score.source])
    return score.model_copy(update={"id": id_, "context_chunk_ids": chunks})


def _probe(row: PreferencePair | RatedAnswer | ScoredAnswer, answer: str) -> Example:
    return Example(
        id=row.id,
        question=row.question,
        answer=answer,
        document_id=row.document_id,
        style="factoid",
        gold_chunk_ids=(),
        context_chunk_ids=(),
        source="feedback",
        generator=None,
        prompt_hash=None,
    )
