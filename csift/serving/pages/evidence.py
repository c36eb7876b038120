"""The reports that cycles wrote, out of the store: decisions, data cards, run reports, Evidently's drift reports."""

from collections.abc import Callable

from fastapi import APIRouter
from fastapi.responses import HTMLResponse, Response

from csift import cycles, registry
from csift.dataset import find as find_dataset
from csift.db.operations import DriftReportRow
from csift.exceptions import GateError
from csift.reports.decision import page_key
from csift.schemas import PromotionDecision
from csift.serving.access import Denied
from csift.serving.asking import Server
from csift.serving.pages.desk import HEADERS, Desk

CLOSED = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
# csift's own reports carry their stylesheet and run nothing.
STILL = f"{CLOSED}; img-src data:"
# Evidently's carry their scripts. In a sandbox these belong to nobody: they reach neither the session nor our other pages.
SANDBOX = (
    f"sandbox allow-scripts; {CLOSED}; script-src 'unsafe-inline' 'unsafe-eval'; img-src data: blob:; font-src data:; "
    "worker-src blob:"
)


def routes(desk: Desk) -> APIRouter:
    """The routes. Who reviews blind may not look up whose answers are whose, so they take the role operate."""
    router = APIRouter(dependencies=[desk.visitor("operate")])
    server = desk.server

    def add(kind: str, is_ours: Callable[[Server, str], bool], key: Callable[[str], str], policy: str) -> None:
        @router.get(f"/evidence/{kind}/{{id_}}", name=kind)
        def evidence(id_: str) -> Response:
            if not is_ours(server, id_) or not server.store.has(key(id_)):
                raise Denied(404, "not_found", "this project has no such report, or it was collected by `csift gc`")
            return HTMLResponse(server.store.get(key(id_)), headers={**HEADERS, "Content-Security-Policy": policy})

    add("decisions", _decision, page_key, STILL)
    add("data-cards", _dataset, lambda id_: f"data-cards/{id_}.html", STILL)
    add("reports", _cycle, lambda id_: f"reports/{id_}.html", STILL)
    add("drift", _drift, lambda id_: f"drift/{id_}.html", SANDBOX)
    return router


def _decision(server: Server, id_: str) -> bool:
    found = registry.find(server.db, PromotionDecision, id_)
    return found is not None and found.evidence.project == server.project


def _dataset(server: Server, id_: str) -> bool:
    try:
        return find_dataset(server.db, server.project, id_).version.id == id_
    except GateError:
        return False


def _cycle(server: Server, id_: str) -> bool:
    try:
        return cycles.load(server.db, id_).project == server.project
    except GateError:
        return False


def _drift(server: Server, id_: str) -> bool:
    with server.db.session() as session:
        row = session.get(DriftReportRow, id_)
    return row is not None and row.project == server.project
