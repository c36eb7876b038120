"""What is reviewed: a sample of the questions that a decision was made on, with both Systems' stored answers.

Everybody is shown the same sample, so that it can be told how far they agree. Questions that both answered in the same words are
left out and counted: there is nothing to choose.
"""

from dataclasses import dataclass
from functools import lru_cache

import sqlalchemy as sa

from csift import registry
from csift.db.connection import Database
from csift.db.judging import DecisionRow
from csift.exceptions import GateError
from csift.hashing import sha256
from csift.schemas import EvalReport, JudgedAnswer, Preference, PromotionDecision
from csift.textmatch import normalise

SAMPLES = 20  # questions of a round


@dataclass(frozen=True)
class Pair:
    """A question with both answers; `number` counts from 1."""

    number: int
    champion: JudgedAnswer
    challenger: JudgedAnswer

    @property
    def item_id(self) -> str:
        """Of the eval item."""
        return self.champion.item_id

    @property
    def judged(self) -> Preference | None:
        """What the judge's two scores come to; None where one failed."""
        before, after = self.champion.score, self.challenger.score
        if before is None or after is None:
            return None
        if before.correct != after.correct:
            return "challenger" if after.correct else "champion"
        return "tie" if after.correct else "both bad"


@dataclass(frozen=True)
class Round:
    """The pairs of one decision. Of `questions` that both Systems answered, `alike` were answered in the same words."""

    project: str
    decision_id: str
    champion_system_id: str
    challenger_system_id: str
    pairs: tuple[Pair, ...]
    questions: int
    alike: int


def latest_round(db: Database, project: str) -> Round | None:
    """The round of the project's newest decision, or None before the first."""
    newest = sa.select(DecisionRow.id).where(DecisionRow.project == project).order_by(DecisionRow.created_at.desc()).limit(1)
    with db.session() as session:
        id_ = session.scalar(newest)
    return load_round(db, project, id_) if id_ else None


@lru_cache(maxsize=8)
def load_round(db: Database, project: str, decision_id: str) -> Round:
    """The round of a decision. Raises GateError when the project has no such decision."""
    decision = registry.find(db, PromotionDecision, decision_id)
    if decision is None or decision.evidence.project != project:
        raise GateError(f"{project} has no decision {decision_id}; see `csift status`")
    told = decision.evidence
    before, after = (registry.load(db, EvalReport, id_) for id_ in (told.champion_report_id, told.challenger_report_id))
    answers = {answer.item_id: answer for answer in after.answers if _answered(answer)}
    both = [(answer, answers[answer.item_id]) for answer in before.answers if _answered(answer) and answer.item_id in answers]
    differ = [pair for pair in both if normalise(pair[0].answer) != normalise(pair[1].answer)]
    drawn = sorted(differ, key=lambda pair: sha256(f"{decision_id}/{pair[0].item_id}"))[:SAMPLES]
    return Round(
        project=project,
        decision_id=decision_id,
        champion_system_id=told.champion_system_id,
        challenger_system_id=told.challenger_system_id,
        pairs=tuple(Pair(number, *pair) for number, pair in enumerate(drawn, start=1)),
        questions=len(both),
        alike=len(both) - len(differ),
    )


def _answered(answer: JudgedAnswer) -> bool:
    """Whether the System said something, be it that its judgement failed."""
    return bool(answer.answer.strip()) or answer.failure is None
