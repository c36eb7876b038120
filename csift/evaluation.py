"""A System answers an EvalSet and a Judge scores the answers. Failures are counted apart and never scored.

Computed once per (System, EvalSet, Judge): a report that exists is returned, and single answers are in the ledger.
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
from csift.llm import LanguageModel
from csift.schemas import EvalItem, EvalReport, EvalSet, Failure, Generation, JudgedAnswer, JudgeItem, Score, System


def evaluate(
    db: Database,
    system: System,
    evalset: EvalSet,
    program: Program,
    model: LanguageModel,
    judge: Judge,
    progress: Progress = no_progress,
) -> EvalReport:
    """Asks `program` every question of the set and has the answers judged."""
    id_ = report_id(system, evalset, judge)
    if (known := registry.find(db, EvalReport, id_)) is not None:
        return known
    outcomes = answer(program, model, [item.question for item in evalset.items], progress)
    report = judged(id_, system, evalset, judge, outcomes)
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
        session.execute(insert(EvalReportRow).values(row).on_conflict_do_nothing())
    return report


def report_id(system: System, evalset: EvalSet, judge: Judge) -> str:
    """The id under which a System's report on a set by a judge is kept."""
    return content_id("eval", [system.id, evalset.id, judge.id])


Outcome = tuple[str, list[str], list[Generation]]


def answer(
    program: Program, model: LanguageModel, questions: Sequence[str], progress: Progress = no_progress
) -> list[Outcome | Failure]:
    """(answer, contexts, generations it took) for every question, or why there is none; same order."""

    def ask(question: str) -> Outcome:
        prediction: Any = program(question=question)
        return str(prediction.answer), list(prediction.contexts), model.take_spent()

    return model.map(ask, questions, progress, "evaluate")


def judged(id_: str, system: System, evalset: EvalSet, judge: Judge, outcomes: Sequence[Outcome | Failure]) -> EvalReport:
    """Scores the outcomes and sums them up. Raises GateError when not one answer could be judged."""
    pairs = list(zip(evalset.items, outcomes, strict=True))
    asked = [(item, outcome) for item, outcome in pairs if not isinstance(outcome, Failure)]
    verdicts = iter(
        judge.judge(
            [
                JudgeItem(question=item.question, gold=item.answer, answer=text, contexts=tuple(contexts))
                for item, (text, contexts, _) in asked
            ]
        )
    )
    answers = tuple(_row(item, outcome, outcome if isinstance(outcome, Failure) else next(verdicts)) for item, outcome in pairs)
    scores = [row.score for row in answers if row.score is not None]
    if not scores:
        first = next(row.failure for row in answers if row.failure)
        raise GateError(
            f"not one of {len(answers)} answers could be judged: {first.message}; mend the judge or model and run again"
        )
    return EvalReport(
        id=id_,
        system_id=system.id,
        evalset_id=evalset.id,
        judge_id=judge.id,
        answers=answers,
        accuracy=wilson(sum(score.correct for score in scores), len(scores)),
        mean_score=sum(score.value for score in scores) / len(scores),
        failures=len(answers) - len(scores),
        seconds_per_answer=sum(row.seconds for row in answers) / max(len(asked), 1),
        tokens=sum(row.tokens_in + row.tokens_out for row in answers),
        cost_usd=0.0,
    )


def _row(item: EvalItem, outcome: Outcome | Failure, verdict: Score | Failure) -> JudgedAnswer:
    text, contexts, spent = ("", [], []) if isinstance(outcome, Failure) else outcome
    return JudgedAnswer(
        item_id=item.id,
        question=item.question,
        gold=item.answer,
        answer=text,
        contexts=tuple(contexts),
        tokens_in=sum(g.tokens_in for g in spent),
        tokens_out=sum(g.tokens_out for g in spent),
        seconds=sum(g.seconds for g in spent),
        score=None if isinstance(verdict, Failure) else verdict,
        failure=verdict if isinstance(verdict, Failure) else None,
    )
