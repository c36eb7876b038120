"""The HTTP interface: OpenAI's chat completions, models and embeddings over the champion's RAG program, and feedback. The pages
for people (csift.serving.pages) stand beside it."""

import base64
import logging
from typing import Annotated, Any

import numpy as np
from fastapi import Depends, FastAPI, Request
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response, StreamingResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from csift.exceptions import CsiftError
from csift.schemas import Role
from csift.serving import asking, pages
from csift.serving.access import Caller, Denied
from csift.serving.asking import Server
from csift.serving.wire import ChatRequest, EmbeddingRequest, FeedbackRequest, Problem, completion, events

MOST_BYTES = 1_000_000  # of a request's body
HEADERS = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
SESSION = "x-csift-session"  # header: groups the questions of one conversation
BEARER = HTTPBearer(auto_error=False, description="A key of `csift keys create`")
PROBLEMS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": Problem, "description": "The request is refused; the message says why and what helps"},
    "5XX": {"model": Problem, "description": "The answer cannot be made; the message says whether to try again"},
}
STREAMS: dict[int | str, dict[str, Any]] = {200: {"content": {"text/event-stream": {}}}}
log = logging.getLogger("csift.serving")


def create_app(server: Server) -> FastAPI:
    """The application. Errors have OpenAI's shape: {"error": {"message", "type", "code", "param"}}."""
    app = FastAPI(title=f"csift: {server.project}", docs_url=None, redoc_url=None, responses=PROBLEMS)
    app.state.server = server
    app.add_middleware(Bounded)
    if server.doors.open:  # without keys a page of the web could ask through somebody's browser, by a name that leads here
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=["localhost", "127.0.0.1", "[::1]", "::1"])
    _add_errors(app)

    def caller(role: Role) -> Any:
        async def admit(shown: Annotated[HTTPAuthorizationCredentials | None, Depends(BEARER)]) -> Caller:
            found = server.doors.admit(shown.credentials.strip() if shown else None)
            if not found.may(role):
                raise Denied(403, "forbidden", f"this key may not do that; it takes a key with the role {role}")
            server.rate.take(found.key)
            return found

        return Depends(admit)

    @app.get("/health")
    def health() -> dict[str, str]:
        """Whether the server answers, and with which System."""
        return {"status": "ok", "system": server.champion.now.system.id}

    @app.get("/v1/models")
    def models(asker: Annotated[Caller, caller("ask")]) -> dict[str, Any]:
        """The project, which is whoever is champion or its canary, and both by their own names."""
        made = [server.project, *_systems(server)]
        return {"object": "list", "data": [{"id": id_, "object": "model", "created": 0, "owned_by": "csift"} for id_ in made]}

    @app.post("/v1/chat/completions", responses=STREAMS)
    async def chat(asked: ChatRequest, request: Request, asker: Annotated[Caller, caller("ask")]) -> Response:
        """Answers the last user message from the corpus."""
        question = _question(server, asked)
        answer = await asking.answer(server, asked.model, question, asker, request.headers.get(SESSION) or asked.user)
        if asked.stream:
            usage = bool(asked.stream_options and asked.stream_options.include_usage)
            return StreamingResponse(events(answer, usage), media_type="text/event-stream")
        return JSONResponse(completion(answer))

    @app.post("/v1/embeddings")
    def embeddings(asked: EmbeddingRequest, asker: Annotated[Caller, caller("ask")]) -> dict[str, Any]:
        """Vectors of unit length by the project's embedder."""
        texts = [asked.input] if isinstance(asked.input, str) else asked.input
        with server.queue.place():
            vectors = server.embedder.embed(texts)
        data = [
            {"object": "embedding", "index": place, "embedding": _vector(vector, asked.encoding_format)}
            for place, vector in enumerate(vectors)
        ]
        return {"object": "list", "data": data, "model": server.embedder.id, "usage": {"prompt_tokens": 0, "total_tokens": 0}}

    @app.post("/v1/feedback")
    def say(said: FeedbackRequest, asker: Annotated[Caller, caller("ask")]) -> dict[str, Any]:
        """Keeps what a person says of an answer; the same said twice is kept once."""
        given = asking.keep_feedback(server, said, asker)
        return {"id": given.id, "new": given.new}

    pages.add_pages(app, server)
    return app


def _question(server: Server, asked: ChatRequest) -> str:
    """The last user message. Raises Denied when there is none, or for a model that is not served."""
    if asked.model not in (server.project, *_systems(server)):
        raise Denied(404, "model_not_found", f"there is no model {asked.model!r}; ask {server.project!r}, the champion")
    said = [message.text for message in asked.messages if message.role == "user"]
    if not said or not said[-1].strip() or "\0" in said[-1]:
        raise Denied(400, "invalid_request_error", "the last user message is the question, and it is missing or empty")
    if getattr(asked, "tools", None) or getattr(asked, "functions", None):
        raise Denied(400, "invalid_request_error", "tools are not called here; leave them out")
    return said[-1]


def _systems(server: Server) -> list[str]:
    """Who may be asked by name."""
    canary = server.trying.canary
    return [server.champion.now.system.id, *([canary.trial.system_id] if canary else [])]


def _vector(vector: Any, form: str) -> Any:
    if form == "base64":
        return base64.b64encode(np.ascontiguousarray(vector, dtype="<f4").tobytes()).decode()
    return [float(number) for number in vector]


class Bounded:
    """Sends bodies away that are too long, before they are read, and gives each answer its headers. Plain ASGI: Starlette's own
    base for middleware takes a task and a queue for every request."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        refused = _too_long(Request(scope)) if scope["type"] == "http" else None
        await (refused or self._app)(scope, receive, sent)


def _too_long(request: Request) -> Response | None:
    length = request.headers.get("content-length", "")
    if request.method in ("POST", "PUT", "PATCH") and not length.isdigit():
        return _error(request, 411, "length_required", "send the body with a Content-Length")
    if length.isdigit() and int(length) > MOST_BYTES:
        return _error(request, 413, "too_large", f"a request has at most {MOST_BYTES:,} bytes")
    return None


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(Denied)
    async def denied(request: Request, error: Denied) -> Response:
        return _error(request, error.status, error.code, error.message, error.retry_after)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        first = jsonable_encoder(error.errors()[0]["loc"])
        where = ".".join(str(part) for part in first[1:]) or "the body"
        return _error(request, 400, "invalid_request_error", f"{where}: {error.errors()[0]['msg']}", param=where)

    @app.exception_handler(HTTPException)
    async def unknown(request: Request, error: HTTPException) -> Response:
        return _error(request, error.status_code, "invalid_request_error", str(error.detail))

    @app.exception_handler(CsiftError)
    async def unable(request: Request, error: CsiftError) -> Response:
        log.error("%s %s: %s", request.method, request.url.path, error)
        return _error(request, 503, "unavailable", "the answer cannot be made at the moment; the server's log says why", 5)

    @app.exception_handler(Exception)
    async def defect(request: Request, error: Exception) -> Response:
        """The server writes the traceback into its log."""
        return _error(request, 500, "internal_error", "csift has a defect here, told in the server's log; please report it")


def _error(
    request: Request, status: int, code: str, message: str, retry_after: int | None = None, param: str | None = None
) -> Response:
    if pages.is_page(request):
        return pages.problem(request, status, message, retry_after)
    kind = "invalid_request_error" if status < 500 else "server_error"
    body = {"error": {"message": message, "type": kind, "code": code, "param": param}}
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(body, status, headers)
