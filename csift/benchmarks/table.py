"""From evaluation reports to the rows of the table: every figure with its 95% interval, every arm paired with standard RAG."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from csift.benchmarks.arms import REFERENCE, Arm
from csift.benchmarks.records import Row, WinRate
from csift.interfaces import PairJudge
from csift.intervals import bootstrap_mean, wilson
from csift.llm import is_served
from csift.schemas import EvalReport, Failure, Interval, JudgedAnswer, PairItem, System

CONFIDENCE, RESAMPLES, SEED = 0.95, 10_000, 0
HOUR = 3600


@dataclass(frozen=True)
class Pricing:
    """What answers cost: a served model by its tokens, a model of one's own by the machine's time."""

    questions_per_month: int
    usd_per_hour: float

    def of(self, answer: JudgedAnswer, model: str) -> float | None:
        """US$ of one answer, or None where the model has no known price."""
        return answer.metrics.get("cost_usd") if is_served(model) else answer.seconds / HOUR * self.usd_per_hour


@dataclass(frozen=True)
class Cell:
    """An arm as it was judged: a report a judge, by the judges' names, the configured one first."""

    arm: Arm
    system: System
    reports: Mapping[str, EvalReport]
    trained_on: int
    compiled: str | None

    @property
    def first(self) -> EvalReport:
        """The configured judge's."""
        return next(iter(self.reports.values()))


def row(cell: Cell, reference: Cell, pricing: Pricing) -> Row:
    """One row. `reference` is the cell of standard RAG; answers that were not judged for both leave the pairs."""
    judged = [answer for answer in cell.first.answers if answer.score is not None]
    paired = _differences(cell.first, reference.first)
    costs = [pricing.of(answer, cell.system.base_model) for answer in judged]
    seconds = [answer.seconds for answer in judged]
    near = [answer.metrics["bertscore"] for answer in judged if "bertscore" in answer.metrics]
    return Row(
        arm=cell.arm.name,
        closed_book=cell.arm.closed_book,
        model=cell.system.base_model,
        system_id=cell.system.id,
        reports={name: report.id for name, report in cell.reports.items()},
        questions=len(cell.first.answers),
        failures=cell.first.failures,
        accuracy={name: report.accuracy for name, report in cell.reports.items()},
        improvement={
            name: None if cell.arm.name == REFERENCE else _mean(_differences(report, reference.reports[name]), (-1.0, 1.0))
            for name, report in cell.reports.items()
        },
        wins=sum(value > 0 for value in paired),
        losses=sum(value < 0 for value in paired),
        ties=sum(value == 0 for value in paired),
        score=_mean([answer.score.value for answer in judged if answer.score], (0.0, 1.0)),
        bertscore=_mean(near, (0.0, 1.0)) if near else None,
        seconds=_mean(seconds, (0.0, 0.0)),
        seconds_p50=float(np.quantile(seconds, 0.5)),
        seconds_p95=float(np.quantile(seconds, 0.95)),
        tokens_in=float(np.mean([answer.tokens_in for answer in judged])),
        tokens_out=float(np.mean([answer.tokens_out for answer in judged])),
        monthly_usd=_monthly([cost for cost in costs if cost is not None], len(costs), pricing),
        trained_on=cell.trained_on,
        compiled=cell.compiled,
    )


def win_rate(name: str, judge: PairJudge, a: Cell, b: Cell) -> WinRate:
    """The answers of two arms compared, question by question; ties are counted apart and are in no share."""
    other = {answer.item_id: answer for answer in b.first.answers}
    pairs = [(answer, other[answer.item_id]) for answer in a.first.answers if answer.item_id in other]
    verdicts = judge.compare(
        [PairItem(question=one.question, gold=one.gold, a=one.answer, b=two.answer, contexts=one.contexts) for one, two in pairs]
    )
    told = [verdict.winner for verdict in verdicts if not isinstance(verdict, Failure)]
    wins, losses = told.count("a"), told.count("b")
    return WinRate(
        judge=name,
        a=a.arm.name,
        b=b.arm.name,
        wins=wins,
        losses=losses,
        ties=told.count("tie"),
        failures=len(verdicts) - len(told),
        share=wilson(wins, wins + losses, CONFIDENCE),
    )


def _differences(report: EvalReport, reference: EvalReport) -> list[float]:
    """1 where the arm is right and standard RAG wrong, -1 the other way round, of questions judged for both."""
    before = {answer.item_id: answer.score for answer in reference.answers}
    return [
        float(answer.score.correct) - float(old.correct)
        for answer in report.answers
        if answer.score is not None and (old := before.get(answer.item_id)) is not None
    ]


def _monthly(costs: Sequence[float], answers: int, pricing: Pricing) -> Interval | None:
    if not costs or len(costs) < answers:
        return None
    one = _mean(costs, (0.0, 0.0))
    return Interval(**{name: pricing.questions_per_month * value for name, value in one.model_dump().items()})


def _mean(values: Sequence[float], span: tuple[float, float]) -> Interval:
    return bootstrap_mean(np.array(values, dtype=np.float64), CONFIDENCE, RESAMPLES, SEED, span)
