"""What is reviewed: a sample of questions with the stored answers of two Systems.

The questions are those that a decision was made on, or those that people asked while a challenger answered as shadow. Everybody
is shown the same sample, so that it can be told how far they agree. Questions that both answered in the same words are left out
and counted: there is nothing to choose.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import sqlalchemy as sa

from csift import registry, trials
from csift.db.connection import Database
from csift.db.judging import DecisionRow
from csift.exceptions import GateError
from csift.hashing import sha256
from csift.schemas import Answered, EvalReport, JudgedAnswer, Preference, PromotionDecision, ShadowPair, Trial
from csift.textmatch import normalise

SAMPLES = 20  # questions of a round
ASKED = 500  # answers of a shadow that its round is made of; each page of a round reads them again
NOT_SAID = "The documents do not say."


@dataclass(frozen=True)
class Shown:
    """An answer and the passages that it was made of."""

    answer: str
    contexts: tuple[str, ...]


@dataclass(frozen=True)
class Pair:
    """A question with both answers; `number` counts from 1. `item_id` is of the eval item or of the served answer. `right` is the
    label's answer and `judged` what the judge's two scores come to; None where there is neither label nor score."""

    number: int
    item_id: str
    question: str
    right: str | None
    champion: Shown
    challenger: Shown
    judged: Preference | None


@dataclass(frozen=True)
class Round:
    """The pairs of one decision, or of one trial as shadow, whose id is `id`. Of `questions` that both Systems answered, `alike`
    were answered in the same words."""

    project: str
    id: str
    of: Literal["decision", "shadow"]
    champion_system_id: str
    challenger_system_id: str
    pairs: tuple[Pair, ...]
    questions: int
    alike: int


def open_rounds(db: Database, project: str) -> list[Round]:
    """The round of the newest decision and that of the newest trial, where it is a shadow that answered something."""
    newest = sa.select(DecisionRow.id).where(DecisionRow.project == project).order_by(DecisionRow.created_at.desc()).limit(1)
    with db.session() as session:
        id_ = session.scalar(newest)
    trial = trials.newest(db, project)
    decided = _of_decision(db, project, id_) if id_ else None
    asked = _of_shadow(db, trial) if trial and trial.kind == "shadow" else None
    return [round_ for round_ in (decided, asked) if round_ and (round_ is decided or round_.questions)]


def load_round(db: Database, project: str, id_: str) -> Round:
    """The round of a decision or of a shadow. Raises GateError when the project has no such decision or trial."""
    trial = trials.find(db, project, id_)
    return _of_shadow(db, trial) if trial and trial.kind == "shadow" else _of_decision(db, project, id_)


@lru_cache(maxsize=8)
def _of_decision(db: Database, project: str, id_: str) -> Round:
    decision = registry.find(db, PromotionDecision, id_)
    if decision is None or decision.evidence.project != project:
        raise GateError(f"{project} has no decision {id_}; see `csift status`")
    told = decision.evidence
    before, after = (registry.load(db, EvalReport, id_) for id_ in (told.champion_report_id, told.challenger_report_id))
    answers = {answer.item_id: answer for answer in after.answers if _answered(answer)}
    both = [(answer, answers[answer.item_id]) for answer in before.answers if _answered(answer) and answer.item_id in answers]
    differ = [pair for pair in both if normalise(pair[0].answer) != normalise(pair[1].answer)]
    drawn = sorted(differ, key=lambda pair: sha256(f"{id_}/{pair[0].item_id}"))[:SAMPLES]
    return Round(
        project=project,
        id=id_,
        of="decision",
        champion_system_id=told.champion_system_id,
        challenger_system_id=told.challenger_system_id,
        pairs=tuple(judged_pair(number, *pair) for number, pair in enumerate(drawn, start=1)),
        questions=len(both),
        alike=len(both) - len(differ),
    )


def judged_pair(number: int, before: JudgedAnswer, after: JudgedAnswer) -> Pair:
    """An eval item's two answers, champion's and challenger's."""
    return Pair(
        number=number,
        item_id=before.item_id,
        question=before.question,
        right=NOT_SAID if before.gold is None else before.gold,
        champion=Shown(before.answer, before.contexts),
        challenger=Shown(after.answer, after.contexts),
        judged=_verdict(before, after),
    )


def _verdict(champion: JudgedAnswer, challenger: JudgedAnswer) -> Preference | None:
    before, after = champion.score, challenger.score
    if before is None or after is None:
        return None
    if before.correct != after.correct:
        return "challenger" if after.correct else "champion"
    return "tie" if after.correct else "both bad"


def _answered(answer: JudgedAnswer) -> bool:
    """Whether the System said something, be it that its judgement failed."""
    return bool(answer.answer.strip()) or answer.failure is None


def _of_shadow(db: Database, trial: Trial) -> Round:
    """The questions that came first, each once: the trial may go on, and what was drawn must stay."""
    first: dict[str, ShadowPair] = {}
    for pair in trials.shadow_pairs(db, trial, ASKED):
        first.setdefault(normalise(pair.served.question), pair)
    both = sorted(first.values(), key=lambda pair: (pair.served.at, pair.served.id))
    differ = [pair for pair in both if normalise(pair.served.answer) != normalise(pair.shadow.answer)]
    return Round(
        project=trial.project,
        id=trial.id,
        of="shadow",
        champion_system_id=trial.champion_id,
        challenger_system_id=trial.system_id,
        pairs=tuple(
            Pair(number, pair.served.id, pair.served.question, None, _shown(pair.served), _shown(pair.shadow), None)
            for number, pair in enumerate(differ[:SAMPLES], start=1)
        ),
        questions=len(both),
        alike=len(both) - len(differ),
    )


def _shown(answer: Answered) -> Shown:
    return Shown(answer.answer, tuple(hit.text for hit in answer.sources))
