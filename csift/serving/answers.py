"""Answers that were given, kept in Postgres off the request's path: a thread writes what requests leave in a queue."""

import queue
import threading
import time
from collections.abc import Callable
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from csift.db.base import Base
from csift.db.connection import Database
from csift.db.serving import ServedAnswerRow
from csift.schemas import ServedAnswer

ROOM = 10_000  # answers that wait to be written; a request waits when there are more, so that none is lost
TOGETHER = 200  # rows of one insert
GATHERED = 0.25  # seconds in which they come


class AnswerLog:
    """Takes answers and writes them soon; `close` writes the rest.

    `scrub` removes personal data from what people asked and were told. While Postgres is away, answers wait.
    """

    def __init__(self, db: Database, scrub: Callable[[str], str], tell: Callable[[str], None]) -> None:
        self._db, self._scrub, self._tell = db, scrub, tell
        self._waiting: queue.Queue[ServedAnswer | None] = queue.Queue(ROOM)
        self._unwritten: dict[str, ServedAnswer] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._write_all, name="answer-log", daemon=True)
        self._thread.start()

    def keep(self, answer: ServedAnswer) -> None:
        """Leaves an answer to be written."""
        self._unwritten[answer.id] = answer
        self._waiting.put(answer)

    def find(self, project: str, id_: str) -> ServedAnswer | None:
        """An answer that was given, written or not yet; None when there is none of that id."""
        if (waiting := self._unwritten.get(id_)) and waiting.project == project:
            return self._private(waiting)
        with self._db.session() as session:
            row = session.get(ServedAnswerRow, id_)
        return ServedAnswer.model_validate(row.record) if row and row.project == project else None

    def close(self) -> None:
        """Writes what waits, and ends; what Postgres does not take within ten seconds is told and lost."""
        self._waiting.put(None)
        self._thread.join(10)
        self._ended.set()
        if self._unwritten:
            self._tell(f"{len(self._unwritten)} answers were not written, as Postgres could not be reached")

    def _private(self, answer: ServedAnswer) -> ServedAnswer:
        return answer.model_copy(update={"question": self._scrub(answer.question), "answer": self._scrub(answer.answer)})

    def _write_all(self) -> None:
        while batch := self._next():
            rows = [_row(self._private(answer)) for answer in batch if answer]
            insist(self._db, ServedAnswerRow, rows, self._ended, self._tell)
            for row in rows:
                self._unwritten.pop(str(row["id"]), None)
            if batch[-1] is None:
                return

    def _next(self) -> list[ServedAnswer | None]:
        """Those of a quarter of a second: writing each by itself takes time from who is being answered."""
        batch = [self._waiting.get()]
        until = time.monotonic() + GATHERED
        while batch[-1] is not None and len(batch) < TOGETHER:
            try:
                batch.append(self._waiting.get(timeout=max(0.0, until - time.monotonic())))
            except queue.Empty:
                break
        return batch


def insist(
    db: Database, table: type[Base], rows: list[dict[str, object]], ended: threading.Event, tell: Callable[[str], None]
) -> None:
    """Writes rows, those that are there already excepted; while Postgres is away, again each second until `ended`. A row that it
    does not take is told and left out, so that it costs no other."""
    told = False
    while rows:
        try:
            with db.session() as session:
                session.execute(insert(table).values(rows).on_conflict_do_nothing())
            return
        except sa.exc.OperationalError as error:
            if not told:
                tell(f"answers wait to be written: {str(error.orig).strip().splitlines()[0]}")
            told = True
            if ended.wait(1.0):
                return
        except (sa.exc.DBAPIError, ValueError) as error:
            if len(rows) > 1:
                for row in rows:
                    insist(db, table, [row], ended, tell)
            else:
                key = rows[0][sa.inspect(table).primary_key[0].name]
                tell(f"{table.__tablename__}: {key} cannot be kept: {str(error).splitlines()[0]}")
            return


def _row(answer: ServedAnswer) -> dict[str, object]:
    return {
        "id": answer.id,
        "project": answer.project,
        "system_id": answer.system_id,
        "asked_by": answer.asked_by,
        "at": answer.at,
        "record": answer.model_dump(mode="json"),
    }


def answers_since(db: Database, project: str, since: datetime) -> list[ServedAnswer]:
    """What a project's people were told since a moment, in order of time."""
    wanted = sa.select(ServedAnswerRow.record).where(ServedAnswerRow.project == project, ServedAnswerRow.at >= since)
    with db.session() as session:
        return [ServedAnswer.model_validate(record) for record in session.scalars(wanted.order_by(ServedAnswerRow.at))]
