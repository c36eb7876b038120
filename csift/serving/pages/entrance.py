"""Sign in with an API key, say one's name where no key is needed, sign out."""

from fastapi import APIRouter, Request
from fastapi.responses import Response

from csift.serving.access import Denied
from csift.serving.pages.desk import LONGEST_NAME, Desk, Post, Visit, to


def routes(desk: Desk) -> APIRouter:
    """The routes."""
    router = APIRouter()
    server = desk.server
    anybody, sent, sent_in = desk.visitor(None), desk.post(None), desk.post("ask")

    @router.get("/sign-in")
    def ask_for_key(request: Request, visit: Visit = anybody, next: str = "/") -> Response:
        return desk.page(request, visit, "sign_in.html", next=_own(next), wrong=False)

    @router.post("/sign-in")
    def sign_in(request: Request, post: Post = sent) -> Response:
        try:
            caller = server.doors.admit(post["key"].strip())
        except Denied:
            return desk.page(request, post.visit, "sign_in.html", 401, next=_own(post["next"]), wrong=True)
        # a session of its own: what somebody put into the browser before is worth nothing
        return desk.remember(request, to(_own(post["next"])), server.sessions.begin(caller.key))

    @router.post("/sign-out")
    def sign_out(post: Post = sent) -> Response:
        return desk.forget(to("/sign-in"))

    @router.post("/name")
    def say_name(request: Request, post: Post = sent_in) -> Response:
        name = " ".join(post["name"].split())
        if not name or len(name) > LONGEST_NAME:
            raise Denied(400, "invalid_request_error", f"a name has 1 to {LONGEST_NAME} characters")
        return desk.remember(request, to("/review"), post.visit.session.named(name))

    return router


def _own(path: str) -> str:
    """The path, if it is one of this server; else the first page."""
    return path if path.startswith("/") and not path.startswith(("//", "/\\")) else "/"
