"""Who may do what: each route of the server with each role, with no key, and with one that was revoked."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from desks import Browser, desk
from fastapi import FastAPI

from csift.db import Database
from csift.serving import keys
from csift.serving.api import create_app

ROLES = ("ask", "review", "operate")
PEOPLE = (None, "revoked", *ROLES)
OPEN = None  # to everybody
API: dict[tuple[str, str], str | None] = {
    ("GET", "/health"): OPEN,
    ("GET", "/v1/models"): "ask",
    ("POST", "/v1/chat/completions"): "ask",
    ("POST", "/v1/embeddings"): "ask",
    ("POST", "/v1/feedback"): "ask",
}
PAGES: dict[tuple[str, str], str | None] = {
    ("GET", "/static/style.css"): OPEN,
    ("GET", "/sign-in"): OPEN,
    ("POST", "/sign-in"): OPEN,
    ("POST", "/sign-out"): OPEN,
    ("POST", "/name"): "ask",
    ("GET", "/"): "ask",
    ("POST", "/"): "ask",
    ("GET", "/answers/{id_}"): "ask",
    ("POST", "/answers/{id_}"): "ask",
    ("GET", "/review"): "review",
    ("GET", "/review/{round_id}/{number}"): "review",
    ("POST", "/review/{round_id}/{number}"): "review",
    ("GET", "/review/feedback"): "review",
    ("POST", "/review/feedback/{dispute_id}"): "review",
    ("GET", "/review/labels"): "review",
    ("POST", "/review/labels"): "review",
    ("POST", "/review/labels/{id_}/withdraw"): "review",
    ("GET", "/dashboard"): "review",
    ("GET", "/documents/{sha256}"): "operate",
    ("GET", "/lineage/{adapter_id}"): "operate",
    ("GET", "/lineage/{adapter_id}/examples"): "operate",
    ("GET", "/evidence/decisions/{id_}"): "operate",
    ("GET", "/evidence/data-cards/{id_}"): "operate",
    ("GET", "/evidence/reports/{id_}"): "operate",
    ("GET", "/evidence/drift/{id_}"): "operate",
}


@pytest.fixture
def app(db: Database, project: str, tmp_path: Path) -> Iterator[FastAPI]:
    """A server that asks for keys."""
    with desk(db, project, tmp_path, open_to_all=False) as (server, _):
        yield create_app(server)


def may(person: str | None, needed: str | None) -> bool:
    return needed is OPEN or (person in ROLES and ROLES.index(person) >= ROLES.index(needed))


def held(app: FastAPI, person: str | None) -> str | None:
    """The key of somebody."""
    server = app.state.server
    return (
        keys.create(server.db, server.project, str(person), "operate" if person == "revoked" else person)[1] if person else None
    )


def revoke(app: FastAPI) -> None:
    server = app.state.server
    keys.revoke(server.db, server.project, "revoked")
    server.doors.look()


def test_the_table_has_every_route(app: FastAPI) -> None:
    served = {(method, one.path) for one in routes(app) for method in one.methods - {"HEAD"}}
    assert served - {("GET", "/openapi.json")} == {*API, *PAGES}


def routes(app: FastAPI) -> list[Any]:
    """Those of the application and of the routers in it; files below /static are none."""
    inner = [getattr(one, "original_router", None) for one in app.routes]
    return [one for one in [*app.routes, *(route for part in inner if part for route in part.routes)] if hasattr(one, "methods")]


@pytest.mark.parametrize("person", PEOPLE)
def test_the_api_answers_who_may_ask(app: FastAPI, person: str | None) -> None:
    secret, client = held(app, person), Browser(app).client
    app.state.server.doors.look()
    if person == "revoked":
        revoke(app)
    for (method, path), needed in API.items():
        told = client.request(method, path, headers={"Authorization": f"Bearer {secret}"} if secret else {}, json={})
        refused = 403 if person in ROLES else 401
        assert (told.status_code == refused) is not may(person, needed), (method, path)


@pytest.mark.parametrize("person", PEOPLE)
def test_pages_open_for_who_may_see_them(app: FastAPI, person: str | None) -> None:
    secret, browser = held(app, person), Browser(app)
    app.state.server.doors.look()
    for (method, path), needed in PAGES.items():
        browser.client.cookies.clear()
        browser.own = None
        if secret and person != "revoked":
            browser.signed_in(secret)
        elif secret:
            browser = revoked_inside(app, browser, secret)
        filled = path.replace("{number}", "1").replace("{", "").replace("}", "")
        told = browser.client.get(filled, follow_redirects=False) if method == "GET" else browser.send(filled, {}, follow=False)
        sent_away = (told.status_code == 401 and path != "/sign-in") or told.headers.get("location", "").startswith(
            "/sign-in?next="
        )
        refused = "takes the role" in told.text if person in ROLES else sent_away
        assert refused is not may(person, needed), (method, path, told.status_code)


def revoked_inside(app: FastAPI, browser: Browser, secret: str) -> Browser:
    """Somebody whose key is revoked after they signed in."""
    server = app.state.server
    if any(key.name == "revoked" for key in keys.living(server.db, server.project)):
        browser.signed_in(secret)
        revoke(app)
    return browser
