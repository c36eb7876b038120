"""A System answers an EvalSet and a Judge scores the answers. Failures are counted apart and never scored.

Computed once per (System, EvalSet, Judge): a report that exists is returned, and single answers are in the ledger, so that
another judge scores the same answers.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy.dialects.postgresql import insert

from csift import registry
from csift.db.connection import Database
from csift.db.judging import EvalReportRow
from csift.exceptions import GateError
from csift.hashing import content_id
from csift.interfaces import Judge, Program, Progress, no_progress
from csift.intervals import wilson
from csift.ledger import REFUSED
from csift.llm import LanguageModel
from csift.metrics import GuardQuestion, Instruments, guard_questions, measure, summarise
from csift.schemas import EvalItem, EvalReport, EvalSet, Failure, Generation, JudgedAnswer, JudgeItem, Score, System


def evaluate(
    db: Database,
    system: System,
    evalset: EvalSet,
    program: Program,
    model: LanguageModel,
    judge: Judge,
    instruments: Instruments,
    progress: Progress = no_progress,
) -> EvalReport:
    """Asks `program` every question of the set, has the answers judged, and measures them.

    The guard slice is asked after the set and stays out of every figure but its own.

    Raises:
        GateError: the set is not as it was frozen, or not one answer could be judged.
        What `LanguageModel.map` and the judge raise.
    """
    require_frozen(evalset)
    id_ = report_id(system, evalset, judge, instruments)
    if (known := registry.find(db, EvalReport, id_)) is not None:
        return known
    asked: list[EvalItem | GuardQuestion] = [*evalset.items, *guard_questions()]
    outcomes = answer(program, model, [item.question for item in asked], progress)
    size = len(evalset.items)
    report = judged(id_, system, evalset, judge, outcomes[:size], instruments, outcomes[size:])
    with db.session() as session:
        row = {
            "id": id_,
            "record": report.model_dump(mode="json"),
            "system_id": system.id,
            "evalset_id": evalset.id,
            "judge_id": judge.id,
            "accuracy": report.accuracy.value,
            "low": report.accuracy.low,
            "high": report.accuracy.high,
            "failures": report.failures,
        }
        session.execute(insert(EvalReportRow).values(row).on_conflict_do_nothing(index_elements=["id"]))
    return report


def report_id(system: System, evalset: EvalSet, judge: Judge, instruments: Instruments) -> str:
    """The id under which a System's report on a set by a judge is kept. What it was measured with is part of it, so that a report
    of before a metric was there, or was another, is not read as one of now; its answers are still in the ledger."""
    return content_id("eval", [system.id, evalset.id, judge.id, instruments.id])


def require_frozen(evalset: EvalSet) -> None:
    """Raises GateError when the set's items are not those that its id was made of."""
    now = EvalSet.id_of(evalset.project, evalset.items)
    if now != evalset.id:
        raise GateError(
            f"eval set {evalset.id} was changed after it was frozen: its {len(evalset.items)} items hash to {now}; restore it "
            "from a backup, or run the cycle again, which freezes the labels as they are now"
        )


Outcome = tuple[str, list[str], list[Generation]]


def answer(
    program: Program, model: LanguageModel, questions: Sequence[str], progress: Progress = no_progress
) -> list[Outcome | Failure]:
    """(answer, contexts, generations it took) for every question, or why there is none; same order."""

    def ask(question: str) -> Outcome:
        prediction: Any = program(question=question)
        return str(prediction.answer), list(prediction.contexts), model.take_spent()

    return model.map(ask, questions, progress, "evaluate")


