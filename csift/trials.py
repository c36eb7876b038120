"""Challengers that are tried on a project's traffic: as canary, which answers some sessions, or as shadow, whose answers nobody
sees.

One trial goes on at a time. It ends when somebody ends it or begins another, when the champion moves, whoever becomes champion,
and when the challenger cannot be loaded.
"""

import secrets
from collections.abc import Sequence
from datetime import datetime

import numpy as np
import sqlalchemy as sa
from sqlalchemy.orm import Session

from csift import feedback, registry
from csift.db.base import now
from csift.db.connection import Database
from csift.db.feedback import FeedbackRow
from csift.db.judging import ChampionRow
from csift.db.serving import ServedAnswerRow, ShadowAnswerRow, TrialRow
from csift.exceptions import GateError
from csift.intervals import wilson
from csift.schemas import (
    ArmReport,
    CorpusSnapshot,
    FeedbackRecord,
    ServedAnswer,
    ShadowAnswer,
    ShadowPair,
    System,
    Trial,
    TrialKind,
    TrialReport,
)


def begin(db: Database, project: str, kind: TrialKind, system_id: str, share: float) -> Trial:
    """Tries a System beside the champion, in place of the one that is tried now. Running servers follow within seconds.

    Raises:
        GateError: there is no such System of the project, it is champion, it is a model of Bedrock's, or there is no champion.
    """
    system = registry.load(db, System, system_id)
    owner = registry.load(db, CorpusSnapshot, system.snapshot_id).corpus
    if owner != project:
        raise GateError(f"{system_id} is of project {owner}, not of {project}")
    if system.custom_model:
        raise GateError(f"{system_id} is a custom model of Bedrock, which csift does not serve")
    with db.session() as session:
        pointer = session.scalar(sa.select(ChampionRow).where(ChampionRow.project == project).with_for_update())
        if pointer is None:
            raise GateError(f"{project} has no champion to try {system_id} beside; run `csift run nightly` first")
        if pointer.system_id == system_id:
            raise GateError(f"{system_id} is the champion of {project}; name a challenger, as a decision does")
        _end(session, project, f"a {kind} of {system_id} began")
        trial = Trial(
            id=f"trial-{secrets.token_hex(8)}",
            project=project,
            kind=kind,
            system_id=system_id,
            champion_id=pointer.system_id,
            share=share,
            began_at=now(),
        )
        session.add(TrialRow(**trial.model_dump()))
    return trial


def end(db: Database, project: str, reason: str, id_: str | None = None) -> Trial | None:
    """Ends the trial that goes on, if it is that one; returns it, or None when there was none."""
    with db.session() as session:
        ended = _end(session, project, reason, id_)
        return _trial(ended) if ended else None


def newest(db: Database, project: str) -> Trial | None:
    """The trial that goes on, else the last that ended; None when nothing was ever tried."""
    wanted = sa.select(TrialRow).where(TrialRow.project == project).order_by(TrialRow.began_at.desc()).limit(1)
    with db.session() as session:
        row = session.scalar(wanted)
    return _trial(row) if row else None


def count(db: Database, id_: str, dropped: int, failed: int) -> None:
    """Adds to what a trial left out and failed at."""
    more = {"dropped": TrialRow.dropped + dropped, "failed": TrialRow.failed + failed}
    with db.session() as session:
        session.execute(sa.update(TrialRow).where(TrialRow.id == id_).values(more))


def find(db: Database, project: str, id_: str) -> Trial | None:
    """A trial of the project, or None where there is no such."""
    with db.session() as session:
        row = session.scalar(sa.select(TrialRow).where(TrialRow.project == project, TrialRow.id == id_))
    return _trial(row) if row else None


