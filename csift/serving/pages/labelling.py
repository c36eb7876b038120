"""Label new questions about documents that are held out from training."""

import sqlalchemy as sa
from fastapi import APIRouter, Request
from fastapi.responses import Response

from csift import written_labels
from csift.db.corpus import SnapshotRow, TextRow
from csift.exceptions import LabelError
from csift.schemas import STYLES
from csift.serving.access import Denied
from csift.serving.pages.desk import Desk, Post, Visit, to
from csift.serving.wire import LONGEST


def routes(desk: Desk) -> APIRouter:
    """The routes."""
    router = APIRouter()
    server = desk.server
    reviewer, operator, sent = desk.visitor("review"), desk.visitor("operate"), desk.post("review")

    @router.get("/review/labels")
    def labels(request: Request, visit: Visit = reviewer, document: str = "") -> Response:
        return _form(request, visit, document)

    def _form(request: Request, visit: Visit, document: str, wrong: str = "", post: Post | None = None) -> Response:
        documents = written_labels.held_out(server.db, server.project)
        chosen = documents.get(document)
        return desk.page(
            request,
            visit,
            "labels.html",
            400 if wrong else 200,
            documents=documents,
            document=document if chosen else "",
            text=_text(chosen[1]) if chosen else None,
            styles=STYLES,
            written=written_labels.written(server.db, server.project),
            wrong=wrong,
            typed=post,
            longest=LONGEST,
        )

    @router.post("/review/labels")
    def write(request: Request, post: Post = sent) -> Response:
        style = next((style for style in STYLES if style == post["style"]), None)
        if post.visit.person is None or style is None or len(post["question"]) > LONGEST or len(post["answer"]) > LONGEST:
            raise Denied(400, "invalid_request_error", f"a label has a writer, a kind, and at most {LONGEST:,} characters a text")
        answer = None if style == "unanswerable" else server.scrub(post["answer"])
        try:
            written_labels.write(
                server.db, server.project, server.scrub(post["question"]), answer, post["document"], style,
                post.visit.person,
            )  # fmt: skip
        except LabelError as error:
            return _form(request, post.visit, post["document"], str(error), post)
        return to("/review/labels", document=post["document"])

    @router.post("/review/labels/{id_}/withdraw")
    def withdraw(id_: str, post: Post = sent) -> Response:
        mine = [label.id for label in written_labels.written(server.db, server.project) if label.by == post.visit.person]
        if id_ not in mine and not post.visit.may("operate"):
            raise Denied(403, "forbidden", "only who wrote a label, or a key with the role operate, withdraws it")
        written_labels.withdraw(server.db, server.project, id_)
        return to("/review/labels")

    @router.get("/documents/{sha256}")
    def document(request: Request, sha256: str, visit: Visit = operator) -> Response:
        """One version of a document of this project, as it was read."""
        held = SnapshotRow.record.contains({"documents": [{"sha256": sha256}]})
        with server.db.session() as session:
            record = session.scalar(sa.select(SnapshotRow.record).where(SnapshotRow.project == server.project, held).limit(1))
        if record is None:
            raise Denied(404, "not_found", "this project has no such document")
        name = next(entry["document_id"] for entry in record["documents"] if entry["sha256"] == sha256)
        return desk.page(request, visit, "document.html", name=name, text=_text(sha256))

    def _text(sha256: str) -> str:
        with server.db.session() as session:
            row = session.get(TextRow, sha256)
        if row is None:
            raise Denied(404, "not_found", "the text of this document is no longer kept")
        return row.text

    return router
