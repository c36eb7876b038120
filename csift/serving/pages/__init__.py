"""Pages for people, rendered here and served beside the API: ask, review, dashboard, lineage. They need no JavaScript, but for
the keyboard of the review."""

from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, Response
from fastapi.staticfiles import StaticFiles

from csift.reports.page import STYLESHEET
from csift.serving.asking import Server
from csift.serving.pages import ask, contradictions, dashboard, entrance, evidence, labelling, lineage, review
from csift.serving.pages.desk import STATIC, Desk

_API = ("/v1/", "/health", "/openapi.json")


def add_pages(app: FastAPI, server: Server) -> None:
    """Adds the routes of the pages; they are no part of the API's description."""
    desk = app.state.desk = Desk(server)
    for group in (entrance, ask, contradictions, review, labelling, dashboard, lineage, evidence):
        app.include_router(group.routes(desk), include_in_schema=False)
    app.add_api_route("/static/style.css", _stylesheet, include_in_schema=False)
    app.mount("/static", StaticFiles(directory=STATIC))


def _stylesheet() -> Response:
    """That of the reports; the pages have it, too."""
    return FileResponse(STYLESHEET)


def is_page(request: Request) -> bool:
    """Whether a person asks, who is to see an error as a page."""
    return not request.url.path.startswith(_API)


def problem(request: Request, status: int, message: str, retry_after: int | None = None) -> Response:
    """An error as a page; who has to sign in first is led to where that is done."""
    desk: Desk = request.app.state.desk
    return desk.problem(request, status, message, retry_after)
