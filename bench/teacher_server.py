"""A stand-in teacher: an HTTP server that speaks OpenAI chat completions and Bedrock Converse, answers by a script, and counts.

    python bench/teacher_server.py [--latency 0.2] [--port 0]

Run as a command it answers every prompt with a fixed text after the latency, and prints its address. In a program:

    with TeacherServer(lambda prompt, time: Answer(prompt.upper()), latency=0.2) as server:
        server.openai_url, server.aws_url

The script gets the last user message and how often that message has come before, and returns an Answer or a fault. Requests are
checked as the services check them: with the openai package's own parameter types, and with botocore's model of bedrock-runtime;
what does not fit is answered with 400. Its answers are checked against the same models.
"""

import argparse
import json
import socket
import struct
import sys
import threading
import time
import urllib.parse
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Answer:
    """A text. `finish` in OpenAI's words: stop, length, content_filter; tokens are counted as words unless given."""

    text: str
    finish: str = "stop"
    tokens_in: int | None = None
    tokens_out: int | None = None


@dataclass(frozen=True)
class Refusal:
    """The model says in the field made for it that it will not answer (OpenAI), or a guardrail does (Bedrock)."""

    text: str = "I cannot help with that."


@dataclass(frozen=True)
class Error:
    """An HTTP error. `code` is OpenAI's error code, and Bedrock's exception name without its ending."""

    status: int
    code: str = ""
    message: str = "refused by the script"
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Hang:
    """Nothing for so many seconds, then the connection ends."""

    seconds: float


@dataclass(frozen=True)
class Reset:
    """The connection is cut instead of an answer."""


@dataclass(frozen=True)
class Malformed:
    """This body, which is none that the protocol knows."""

    body: bytes = b'{"choices": [{"mess'
    status: int = 200


Reply = Answer | Refusal | Error | Hang | Reset | Malformed
Script = Callable[[str, int], Reply]

NO_LINGER = struct.pack("ii", 1, 0)  # a socket closed with it sends a reset instead of an orderly end
STOP_REASONS = {"stop": "end_turn", "length": "max_tokens", "content_filter": "content_filtered"}
BEDROCK_ERRORS = {
    400: "ValidationException",
    401: "UnrecognizedClientException",
    403: "AccessDeniedException",
    404: "ResourceNotFoundException",
    408: "ModelTimeoutException",
    429: "ThrottlingException",
    500: "InternalServerException",
    503: "ServiceUnavailableException",
}


def throttled(retry_after: str | None = None) -> Error:
    """429, with the header in seconds or as an HTTP date when given."""
    headers = {} if retry_after is None else {"Retry-After": retry_after}
    return Error(429, "rate_limit_exceeded", "too many requests", headers)


@dataclass(frozen=True)
class Received:
    """A request that fitted the protocol. `at` is by time.monotonic(); `body` as it came."""

    protocol: str
    model: str
    prompt: str
    body: dict[str, Any]
    at: float