def shadow_pairs(db: Database, trial: Trial, first: int | None = None) -> list[ShadowPair]:
    """What champion and shadow said to the same questions while the trial went on, the oldest first, no more than `first`."""
    wanted = (
        sa.select(ServedAnswerRow.record, ShadowAnswerRow.record)
        .join(ShadowAnswerRow, ShadowAnswerRow.answer_id == ServedAnswerRow.id)
        .where(ShadowAnswerRow.project == trial.project, ServedAnswerRow.project == trial.project)
        .where(ShadowAnswerRow.system_id == trial.system_id, ShadowAnswerRow.at >= trial.began_at)
        .order_by(ShadowAnswerRow.at, ShadowAnswerRow.answer_id)
        .limit(first)
    )
    if trial.ended_at is not None:
        wanted = wanted.where(ShadowAnswerRow.at <= trial.ended_at)
    with db.session() as session:
        rows = session.execute(wanted).all()
    return [ShadowPair(served=ServedAnswer.model_validate(one), shadow=ShadowAnswer.model_validate(other)) for one, other in rows]


def compare(db: Database, trial: Trial) -> TrialReport:
    """Champion and challenger since the trial began, until it ended. Of a shadow only questions that it answered are compared,
    and nobody can rate it."""
    if trial.kind == "canary":
        arms = [_served_arm(db, trial, system_id) for system_id in (trial.champion_id, trial.system_id)]
        return TrialReport(trial=trial, champion=arms[0], challenger=arms[1], same=None)
    pairs = shadow_pairs(db, trial)
    same = sum(_plain(pair.served.answer) == _plain(pair.shadow.answer) for pair in pairs)
    return TrialReport(
        trial=trial,
        champion=_arm(trial.champion_id, [pair.served for pair in pairs], (0, 0)),
        challenger=_arm(trial.system_id, [pair.shadow for pair in pairs], (0, 0)),
        same=wilson(same, len(pairs)) if pairs else None,
    )


def _served_arm(db: Database, trial: Trial, system_id: str) -> ArmReport:
    of = (ServedAnswerRow.project == trial.project, ServedAnswerRow.system_id == system_id)
    wanted = sa.select(ServedAnswerRow.record).where(*of, ServedAnswerRow.at >= trial.began_at)
    with db.session() as session:
        answers = [ServedAnswer.model_validate(record) for record in session.scalars(wanted)]
    return _arm(system_id, [answer for answer in answers if _within(trial, answer.at)], _approval(db, trial, system_id))


def _arm(system_id: str, answers: Sequence[ServedAnswer | ShadowAnswer], approval: tuple[int, int]) -> ArmReport:
    seconds = [answer.seconds for answer in answers]
    sessions = {answer.session or answer.id for answer in answers if isinstance(answer, ServedAnswer)}
    good, rated = approval
    return ArmReport(
        system_id=system_id,
        answers=len(answers),
        sessions=len(sessions),
        median_seconds=float(np.median(seconds)) if seconds else None,
        p95_seconds=float(np.percentile(seconds, 95)) if seconds else None,
        tokens_out=sum(answer.tokens_out for answer in answers),
        rated=rated,
        good=wilson(good, rated) if rated else None,
    )


def _approval(db: Database, trial: Trial, system_id: str) -> tuple[int, int]:
    """(good, rated) answers of a System by what people said of it since the trial began."""
    said = sa.select(FeedbackRow.record, FeedbackRow.said_at).where(FeedbackRow.project == trial.project)
    since = said.where(FeedbackRow.said_at >= trial.began_at, FeedbackRow.record["system_id"].astext == system_id)
    with db.session() as session:
        rows = session.execute(since.order_by(FeedbackRow.said_at, FeedbackRow.id)).all()
    ratings = feedback.learn(FeedbackRecord.model_validate(record) for record, at in rows if _within(trial, at)).ratings
    return sum(rating.desirable for rating in ratings), len(ratings)


def _within(trial: Trial, at: datetime) -> bool:
    return trial.ended_at is None or at <= trial.ended_at


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


def _end(session: Session, project: str, reason: str, id_: str | None = None) -> TrialRow | None:
    wanted = sa.select(TrialRow).where(TrialRow.project == project, TrialRow.ended_at.is_(None)).with_for_update()
    row = session.scalar(wanted if id_ is None else wanted.where(TrialRow.id == id_))
    if row is not None:
        row.ended_at, row.reason = now(), reason
        session.flush()
    return row


def _trial(row: TrialRow) -> Trial:
    return Trial.model_validate({name: getattr(row, name) for name in Trial.model_fields})
