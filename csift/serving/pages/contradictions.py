"""Served answers of which people say opposite things; a reviewer says who is right."""

from fastapi import APIRouter, Request
from fastapi.responses import Response

from csift import feedback
from csift.exceptions import LabelError
from csift.schemas import SETTLED_AS
from csift.serving.access import Denied
from csift.serving.pages.desk import Desk, Post, Visit, to


def routes(desk: Desk) -> APIRouter:
    """The routes."""
    router = APIRouter()
    server = desk.server
    reviewer, sent = desk.visitor("review"), desk.post("review")

    @router.get("/review/feedback")
    def contradictions(request: Request, visit: Visit = reviewer) -> Response:
        found = feedback.disputes(server.db, server.project)
        return desk.page(request, visit, "contradictions.html", disputes=sorted(found, key=lambda one: one.settled is not None))

    @router.post("/review/feedback/{dispute_id}")
    def settle(dispute_id: str, post: Post = sent) -> Response:
        verdict = next((name for name in SETTLED_AS if name == post["verdict"]), None)
        if post.visit.person is None:
            raise Denied(400, "invalid_request_error", "say your name on the review page first")
        if verdict is None:
            raise Denied(400, "invalid_request_error", f"a verdict is one of {', '.join(SETTLED_AS)}")
        try:
            feedback.settle(server.db, server.project, dispute_id, verdict, post.visit.person)
        except LabelError:
            raise Denied(404, "not_found", "people do not contradict each other here, or no longer do") from None
        return to("/review/feedback")

    return router
