"""What all pages share: who visits, forms that only our own pages can send, and how a page is rendered."""

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlencode

from fastapi import Depends, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from csift.reports.page import environment
from csift.schemas import Role
from csift.serving.access import Caller, Denied
from csift.serving.asking import Server
from csift.serving.sessions import LASTS, Session

FOLDER = Path(__file__).parent
STATIC = FOLDER / "static"
FIELDS = 20  # of a form
LONGEST_NAME = 60  # characters
# Nothing but our own files is loaded or run, nobody frames a page, and forms come back here.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; form-action 'self'; frame-ancestors 'none'; "
    "base-uri 'none'"
)
HEADERS = {"Content-Security-Policy": POLICY, "X-Frame-Options": "DENY", "Referrer-Policy": "same-origin"}


@dataclass(frozen=True)
class Visit:
    """One request of a browser: its session, and who that is. `fresh`: the browser has yet to be given its cookie."""

    session: Session
    caller: Caller
    fresh: bool = False

    @property
    def person(self) -> str | None:
        """Tells people apart: the id of their key, or what they call themselves; None before they did."""
        return self.caller.key or self.session.name

    @property
    def shown(self) -> str | None:
        """What the pages call them."""
        return self.caller.name or self.session.name

    def may(self, role: Role) -> bool:
        """Whether they may do what `role` may."""
        return self.caller.may(role)


@dataclass(frozen=True)
class Post:
    """A form that was sent from one of our own pages."""

    visit: Visit
    fields: Mapping[str, str]

    def __getitem__(self, name: str) -> str:
        """A field's text, "" when it is not there."""
        return self.fields.get(name, "")


class Desk:
    """Receives browsers and renders pages for them."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self._templates = environment(FOLDER / "templates")

    def visitor(self, role: Role | None) -> Any:
        """A dependency: the Visit of who may do what `role` may; None lets everybody in."""

        def admit(request: Request) -> Visit:
            return self._visit(request, role)

        return Depends(admit)

    def post(self, role: Role | None) -> Any:
        """A dependency: the Post of such a visitor."""

        async def admit(request: Request) -> Post:
            visit = self._visit(request, role)
            fields = await _fields(request)
            token = self.server.sessions.token(visit.session)
            if not hmac.compare_digest(fields.get("token", "").encode(), token.encode()):
                raise Denied(403, "forged", "this form is not of this session: load its page again, and send it once more")
            return Post(visit, fields)

        return Depends(admit)

    def page(self, request: Request, visit: Visit, template: str, status: int = 200, **values: Any) -> Response:
        """A template as a page for a visitor."""
        text = self._templates.get_template(template).render(
            project=self.server.project,
            visit=visit,
            path=request.url.path,
            token=self.server.sessions.token(visit.session),
            keys_needed=not self.server.doors.open,
            **values,
        )
        answer = HTMLResponse(text, status, HEADERS)
        return self.remember(request, answer, visit.session) if visit.fresh else answer

    def problem(self, request: Request, status: int, message: str, retry_after: int | None = None) -> Response:
        """An error as a page, or the way to where one signs in."""
        if status == HTTPStatus.UNAUTHORIZED and request.method == "GET":
            return to("/sign-in", next=request.url.path)
        visit = self._stranger(request)
        title = HTTPStatus(status).phrase
        answer = self.page(request, visit, "problem.html", status, title=title, message=message, signed_out=status == 401)
        if retry_after is not None:
            answer.headers["Retry-After"] = str(retry_after)
        return answer

    def remember(self, request: Request, answer: Response, session: Session) -> Response:
        """The response with the session's cookie."""
        sessions = self.server.sessions
        answer.set_cookie(
            sessions.cookie, sessions.write(session), max_age=LASTS, httponly=True, samesite="strict",
            secure=request.url.scheme == "https",
        )  # fmt: skip
        return answer

    def forget(self, answer: Response) -> Response:
        """The response that takes the cookie away."""
        answer.delete_cookie(self.server.sessions.cookie, httponly=True, samesite="strict")
        return answer

    def _visit(self, request: Request, role: Role | None) -> Visit:
        if "\0" in request.scope["path"]:
            raise Denied(404, "not_found", "there is no such page")
        if role is None:
            return self._stranger(request)
        visit = self._known(request)
        if not visit.may(role):
            raise Denied(403, "forbidden", f"your key has the role {visit.caller.role}; this page takes the role {role}")
        self.server.rate.take(visit.caller.key)
        return visit

    def _known(self, request: Request) -> Visit:
        session = self._session(request)
        caller = self.server.doors.admit_again(session.key if session else None)
        return Visit(session or self.server.sessions.begin(), caller, fresh=session is None)

    def _stranger(self, request: Request) -> Visit:
        """Who may not have signed in: nobody, with the least that there is to be allowed."""
        try:
            return self._known(request)
        except Denied:
            session = self._session(request)
            return Visit(session or self.server.sessions.begin(), Caller(None, "ask"), fresh=session is None)

    def _session(self, request: Request) -> Session | None:
        return self.server.sessions.read(request.cookies.get(self.server.sessions.cookie))


def to(path: str, **query: str) -> Response:
    """The way to another page, by GET."""
    where = quote(path) + (f"?{urlencode(query)}" if query else "")
    return RedirectResponse(where, 303)


async def _fields(request: Request) -> dict[str, str]:
    """The fields of a form, of which the last counts; their line ends are \\n."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip()
    if kind != "application/x-www-form-urlencoded":
        raise Denied(415, "invalid_request_error", "send a form of the kind application/x-www-form-urlencoded")
    try:
        body = (await request.body()).decode("ascii")
        found = parse_qs(body, keep_blank_values=True, errors="strict", max_num_fields=FIELDS)
    except ValueError:  # UnicodeDecodeError is one
        raise Denied(400, "invalid_request_error", f"the form is not UTF-8, or has more than {FIELDS} fields") from None
    fields = {name: values[-1].replace("\r\n", "\n") for name, values in found.items()}
    if any("\0" in text for text in fields.values()):
        raise Denied(400, "invalid_request_error", "the form holds NUL, which is no text; remove it")
    return fields
