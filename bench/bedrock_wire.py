"""REST-JSON over HTTP as botocore's models of `bedrock` and `bedrock-runtime` have it: requests are read and checked by them,
answers too.

Read are URI, query and JSON body. Checked are unknown and missing fields, types, lengths, patterns and enumerations.
"""

import json
import re
import socket
import struct
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote

NO_LINGER = struct.pack("ii", 1, 0)  # a socket closed with it sends a reset instead of an orderly end

Params = dict[str, Any]


class Refusal(Exception):
    """An exception of Bedrock's service model, by its name."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


@lru_cache(maxsize=1)
def operations() -> dict[str, Any]:
    """botocore's models of the operations, by name."""
    from botocore.loaders import Loader
    from botocore.model import ServiceModel

    services = [ServiceModel(Loader().load_service_model(name, "service-2")) for name in ("bedrock", "bedrock-runtime")]
    return {name: service.operation_model(name) for service in services for name in service.operation_names}


@lru_cache(maxsize=1)
def _routes() -> list[tuple[str, re.Pattern[str], str]]:
    found = []
    for name, model in operations().items():
        http = model.http
        pattern = re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+)", re.escape(http["requestUri"]))
        found.append((http["method"], re.compile(pattern), name))
    return found


def read(method: str, target: str, body: bytes) -> tuple[str, Params]:
    """The operation and its parameters, from URI, query and body. Raises Refusal for what does not fit the service model."""
    path, _, query = target.partition("?")
    for verb, pattern, name in _routes():
        if verb == method and (found := pattern.fullmatch(path)):
            params = _params(operations()[name].input_shape, found.groupdict(), query, body)
            if problems := misfits(params, name):
                raise Refusal("ValidationException", f"{len(problems)} validation errors detected: {'; '.join(problems)}")
            return name, params
    raise Refusal("UnknownOperationException", f"there is no operation {method} {path}")


def _params(shape: Any, labels: Mapping[str, str], query: str, body: bytes) -> Params:
    try:
        params = json.loads(body) if body else {}
    except ValueError as error:
        raise Refusal("ValidationException", f"The body is no JSON: {error}") from None
    if not isinstance(params, dict):
        raise Refusal("ValidationException", "The body is no JSON object.")
    wire = {
        (member.serialization.get("location"), member.serialization.get("name")): key for key, member in shape.members.items()
    }
    for label, value in labels.items():
        params[wire["uri", label]] = unquote(value)
    for name, values in parse_qs(query, keep_blank_values=True).items():
        key = wire.get(("querystring", name), name)
        whole = key in shape.members and shape.members[key].type_name == "integer" and values[0].isdigit()
        params[key] = int(values[0]) if whole else values[0]
    return params


def misfits(params: Any, operation: str, output: bool = False) -> list[str]:
    """What does not fit an operation's shape: botocore's own check (fields, types, least lengths), and patterns, enumerations and
    greatest lengths, which botocore leaves to the service."""
    from botocore.validate import ParamValidator

    model = operations()[operation]
    shape = model.output_shape if output else model.input_shape
    report = ParamValidator().validate(params, shape)
    return [report.generate_report()] if report.has_errors() else list(_unfit(params, shape, ""))


def _unfit(value: Any, shape: Any, name: str) -> Iterator[str]:
    if shape.type_name == "structure":
        for key, part in value.items():
            yield from _unfit(part, shape.members[key], f"{name}.{key}")
    elif shape.type_name == "list":
        for index, part in enumerate(value):
            yield from _unfit(part, shape.member, f"{name}[{index}]")
    elif shape.type_name == "map":
        for key, part in value.items():
            yield from _unfit(part, shape.value, f"{name}.{key}")
    else:
        yield from _unfit_scalar(value, shape, name)
    most = shape.metadata.get("max")
    size = value if shape.type_name in {"integer", "float"} else len(value) if isinstance(value, str | list) else 0
    if most is not None and size > most:
        yield f"{name} is longer or larger than {most}"


def _unfit_scalar(value: Any, shape: Any, name: str) -> Iterator[str]:
    pattern, enum = shape.metadata.get("pattern"), shape.metadata.get("enum")
    if pattern and not re.fullmatch(pattern, str(value)):
        yield f"Value {value!r} at {name} failed to satisfy constraint: Member must satisfy regular expression pattern: {pattern}"
    if enum and value not in enum:
        yield f"Value {value!r} at {name} failed to satisfy constraint: Member must satisfy enum value set: {enum}"


class Wire(ThreadingHTTPServer):
    """Serves `answer`, which gets operation and parameters and returns the answer, or None to cut the connection instead."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, port: int, answer: Callable[[str, Params], Params | None]) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.answer = answer
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def shutdown_request(self, request: Any) -> None:
        """Closes a connection; one without linger is cut, which an orderly shutdown before it would prevent."""
        if request.fileno() >= 0 and request.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8) == NO_LINGER:
            self.close_request(request)
        else:
            super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed is no error of the server."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Wire

    def log_message(self, *_: object) -> None:
        """Nothing is printed for a request."""

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        try:
            operation, params = self._read(body)
            made = self.server.answer(operation, params)
        except Refusal as refusal:
            errors = (shape for model in operations().values() for shape in model.error_shapes)
            shapes = {shape.name: shape.metadata["error"]["httpStatusCode"] for shape in errors}
            self._send(shapes.get(refusal.name, 403), {"message": str(refusal)}, {"x-amzn-ErrorType": f"{refusal.name}:"})
            return
        if made is None:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
            self.close_connection = True
            return
        if problems := misfits(made, operation, output=True):
            raise AssertionError(f"the stand-in's answer to {operation} does not fit: {problems}")
        self._send(operations()[operation].http.get("responseCode", 200), made, {})

    def _read(self, body: bytes) -> tuple[str, Params]:
        if not self.headers.get("Authorization", "").startswith("AWS4-HMAC-SHA256 "):
            raise Refusal("MissingAuthenticationTokenException", "The request is not signed.")
        return read(self.command, self.path, body)

    do_GET = do_POST = do_PATCH = do_DELETE = _serve

    def _send(self, status: int, content: Params, headers: Mapping[str, str]) -> None:
        data = json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(data)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)
