"""Ask: a question, the champion's answer with its sources, and what the person says of it."""

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import ValidationError

from csift.schemas import ServedAnswer
from csift.serving import asking
from csift.serving.access import Denied
from csift.serving.pages.desk import Desk, Post, Visit, to
from csift.serving.wire import LONGEST, FeedbackRequest


def routes(desk: Desk) -> APIRouter:
    """The routes."""
    router = APIRouter()
    server = desk.server
    asker, sent = desk.visitor("ask"), desk.post("ask")

    @router.get("/")
    def question(request: Request, visit: Visit = asker) -> Response:
        return desk.page(request, visit, "ask.html", longest=LONGEST)

    @router.post("/")
    async def ask(post: Post = sent) -> Response:
        asked = post["question"].strip()
        if not 0 < len(asked) <= LONGEST:
            raise Denied(400, "invalid_request_error", f"a question has 1 to {LONGEST:,} characters; go back and write it")
        told = await asking.answer(server, server.project, asked, post.visit.caller, post.visit.session.id)
        return to(f"/answers/{told.id}")

    @router.get("/answers/{id_}")
    def answer(request: Request, id_: str, visit: Visit = asker, kept: bool = False) -> Response:
        return desk.page(request, visit, "answer.html", answer=_find(visit, id_), kept=kept, longest=LONGEST)

    @router.post("/answers/{id_}")
    def say(id_: str, post: Post = sent) -> Response:
        answer = _find(post.visit, id_)
        edited, comment = post["edited_answer"].strip(), post["comment"].strip()
        try:
            said = FeedbackRequest.model_validate(
                {
                    "answer_id": id_,
                    "thumb": post["thumb"] or None,
                    "comment": comment or None,
                    "edited_answer": edited if edited and edited != answer.answer.strip() else None,
                    "rater": None if post.visit.caller.key else post.visit.person or post.visit.session.id,
                }
            )
        except ValidationError as error:
            where = error.errors()[0]
            raise Denied(400, "invalid_request_error", f"{where['loc'][0]}: {where['msg']}") from None
        asking.keep_feedback(server, said, post.visit.caller)
        return to(f"/answers/{id_}", kept="true")

    def _find(visit: Visit, id_: str) -> ServedAnswer:
        """An answer that this person was given; who operates sees all."""
        found = server.answers.find(server.project, id_)
        if found is None or (found.asked_by != visit.caller.key and not visit.may("operate")):
            raise Denied(404, "answer_not_found", "no such answer was given to you here")
        return found

    return router
