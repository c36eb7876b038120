"""What a request comes to, over the API and on pages: an answer that is kept, and what people say of one."""

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial

from anyio import CapacityLimiter, to_thread

from csift import feedback
from csift.db.connection import Database
from csift.exceptions import LabelError
from csift.interfaces import Embedder, ObjectStore
from csift.schemas import Failure, ServedAnswer
from csift.serving.access import Caller, Denied, Doors, Queue, RateLimit
from csift.serving.answering import Champion, answered
from csift.serving.answers import AnswerLog
from csift.serving.sessions import Sessions
from csift.serving.trying import Trying
from csift.serving.wire import FeedbackRequest


@dataclass(frozen=True)
class Server:
    """What the routes are made of."""

    db: Database
    project: str
    champion: Champion
    trying: Trying
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


async def answer(server: Server, model: str, question: str, asker: Caller, session: str | None) -> ServedAnswer:
    """The answer of a System that is served: of the champion or its canary when `model` is the project's name. Raises Denied when
    too many wait, or the model gives none."""
    with server.queue.place():
        work = partial(_answer, server, model, question, asker, session)
        return await to_thread.run_sync(work, limiter=server.limiter)


def _answer(server: Server, model: str, question: str, asker: Caller, session: str | None) -> ServedAnswer:
    began = time.perf_counter()
    one_talk = session or f"{asker.key} {question}"
    champion = server.champion.now  # one System from here to the end
    answerer, told = server.trying.answer(model, one_talk, question) or (champion, champion.answer(question))
    if isinstance(told, Failure):
        raise Denied(502, told.kind, f"the model gave no answer: {told.message}")
    answer = ServedAnswer(
        id=f"answer-{secrets.token_hex(16)}",
        project=server.project,
        session=session,
        asked_by=asker.key,
        question=question,
        **answered(answerer.system, told, time.perf_counter() - began),
    )
    server.answers.keep(answer)
    server.trying.shadow(answer, one_talk)
    return answer


def keep_feedback(server: Server, said: FeedbackRequest, asker: Caller) -> feedback.Given:
    """Keeps what a person says of an answer, or of several.

    Raises:
        Denied: there is no such answer, or nothing is said of it.
    """
    answers = [_served(server, id_) for id_ in said.about]
    by = "/".join(part for part in (asker.key, said.rater) if part) or None
    what = said.model_dump(exclude={"answer_id", "ranking", "rater"}, exclude_none=True)
    try:
        record = feedback.about(answers, by, what, ranking=said.ranking is not None)
        return feedback.say(server.db, server.project, record, answers, server.scrub, asker.key)
    except LabelError as error:
        raise Denied(400, "invalid_request_error", str(error)) from None


def _served(server: Server, id_: str) -> ServedAnswer:
    answer = server.answers.find(server.project, id_)
    if answer is None:
        raise Denied(404, "answer_not_found", f"no answer {id_!r} was given here")
    return answer
