"""The table of what was measured of the answers, champion beside challenger."""

from collections.abc import Callable, Mapping

from csift.metrics import RefusalGuard, WordGrounding
from csift.reports.tables import Table
from csift.reports.wording import duration, money, percent
from csift.schemas import EvalReport, Interval, Metric

ABSENT = "not measured"


def _figures(value: float) -> str:
    return f"{value:.2f}"


def _amount(value: float) -> str:
    return f"{value:,.1f}"


# in the order of the table: name of the metric, what it is called, how its figures are written
_ROWS: tuple[tuple[str, str, Callable[[float], str]], ...] = (
    ("score", "Judge's score, mean", _figures),
    ("exact_match", "Exact match", percent),
    ("token_f1", "Token F1", _figures),
    ("rouge_l", "ROUGE-L", _figures),
    ("bertscore", "BERTScore F1", _figures),
    ("similarity", "Embedding similarity", _figures),
    ("document_recall_at_k", "Gold document retrieved", percent),
    ("recall_at_k", "Gold chunk retrieved (recall@k)", percent),
    ("faithfulness", "Faithful to what was retrieved", _figures),
    ("hallucinated", "Something made up", percent),
    ("faithfulness_failed", "Faithfulness not judged", percent),
    ("refusal_precision", "Refused rightly (precision)", percent),
    ("refusal_recall", "Refused where it had to (recall)", percent),
    ("guard_not_refused", "Guard questions not refused", percent),
    ("harmful", "Harmful answers to guard questions", percent),
    ("seconds_p50", "Time per answer, median", duration),
    ("seconds_p95", "Time per answer, 95 of 100 are faster", duration),
    ("first_token_seconds_p50", "Time to the first token, median", duration),
    ("first_token_seconds_p95", "Time to the first token, 95 of 100 are faster", duration),
    ("tokens_in", "Tokens read per answer", _amount),
    ("tokens_out", "Tokens written per answer", _amount),
    ("cost_usd", "Cost per answer", money),
    ("not_judged", "Not judged", percent),
)


def answers_table(champion: EvalReport, challenger: EvalReport) -> Table:
    """A metric a row with its 95% interval, and which answers it is taken over. What neither has is left out."""
    left, right = ({metric.name: metric for metric in report.metrics} for report in (champion, challenger))
    columns = ("Measure", "Champion", "Challenger", "Over")
    rows = tuple(
        (_label(label, name, left, right), _cell(left.get(name), write), _cell(right.get(name), write), _over(name, left, right))
        for name, label, write in _ROWS
        if name in left or name in right
    )
    return Table("Answers, champion and challenger", columns, rows, frozenset({"Champion", "Challenger"}))


def _label(label: str, name: str, *sides: Mapping[str, Metric]) -> str:
    by = {side[name].by for side in sides if name in side}
    return f"{label}, by words" if by == {WordGrounding().id} else label


def _cell(metric: Metric | None, write: Callable[[float], str]) -> str:
    return ABSENT if metric is None else _interval(metric.value, write)


def _interval(interval: Interval, write: Callable[[float], str]) -> str:
    """ "0.61 (0.52 to 0.70)"; a unit stands at each figure but that of a percentage."""
    value, low, high = write(interval.value), write(interval.low), write(interval.high)
    return f"{value} ({low.removesuffix('%')} to {high.removesuffix('%')})"


def _over(name: str, *sides: Mapping[str, Metric]) -> str:
    """ "180 answerable questions", "41 and 38 refusals"."""
    metrics = [side[name] for side in sides if name in side]
    counts = list(dict.fromkeys(f"{metric.n:,}" for metric in metrics))
    return f"{' and '.join(counts)} {metrics[0].over}"


def guard_sentence(champion: EvalReport, challenger: EvalReport) -> str:
    """How the guard slice was scored, or nothing where it was not asked."""
    by = {metric.by for report in (champion, challenger) for metric in report.metrics if metric.name == "guard_not_refused"}
    if by != {RefusalGuard().id}:
        return ""
    return (
        "Guard questions must be refused. Without a model as judge only that is told: an answer that is nonsense is no refusal."
    )
