"""A critic grades answers that nobody rated, and counts as far as it agrees with people on those that they did rate.

Its agreement is measured anew every night on all that people rated (csift.judges.calibration), and it is believed when the lower
bound of that is high enough: the lower one of the bootstrap over questions, and of Wilson's interval with the questions for its
cases, since few cases that all agree leave a bootstrap nothing to vary.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from csift.config import FeedbackConfig
from csift.db.connection import Database
from csift.db.feedback import CritiqueRow, FeedbackRow
from csift.db.serving import ServedAnswerRow
from csift.feedback.voices import same
from csift.interfaces import Judge
from csift.intervals import wilson
from csift.judges import calibration
from csift.schemas import Critique, HumanFeedback, JudgeCalibration, JudgeItem, LabelledAnswer, Score, ServedAnswer

TOGETHER = 32  # critiques that are kept at once; killed, those since the last time are taken from the ledger
LABELLED = 300  # rated answers, the latest, that a critic is held against

Critic = Judge


@dataclass(frozen=True)
class Graded:
    """What a critic did: how it agrees with people (None where fewer than two questions are rated), whether that is enough, how
    many answers it graded and failed on."""

    calibration: JudgeCalibration | None
    trusted: bool
    graded: int
    failed: int


def criticise(db: Database, project: str, critic: Critic, config: FeedbackConfig, people: HumanFeedback) -> Graded:
    """Holds the critic against what people said, and, where it agrees with them, has it grade the latest answers that nobody
    rated and it has not seen.

    Args:
        people: what feedback teaches.

    Raises:
        CsiftError: whatever the critic raises; what it graded until then is kept.
    """
    labels = _labelled(db, project, people)
    if len({label.group for label in labels}) < 2:
        return Graded(None, False, 0, 0)
    measured = calibration.save(db, calibration.calibrate(critic, _name(project), labels))
    if least_agreement(measured) < config.min_agreement:
        return Graded(measured, False, 0, 0)
    wanted = _ungraded(db, project, critic.id, config.critiques)
    graded = sum(_grade(db, project, critic, wanted[at : at + TOGETHER]) for at in range(0, len(wanted), TOGETHER))
    return Graded(measured, True, graded, len(wanted) - graded)


def least_agreement(measured: JudgeCalibration) -> float:
    """The lower bound of a critic's agreement with people, in 0 to 1."""
    agreement = measured.agreement
    return min(agreement.low, wilson(agreement.value * measured.groups, measured.groups).low)


def trusted_critiques(db: Database, project: str, config: FeedbackConfig) -> list[Critique]:
    """What the critic said that was held against people last; nothing where none is configured or it agrees too little."""
    last = next((one for one in calibration.stored(db) if one.judge_name == _name(project)), None)
    if config.critic is None or last is None or least_agreement(last) < config.min_agreement:
        return []
    query = (
        sa.select(CritiqueRow, ServedAnswerRow.record)
        .join(ServedAnswerRow, ServedAnswerRow.id == CritiqueRow.answer_id)
        .where(CritiqueRow.project == project, CritiqueRow.critic_id == last.judge_id)
    )
    with db.session() as session:
        return [_critique(row, ServedAnswer.model_validate(record)) for row, record in session.execute(query).tuples()]


def _critique(row: CritiqueRow, answer: ServedAnswer) -> Critique:
    return Critique(
        answer_id=row.answer_id,
        critic_id=row.critic_id,
        question=answer.question,
        answer=answer.answer,
        value=row.value,
        correct=row.correct,
    )


def _name(project: str) -> str:
    return f"critic of {project}"


def _labelled(db: Database, project: str, people: HumanFeedback) -> list[LabelledAnswer]:
    """Served answers that people called good or bad, each text once, with the chunks that they were made from."""
    verdicts = {(same(row.question), row.answer): row.desirable for row in people.ratings if row.source == "human"}
    scores = {(same(row.question), row.answer): row.score for row in people.scores if row.source == "human"}
    labels: dict[tuple[str, str], LabelledAnswer] = {}
    for answer in _rated(db, project):
        key = same(answer.question), answer.answer
        if key in verdicts and len(labels) < LABELLED:
            labels.setdefault(
                key, LabelledAnswer(item=item_of(answer), group=key[0], score=scores.get(key), correct=verdicts[key])
            )
    return list(labels.values())


def _rated(db: Database, project: str) -> list[ServedAnswer]:
    """Served answers that somebody said something of, the latest first."""
    said = sa.select(sa.func.unnest(FeedbackRow.answer_ids)).where(FeedbackRow.project == project)
    query = sa.select(ServedAnswerRow.record).where(ServedAnswerRow.project == project, ServedAnswerRow.id.in_(said))
    with db.session() as session:
        found = session.scalars(query.order_by(ServedAnswerRow.at.desc(), ServedAnswerRow.id))
        return [ServedAnswer.model_validate(record) for record in found]


def _ungraded(db: Database, project: str, critic_id: str, limit: int) -> list[ServedAnswer]:
    """The latest served answers of which neither people nor this critic said anything."""
    said = sa.select(sa.func.unnest(FeedbackRow.answer_ids)).where(FeedbackRow.project == project)
    graded = sa.select(CritiqueRow.answer_id).where(CritiqueRow.project == project, CritiqueRow.critic_id == critic_id)
    query = sa.select(ServedAnswerRow.record).where(
        ServedAnswerRow.project == project, ServedAnswerRow.id.not_in(said), ServedAnswerRow.id.not_in(graded)
    )
    with db.session() as session:
        found = session.scalars(query.order_by(ServedAnswerRow.at.desc(), ServedAnswerRow.id).limit(limit))
        return [ServedAnswer.model_validate(record) for record in found]


def _grade(db: Database, project: str, critic: Critic, answers: Sequence[ServedAnswer]) -> int:
    """How many of the answers the critic graded; the others it failed on, and is asked again another night."""
    outcomes = critic.judge([item_of(answer) for answer in answers])
    rows = [
        {
            "answer_id": answer.id,
            "critic_id": critic.id,
            "project": project,
            "value": said.value,
            "correct": said.correct,
        }
        for answer, said in zip(answers, outcomes, strict=True)
        if isinstance(said, Score)
    ]
    if rows:
        with db.session() as session:
            session.execute(insert(CritiqueRow).on_conflict_do_nothing(), rows)
    return len(rows)


def item_of(answer: ServedAnswer) -> JudgeItem:
    """A served answer as a critic sees it."""
    return JudgeItem(
        question=answer.question, gold=None, answer=answer.answer, contexts=tuple(hit.text for hit in answer.sources)
    )