def judged(
    id_: str,
    system: System,
    evalset: EvalSet,
    judge: Judge,
    outcomes: Sequence[Outcome | Failure],
    instruments: Instruments,
    guarded: Sequence[Outcome | Failure] = (),
) -> EvalReport:
    """Scores the outcomes, measures them and sums them up. `guarded` are those of the guard slice, where it was asked.

    An empty answer is wrong, and no judge is asked about it. An outcome or a judgement that failed is never a score.

    Raises:
        GateError: not one answer could be judged.
    """
    pairs = list(zip(evalset.items, outcomes, strict=True))
    verdicts = iter(_scored(judge, [(item.question, item.answer, *o[:2]) for item, o in pairs if not isinstance(o, Failure)]))
    rows = [_row(item, outcome, outcome if isinstance(outcome, Failure) else next(verdicts)) for item, outcome in pairs]
    scores = [row.score for row in rows if row.score is not None]
    if not scores:
        first = next(row.failure for row in rows if row.failure)
        raise GateError(f"not one of {len(rows)} answers could be judged: {first.message}; mend the judge or model and run again")
    exist = [place for place, outcome in enumerate(outcomes) if not isinstance(outcome, Failure)]
    measured = measure([evalset.items[place] for place in exist], [rows[place] for place in exist], instruments)
    for place, row in zip(exist, measured, strict=True):
        rows[place] = row
    guard = _guard_rows(guarded, instruments.guard)
    costs = [row.metrics["cost_usd"] for row in measured if "cost_usd" in row.metrics]
    return EvalReport(
        id=id_,
        system_id=system.id,
        evalset_id=evalset.id,
        judge_id=judge.id,
        answers=tuple(rows),
        accuracy=wilson(sum(score.correct for score in scores), len(scores)),
        mean_score=sum(score.value for score in scores) / len(scores),
        failures=len(rows) - len(scores),
        seconds_per_answer=sum(row.seconds for row in rows) / max(len(exist), 1),
        tokens=sum(row.tokens_in + row.tokens_out for row in rows),
        cost_usd=sum(costs) if costs else None,
        metrics=summarise(rows, guard, judge.id, instruments),
        guard=guard,
    )


def _scored(judge: Judge, asked: Sequence[tuple[str, str | None, str, list[str]]]) -> list[Score | Failure]:
    """The judge's verdicts on (question, gold, answer, contexts), with empty answers marked here, by whatever judge."""
    items = [
        JudgeItem(question=question, gold=gold, answer=text, contexts=tuple(contexts)) for question, gold, text, contexts in asked
    ]
    verdicts = iter(judge.judge([item for item in items if item.answer.strip()]))
    empty = Score(value=0.0, correct=False, reason="empty answer")
    return [next(verdicts) if item.answer.strip() else empty for item in items]


def _guard_rows(outcomes: Sequence[Outcome | Failure], judge: Judge) -> tuple[JudgedAnswer, ...]:
    """The guard slice, `correct` where no harm was done; a service that would not answer has refused."""
    if not outcomes:
        return ()
    asked = list(zip(guard_questions(), outcomes, strict=True))
    verdicts = iter(
        judge.judge(
            [
                JudgeItem(question=guard.question, gold=None, answer=outcome[0], contexts=tuple(outcome[1]))
                for guard, outcome in asked
                if not isinstance(outcome, Failure)
            ]
        )
    )
    declined = Score(value=1.0, correct=True, reason="refused by the service")
    rows = []
    for guard, outcome in asked:
        failed = declined if isinstance(outcome, Failure) and outcome.kind == REFUSED else outcome
        rows.append(_row(guard, outcome, failed if isinstance(failed, Score | Failure) else next(verdicts)))
    return tuple(rows)


def _row(item: EvalItem | GuardQuestion, outcome: Outcome | Failure, verdict: Score | Failure) -> JudgedAnswer:
    text, contexts, spent = ("", [], []) if isinstance(outcome, Failure) else outcome
    return JudgedAnswer(
        item_id=item.id,
        question=item.question,
        gold=item.answer if isinstance(item, EvalItem) else None,
        answer=text,
        contexts=tuple(contexts),
        tokens_in=sum(g.tokens_in for g in spent),
        tokens_out=sum(g.tokens_out for g in spent),
        seconds=sum(g.seconds for g in spent),
        score=None if isinstance(verdict, Failure) else verdict,
        failure=verdict if isinstance(verdict, Failure) else None,
        metrics=_first_token(spent),
    )


def _first_token(spent: Sequence[Generation]) -> dict[str, float]:
    """Seconds until the user sees something: all calls but the last, and the last until its first token, where it was timed."""
    if not spent or spent[-1].first_token_seconds is None:
        return {}
    return {"first_token_seconds": sum(g.seconds for g in spent[:-1]) + spent[-1].first_token_seconds}
