"""Lineage of an adapter: documents → examples → dataset → training → evaluation → decision."""

from fastapi import APIRouter, Request
from fastapi.responses import Response

from csift import lineage
from csift.dataset.versions import load_examples_of
from csift.exceptions import GateError
from csift.lineage import AdapterLineage
from csift.reports import plots
from csift.reports.tables import counts_table
from csift.reports.wording import DELETED
from csift.serving.access import Denied
from csift.serving.pages.desk import Desk, Visit

ROWS = 50  # examples of one page


def routes(desk: Desk) -> APIRouter:
    """The routes."""
    router = APIRouter()
    server = desk.server
    operator = desk.visitor("operate")

    @router.get("/lineage/{adapter_id}")
    def adapter(request: Request, adapter_id: str, visit: Visit = operator) -> Response:
        found = _find(adapter_id)
        trained = any(stage.points for stage in found.losses)
        return desk.page(
            request,
            visit,
            "lineage.html",
            lineage=found,
            deleted=DELETED,
            sources=counts_table("Examples by source", "Source", found.dataset.sources),
            loss_plot=plots.both(lambda name, width: plots.loss_plot(found.losses, name, width), "loss") if trained else None,
            loss_caption=plots.loss_caption(found.losses),
        )

    @router.get("/lineage/{adapter_id}/examples")
    def examples(request: Request, adapter_id: str, visit: Visit = operator, page: int = 1) -> Response:
        found = _find(adapter_id)
        ids = sorted(set(found.dataset.example_ids))
        pages = max(1, -(-len(ids) // ROWS))
        if not 1 <= page <= pages:
            raise Denied(404, "not_found", f"there are {pages} pages of examples")
        shown = load_examples_of(server.db, ids[ROWS * (page - 1) : ROWS * page])
        hashes = {document.document_id: document.sha256 for document in found.snapshot.documents}
        return desk.page(
            request, visit, "examples.html", lineage=found, examples=shown, hashes=hashes, number=page, pages=pages
        )  # fmt: skip

    def _find(adapter_id: str) -> AdapterLineage:
        try:
            return lineage.read_lineage(server.db, server.project, adapter_id)
        except GateError as error:
            raise Denied(404, "not_found", str(error)) from None

    return router
