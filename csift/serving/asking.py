"""What a request comes to, over the API and on pages: an answer that is kept, and what people say of one."""

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial

from anyio import CapacityLimiter, to_thread
from pydantic import ValidationError

from csift import feedback
from csift.db.base import now
from csift.db.connection import Database
from csift.interfaces import Embedder, ObjectStore
from csift.schemas import Failure, FeedbackRecord, ServedAnswer
from csift.serving.access import Caller, Denied, Doors, Queue, RateLimit
from csift.serving.answering import Champion, tokens
from csift.serving.answers import AnswerLog
from csift.serving.sessions import Sessions
from csift.serving.wire import FeedbackRequest


@dataclass(frozen=True)
class Server:
    """What the routes are made of."""

    db: Database
    project: str
    champion: Champion
    answers: AnswerLog
    doors: Doors
    embedder: Embedder
    rate: RateLimit
    queue: Queue
    threads: int  # requests that are worked on at once
    scrub: Callable[[str], str]
    store: ObjectStore
    sessions: Sessions

    @cached_property
    def limiter(self) -> CapacityLimiter:
        """Of the threads."""
        return CapacityLimiter(self.threads)


async def answer(server: Server, question: str, asker: Caller, session: str | None) -> ServedAnswer:
    """The champion's answer. Raises Denied when too many wait, or the model gives none."""
    with server.queue.place():
        return await to_thread.run_sync(partial(_answer, server, question, asker, session), limiter=server.limiter)


def _answer(server: Server, question: str, asker: Caller, session: str | None) -> ServedAnswer:
    began = time.perf_counter()
    answerer = server.champion.now  # one System from here to the end
    told = answerer.answer(question)
    if isinstance(told, Failure):
        raise Denied(502, told.kind, f"the model gave no answer: {told.message}")
    read, written = tokens(told.spent)
    answer = ServedAnswer(
        id=f"answer-{secrets.token_hex(16)}",
        project=server.project,
        system_id=answerer.system.id,
        adapter_id=answerer.system.adapter_id,
        session=session,
        asked_by=asker.key,
        at=now(),
        question=question,
        answer=told.text,
        sources=told.sources,
        finish=told.spent[-1].finish if told.spent else "stop",
        tokens_in=read,
        tokens_out=written,
        seconds=time.perf_counter() - began,
    )
    server.answers.keep(answer)
    return answer


def keep_feedback(server: Server, said: FeedbackRequest, asker: Caller) -> tuple[str, bool]:
    """Keeps what a person says of an answer; returns its id, and whether it is new.

    Raises:
        Denied: there is no such answer, or nothing is said of it.
    """
    answer = server.answers.find(server.project, said.answer_id)
    if answer is None:
        raise Denied(404, "answer_not_found", f"no answer {said.answer_id!r} was given here")
    by = "/".join(part for part in (asker.key, said.rater) if part)
    try:
        record = FeedbackRecord.of(
            question=answer.question,
            answer=answer.answer,
            system_id=answer.system_id,
            rater=by or None,
            **said.model_dump(exclude={"answer_id", "rater"}),
        )
    except ValidationError as error:
        raise Denied(400, "invalid_request_error", error.errors()[0]["msg"].removeprefix("Value error, ")) from None
    kept = feedback.private(record, server.scrub)
    return kept.id, bool(feedback.save(server.db, server.project, [kept]))