class TeacherServer:
    """Serves on a thread of its own until closed; `received` are the requests in the order they came."""

    def __init__(self, script: Script, latency: float = 0.0, models: tuple[str, ...] = (), port: int = 0) -> None:
        self.script = script
        self.latency = latency
        self.models = models  # the only models there are; empty: any
        self.received: list[Received] = []
        self.answered: Counter[str] = Counter()  # answers fully sent, by prompt
        self.most_at_once = 0
        self._at_once = 0
        self._asked: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._http = _Http(("127.0.0.1", port), _Handler)
        self._http.teacher = self
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self.aws_url = f"http://127.0.0.1:{self._http.server_address[1]}"
        self.openai_url = f"{self.aws_url}/v1"

    def __enter__(self) -> "TeacherServer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._http.shutdown()
        self._http.server_close()
        self._http.hang_up()

    def asked(self) -> Counter[str]:
        """How often each prompt was asked."""
        with self._lock:
            return Counter(self._asked)

    def _reply(self, request: Received) -> Reply:
        with self._lock:
            before = self._asked[request.prompt]
            self._asked[request.prompt] += 1
            self.received.append(request)
        if self.models and request.model not in self.models:
            return Error(404, "model_not_found", f"The model `{request.model}` does not exist")
        return self.script(request.prompt, before)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        with self._lock:
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        yield
        with self._lock:
            self._at_once -= 1


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 256
    teacher: TeacherServer

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.connections: set[socket.socket] = set()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Remembers the connection, which clients keep open."""
        self.connections.add(request)
        super().process_request(request, client_address)

    def close_request(self, request: Any) -> None:
        """Forgets it."""
        self.connections.discard(request)
        super().close_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed is no error of the server."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)

    def hang_up(self) -> None:
        """Ends all connections, and with them their threads."""
        for connection in list(self.connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def shutdown_request(self, request: Any) -> None:
        """Closes a connection; one without linger is cut, which an orderly shutdown before it would prevent."""
        if request.fileno() >= 0 and request.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8) == NO_LINGER:
            self.close_request(request)
        else:
            super().shutdown_request(request)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Http

    def log_message(self, *_: object) -> None:
        """Nothing is printed for a request."""

    def do_POST(self) -> None:
        began = time.monotonic()
        teacher = self.server.teacher
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        with teacher._counted():
            request, reply = self._replied(urllib.parse.unquote(self.path), body)
            openai = self.path.startswith("/v1/")
            sent = None if isinstance(reply, Hang | Reset) else self._written(openai, request, reply)
            seconds = reply.seconds if isinstance(reply, Hang) else teacher.latency
            teacher._ended.wait(max(0.0, began + seconds - time.monotonic()))
        if sent is None:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
            self.close_connection = True
            return
        try:
            self.wfile.write(sent)  # in one packet
        except ConnectionError:  # the client did not wait
            self.close_connection = True
            return
        if isinstance(reply, Answer | Refusal):
            with teacher._lock:
                teacher.answered[request.prompt] += 1

    def _replied(self, path: str, body: bytes) -> tuple[Received, Reply]:
        nobody = Received("", "", "", {}, 0.0)
        try:
            if path == "/v1/chat/completions":
                request = read_chat(json.loads(body))
            elif path.startswith("/model/") and path.endswith("/converse"):
                request = read_converse(path.removeprefix("/model/").removesuffix("/converse"), json.loads(body))
            else:
                return nobody, Error(404, "not_found", f"there is nothing at {path}")
        except ValueError as error:
            return nobody, Error(400, "invalid_request_error", str(error))
        return request, self.server.teacher._reply(request)

    def _written(self, openai: bool, request: Received, reply: Answer | Refusal | Error | Malformed) -> bytes:
        if isinstance(reply, Malformed):
            return _http(reply.status, reply.body, {})
        if isinstance(reply, Answer | Refusal):
            made = write_chat(request, reply) if openai else write_converse(request, reply)
            return _http(200, json.dumps(made).encode(), {})
        if openai:
            body = {"error": {"message": reply.message, "type": "error", "param": None, "code": reply.code}}
            return _http(reply.status, json.dumps(body).encode(), reply.headers)
        name = {"x-amzn-ErrorType": f"{BEDROCK_ERRORS.get(reply.status, 'InternalServerException')}:http://internal/"}
        return _http(reply.status, json.dumps({"message": reply.message}).encode(), {**reply.headers, **name})


def _http(status: int, body: bytes, headers: dict[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status} x", "Content-Type: application/json", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


@lru_cache(maxsize=1)
def _chat_types() -> tuple[Any, Any, Any, frozenset[str]]:
    from openai.types.chat import ChatCompletion, ChatCompletionMessageParam
    from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming
    from pydantic import TypeAdapter

    known = frozenset(CompletionCreateParamsNonStreaming.__required_keys__ | CompletionCreateParamsNonStreaming.__optional_keys__)
    params, messages = TypeAdapter(CompletionCreateParamsNonStreaming), TypeAdapter(list[ChatCompletionMessageParam])
    return params, messages, ChatCompletion, known


def read_chat(body: dict[str, Any]) -> Received:
    """A chat completions request. Raises ValueError when OpenAI would refuse it."""
    params, messages, _, known = _chat_types()
    if unknown := set(body) - known:
        raise ValueError(f"Unrecognized request arguments: {sorted(unknown)}")
    params.validate_python(body)
    messages.validate_python(body["messages"])  # an Iterable in the package's type, which pydantic does not look into
    asked = [message["content"] for message in body["messages"] if message["role"] == "user"]
    return Received("openai", body["model"], asked[-1], body, time.monotonic())


def write_chat(request: Received, reply: Answer | Refusal) -> dict[str, Any]:
    """The reply as a chat completion."""
    answer = reply if isinstance(reply, Answer) else Answer("")
    message = {
        "role": "assistant",
        "content": answer.text if isinstance(reply, Answer) else None,
        "refusal": reply.text if isinstance(reply, Refusal) else None,
    }
    tokens_in, tokens_out = _tokens(request, answer)
    made = {
        "id": f"chatcmpl-{len(request.prompt)}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": request.model,
        "choices": [{"index": 0, "message": message, "finish_reason": answer.finish, "logprobs": None}],
        "usage": {"prompt_tokens": tokens_in, "completion_tokens": tokens_out, "total_tokens": tokens_in + tokens_out},
    }
    _chat_types()[2].model_validate(made)
    return made


@lru_cache(maxsize=1)
def _converse_shapes() -> tuple[Any, Any, Any]:
    from botocore.loaders import Loader
    from botocore.model import ServiceModel
    from botocore.validate import ParamValidator

    operation = ServiceModel(Loader().load_service_model("bedrock-runtime", "service-2")).operation_model("Converse")
    return ParamValidator(), operation.input_shape, operation.output_shape


def read_converse(model: str, body: dict[str, Any]) -> Received:
    """A Converse request. Raises ValueError when Bedrock would refuse it."""
    validator, shape, _ = _converse_shapes()
    report = validator.validate({"modelId": model, **body}, shape)
    if report.has_errors():
        raise ValueError(report.generate_report())
    roles = [message["role"] for message in body["messages"]]
    if roles != ["user", "assistant"] * (len(roles) // 2) + ["user"]:
        raise ValueError("A conversation must alternate between user and assistant roles, and begin and end with user")
    if any(not block.get("text", " ").strip() for message in body["messages"] for block in message["content"]):
        raise ValueError("The text field in the ContentBlock object is blank")
    return Received("bedrock", model, body["messages"][-1]["content"][0]["text"], body, time.monotonic())


def write_converse(request: Received, reply: Answer | Refusal) -> dict[str, Any]:
    """The reply as Converse gives it."""
    answer = reply if isinstance(reply, Answer) else Answer(reply.text)
    reason = STOP_REASONS[answer.finish] if isinstance(reply, Answer) else "guardrail_intervened"
    tokens_in, tokens_out = _tokens(request, answer)
    made = {
        "output": {"message": {"role": "assistant", "content": [{"text": answer.text}]}},
        "stopReason": reason,
        "usage": {"inputTokens": tokens_in, "outputTokens": tokens_out, "totalTokens": tokens_in + tokens_out},
        "metrics": {"latencyMs": 1},
    }
    validator, _, shape = _converse_shapes()
    assert not validator.validate(made, shape).has_errors()
    return made


def _tokens(request: Received, answer: Answer) -> tuple[int, int]:
    counted = len(request.prompt.split()) if answer.tokens_in is None else answer.tokens_in
    return counted, len(answer.text.split()) if answer.tokens_out is None else answer.tokens_out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--latency", type=float, default=0.2, help="seconds before each answer")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--text", default="[[ ## answer ## ]]\n42 months\n\n[[ ## completed ## ]]", help="what it answers")
    args = parser.parse_args()
    with TeacherServer(lambda prompt, time: Answer(args.text), args.latency, port=args.port) as server:
        print(server.aws_url, flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
