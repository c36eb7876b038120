"""Two reports on one eval set, item by item, and what else the gate must know of both Systems."""

import math
from collections import Counter
from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from csift.exceptions import GateError
from csift.schemas import (
    EvalItem,
    EvalReport,
    EvalSet,
    Evidence,
    GatePolicy,
    GuardReading,
    JudgedAnswer,
    PairedItem,
    Retention,
)

NOTICEABLE = 0.1  # seconds: what is below is instantaneous to people (Nielsen, Usability Engineering, 1993)
ONE_SIDED = 1.6449  # of 95%

ALL = "all"
GENERAL = "general questions"
SECONDS = "seconds an answer"
TOKENS = "tokens an answer"


def pair(
    champion: EvalReport, challenger: EvalReport, evalset: EvalSet, retention: Retention, won_before: Collection[str] = ()
) -> Evidence:
    """Both reports in order of item id, each item with the slices it belongs to, and the guards' readings.

    `won_before`: ids of items that champions before the present one answered rightly; they are a slice of their own.

    Raises:
        GateError: the reports are of other eval sets or judges, or their items are not exactly the eval set's.
    """
    for report in (champion, challenger):
        if report.evalset_id != evalset.id:
            raise GateError(f"report {report.id} is of eval set {report.evalset_id}, not {evalset.id}; evaluate on {evalset.id}")
    if champion.judge_id != challenger.judge_id:
        raise GateError(
            f"report {champion.id} was judged by {champion.judge_id}, report {challenger.id} by {challenger.judge_id}; "
            "judge both with one judge"
        )
    old, new = _outcomes(champion, evalset), _outcomes(challenger, evalset)
    slices = slices_of(evalset, won_before)
    return Evidence(
        project=evalset.project,
        champion_system_id=champion.system_id,
        challenger_system_id=challenger.system_id,
        evalset_id=evalset.id,
        judge_id=champion.judge_id,
        champion_report_id=champion.id,
        challenger_report_id=challenger.id,
        items=tuple(
            PairedItem(item_id=item.id, slices=slices[item.id], champion=old[item.id], challenger=new[item.id])
            for item in sorted(evalset.items, key=lambda item: item.id)
        ),
        readings=(_general(retention), *_usage(champion, challenger)),
    )


def _outcomes(report: EvalReport, evalset: EvalSet) -> dict[str, float | None]:
    answered = Counter(answer.item_id for answer in report.answers)
    wanted = Counter(item.id for item in evalset.items)
    if answered != wanted:
        odd = sorted({*(answered - wanted), *(wanted - answered)})
        raise GateError(
            f"report {report.id} does not have each item of eval set {evalset.id} exactly once ({len(odd)} differ, "
            f"first {odd[0]}); evaluate again"
        )
    return {answer.item_id: _outcome(answer) for answer in report.answers}


def _outcome(answer: JudgedAnswer) -> float | None:
    return None if answer.score is None or answer.failure is not None else float(answer.score.correct)


def slices_of(evalset: EvalSet, won_before: Collection[str] = ()) -> dict[str, tuple[str, ...]]:
    """By item: the edition of its document, its style, the folder of its document where there are several, who won it."""
    folders = {item.id: item.document_id.rpartition("/")[0] for item in evalset.items}
    several = len(set(folders.values())) > 1

    def of(item: EvalItem) -> tuple[str, ...]:
        edition = "guarded: unchanged documents" if item.guarded else "new questions"
        folder = (f"documents: {folders[item.id] or 'top folder'}",) if several else ()
        won = ("won by an earlier champion",) if item.id in won_before else ()
        return edition, f"style: {item.style}", *folder, *won

    return {item.id: of(item) for item in evalset.items}


def in_target(slices: Collection[str], policy: GatePolicy) -> bool:
    """Whether an item of these slices is one that must improve."""
    return policy.target == ALL or policy.target in slices


def _general(retention: Retention) -> GuardReading:
    asked = max(retention.questions, 1)
    return GuardReading(
        name=GENERAL,
        kind="points",
        champion=retention.before / asked,
        challenger=retention.after / asked,
        worst=retention.difference.low,
    )


def _usage(champion: EvalReport, challenger: EvalReport) -> tuple[GuardReading, ...]:
    """Seconds and tokens of the items that both answered."""
    mine = {answer.item_id: answer for answer in champion.answers if answer.score is not None}
    both = [
        (mine[answer.item_id], answer) for answer in challenger.answers if answer.score is not None and answer.item_id in mine
    ]
    if not both:
        return ()  # nothing to read, and no decision that is conclusive

    def reading(name: str, least: float, values: list[tuple[float, float]]) -> GuardReading:
        before, after = np.array(values, dtype=float).reshape(-1, 2).T
        return GuardReading(
            name=name,
            kind="ratio",
            champion=float(before.mean()),
            challenger=float(after.mean()),
            worst=_ratio_bound(before, after, least),
        )

    return (
        reading(SECONDS, NOTICEABLE, [(a.seconds, b.seconds) for a, b in both]),
        reading(TOKENS, 1.0, [(a.tokens_in + a.tokens_out, b.tokens_in + b.tokens_out) for a, b in both]),
    )


def _ratio_bound(before: NDArray[np.float64], after: NDArray[np.float64], least: float) -> float:
    """The one-sided 95% upper bound of the ratio of means (the ratio estimator; Cochran, Sampling Techniques, 1977, section 6.3).

    Means below `least` count as that.
    """
    mean = max(float(before.mean()), least)
    ratio = max(float(after.mean()), least) / mean
    spread = float((after - ratio * before).std(ddof=1)) if len(before) > 1 else 0.0
    return ratio + ONE_SIDED * spread / (math.sqrt(len(before)) * mean)
