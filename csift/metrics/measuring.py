"""Measures the answers of one System: each answer by itself, then all that exist together."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from csift.hashing import content_id
from csift.interfaces import Judge
from csift.judges import NO_CLAIM, NOT_APPLICABLE
from csift.metrics.finding import GoldSpans
from csift.metrics.grounding import WordGrounding
from csift.metrics.guard import RefusalGuard, guard_questions
from csift.metrics.overlap import exact_match, rouge_l, token_f1
from csift.metrics.semantic import Encoder, bertscore, similarity
from csift.metrics.statistics import mean, quantile, share
from csift.prices import Price
from csift.schemas import Chunk, EvalItem, Failure, Interval, JudgedAnswer, JudgeItem, Metric, Score
from csift.textmatch import is_refusal

METRICS_VERSION = 1  # raise it whenever a figure could change: it is part of the id of every report
RULES = "rules"


@dataclass(frozen=True)
class Instruments:
    """What answers are measured with.

    Attributes:
        encoder: for BERTScore and similarity.
        chunks: the corpus that was retrieved from, for recall; a System without retrieval needs none.
        price: US$ a token of the answering model, csift.prices.FREE on this machine; None when nobody knows, and then no cost
            is told.
        faithfulness: judges an answer by its contexts, `correct` when nothing in it is made up.
        guard: judges answers to the guard slice, `correct` when they do no harm.
    """

    encoder: Encoder
    chunks: Sequence[Chunk]
    price: Price | None
    faithfulness: Judge = field(default_factory=WordGrounding)
    guard: Judge = field(default_factory=RefusalGuard)

    @property
    def id(self) -> str:
        """Pins what a report's metrics were measured with; the chunks are the System's."""
        asked = [question.question for question in guard_questions()]
        price = [self.price.usd_in, self.price.usd_out] if self.price else None
        return content_id("metrics", [METRICS_VERSION, self.encoder.id, self.faithfulness.id, self.guard.id, asked, price])

    @cached_property
    def spans(self) -> GoldSpans:
        """Where the gold answers stand."""
        return GoldSpans(self.chunks)


def measure(items: Sequence[EvalItem], answers: Sequence[JudgedAnswer], instruments: Instruments) -> list[JudgedAnswer]:
    """Answers that exist, with their metrics added. `items` are theirs, in the same order.

    Whatever encoder and judges raise passes through.
    """
    golds, grounds = _by_gold(answers, instruments), _by_contexts(answers, instruments)
    measured = []
    for item, answer, gold, ground in zip(items, answers, golds, grounds, strict=True):
        metrics = {
            **answer.metrics,
            **gold,
            **_found(item, answer, instruments),
            **ground,
            "refused": float(is_refusal(answer.answer)),
            **_cost(answer, instruments.price),
        }
        measured.append(answer.model_copy(update={"metrics": metrics}))
    return measured


def _by_gold(answers: Sequence[JudgedAnswer], instruments: Instruments) -> list[dict[str, float]]:
    """Nearness to the gold answer, for questions that have one."""
    pairs = [(answer.answer, answer.gold) for answer in answers if answer.gold is not None]
    given, golds = [text for text, _ in pairs], [gold for _, gold in pairs]
    scores = iter(bertscore(instruments.encoder, given, golds))
    cosines = iter(similarity(instruments.encoder, given, golds))
    return [
        {}
        if answer.gold is None
        else {
            "exact_match": exact_match(answer.answer, answer.gold),
            "token_f1": token_f1(answer.answer, answer.gold),
            "rouge_l": rouge_l(answer.answer, answer.gold),
            "bertscore": next(scores),
            "similarity": next(cosines),
        }
        for answer in answers
    ]


def _found(item: EvalItem, answer: JudgedAnswer, instruments: Instruments) -> dict[str, float]:
    told = {
        "recall_at_k": instruments.spans.recall(item, answer.contexts),
        "document_recall_at_k": instruments.spans.document_recall(item, answer.contexts),
    }
    return {name: value for name, value in told.items() if value is not None}


def _by_contexts(answers: Sequence[JudgedAnswer], instruments: Instruments) -> list[dict[str, float]]:
    """Faithfulness, of answers that say something and were given contexts to say it from."""
    told = [bool(answer.contexts and answer.answer.strip()) and not is_refusal(answer.answer) for answer in answers]
    asked = [
        JudgeItem(question=answer.question, gold=answer.gold, answer=answer.answer, contexts=answer.contexts)
        for answer, tells in zip(answers, told, strict=True)
        if tells
    ]
    verdicts = iter(instruments.faithfulness.judge(asked))
    return [_faithful(next(verdicts)) if tells else {} for tells in told]


def _faithful(verdict: Score | Failure) -> dict[str, float]:
    if isinstance(verdict, Score):
        return {"faithfulness": verdict.value, "hallucinated": float(not verdict.correct), "faithfulness_failed": 0.0}
    return {} if verdict.kind in (NO_CLAIM, NOT_APPLICABLE) else {"faithfulness_failed": 1.0}


def _cost(answer: JudgedAnswer, price: Price | None) -> dict[str, float]:
    return {"cost_usd": price.of(answer.tokens_in, answer.tokens_out)} if price else {}


# --- all together -------------------------------------------------------------------------------------------------------


def summarise(
    answers: Sequence[JudgedAnswer], guard: Sequence[JudgedAnswer], judge_id: str, instruments: Instruments
) -> tuple[Metric, ...]:
    """The metrics over the answers that exist. One that has no answer to be measured of is not there.

    An answer exists when the model gave one, whether or not the judge could score it.
    """
    exist = [answer for answer in answers if answer.metrics]
    build = _Summary(exist)
    encoder, faithfulness = instruments.encoder.id, instruments.faithfulness.id
    build.add("score", mean, [answer.score.value for answer in answers if answer.score], "judged answers", judge_id)
    build.measured("exact_match", share, "answerable questions")
    build.measured("token_f1", mean, "answerable questions")
    build.measured("rouge_l", mean, "answerable questions")
    build.measured("bertscore", mean, "answerable questions", encoder)
    build.measured("similarity", mean, "answerable questions", encoder)
    build.measured("recall_at_k", share, "questions whose answer stands in their document to the letter")
    build.measured("document_recall_at_k", share, "answerable questions")
    build.measured("faithfulness", mean, "answers with a claim of their own", faithfulness)
    build.measured("hallucinated", share, "answers with a claim of their own", faithfulness)
    if any(answer.metrics.get("faithfulness_failed") for answer in exist):
        build.measured("faithfulness_failed", share, "answers with a claim of their own", faithfulness)
    refused = [answer for answer in exist if answer.metrics["refused"]]
    build.add("refusal_precision", share, [float(answer.gold is None) for answer in refused], "refusals", RULES)
    unanswerable = [answer.metrics["refused"] for answer in exist if answer.gold is None]
    build.add("refusal_recall", share, unanswerable, "unanswerable questions", RULES)
    harm = [float(not answer.score.correct) for answer in guard if answer.score]
    told = "guard_not_refused" if instruments.guard.id == RefusalGuard().id else "harmful"
    build.add(told, share, harm, "guard questions", instruments.guard.id)
    build.add("seconds_p50", lambda seconds: quantile(seconds, 0.5), [answer.seconds for answer in exist], "answers", "clock")
    build.add("seconds_p95", lambda seconds: quantile(seconds, 0.95), [answer.seconds for answer in exist], "answers", "clock")
    first = [answer.metrics["first_token_seconds"] for answer in exist if "first_token_seconds" in answer.metrics]
    build.add("first_token_seconds_p50", lambda seconds: quantile(seconds, 0.5), first, "answers", "clock")
    build.add("first_token_seconds_p95", lambda seconds: quantile(seconds, 0.95), first, "answers", "clock")
    build.add("tokens_in", mean, [float(answer.tokens_in) for answer in exist], "answers", "tokenizer")
    build.add("tokens_out", mean, [float(answer.tokens_out) for answer in exist], "answers", "tokenizer")
    build.measured("cost_usd", mean, "answers", "price table")
    build.add("not_judged", share, [float(answer.score is None) for answer in answers], "questions", judge_id)
    return tuple(build.metrics)


class _Summary:
    def __init__(self, answers: Sequence[JudgedAnswer]) -> None:
        self.metrics: list[Metric] = []
        self._answers = answers

    def add(
        self, name: str, estimate: Callable[[Sequence[float]], Interval], values: Sequence[float], over: str, by: str
    ) -> None:
        if values:
            self.metrics.append(Metric(name=name, value=estimate(values), n=len(values), over=over, by=by))

    def measured(self, name: str, estimate: Callable[[Sequence[float]], Interval], over: str, by: str = RULES) -> None:
        """A metric that single answers have."""
        self.add(name, estimate, [answer.metrics[name] for answer in self._answers if name in answer.metrics], over, by)
