"""What people asked `csift serve`, as the traffic that drift is looked for in."""

from collections.abc import Callable
from dataclasses import replace

import sqlalchemy as sa

from csift.db.connection import Database
from csift.db.serving import ServedAnswerRow
from csift.drift import TrafficRow, Window
from csift.registry import champion_log

MOST = 20_000  # questions, the newest


def served_window(db: Database, project: str) -> Window:
    """The project's newest questions in the order of time, 20,000 at most.

    All count, whoever answered. What was found and said counts where the present champion did it, as champion: a canary's
    answers, and those of the champion before, are no drift of its own. A question without a session is one of its own.
    """
    record = ServedAnswerRow.record
    texts = [record[name].astext for name in ("session", "question", "answer")]
    score = record["sources"][0]["score"].as_float()
    wanted = sa.select(ServedAnswerRow.id, ServedAnswerRow.system_id, ServedAnswerRow.at, *texts, score)
    newest = wanted.where(ServedAnswerRow.project == project).order_by(ServedAnswerRow.at.desc(), ServedAnswerRow.id).limit(MOST)
    log = champion_log(db, project)
    with db.session() as session:
        rows = session.execute(newest).all()
    window = []
    for id_, system_id, at, talk, question, answer, score in reversed(rows):
        row = TrafficRow(talk or id_, question, at=at)
        own = bool(log) and system_id == log[0].to_system_id and at >= log[0].at
        window.append(replace(row, answer=answer, score=score) if own else row)
    return Window(tuple(window))


def scrubbed(window: Window, scrub: Callable[[str], str]) -> Window:
    """The window with its questions and answers as they would have been kept."""
    rows = (replace(row, question=scrub(row.question), answer=row.answer and scrub(row.answer)) for row in window.rows)
    return Window(tuple(rows))
