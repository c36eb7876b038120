"""Local HTTP servers that stand in for Bedrock and for an OpenAI-compatible server.

They take what the real ones take and refuse the rest: Bedrock's requests and answers are checked against botocore's own service
model, OpenAI's against the types of the openai package.
"""

import base64
import hashlib
import json
import os
import random
import re
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar, Self
from urllib.parse import unquote

import pytest


def bag_of_words(text: str, dim: int) -> list[float]:
    """Similar texts have similar vectors; not of unit length."""
    vector = [0.0] * dim
    for word in re.findall(r"\w+", text.lower()):
        vector[int(hashlib.sha256(word.encode()).hexdigest()[:8], 16) % dim] += 1.0
    return vector


def aws_environment(patch: pytest.MonkeyPatch) -> None:
    """Credentials and region for boto3 that reach nothing outside."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_REGION"):
        patch.delenv(name, raising=False)
    patch.setenv("AWS_ACCESS_KEY_ID", "test")
    patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    patch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    patch.setenv("AWS_CONFIG_FILE", os.devnull)
    patch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    patch.setenv("AWS_EC2_METADATA_DISABLED", "true")


class Refusal(Exception):
    """An answer other than 200."""

    def __init__(self, status: int, body: Any, headers: Mapping[str, str] = {}) -> None:
        self.status, self.body, self.headers = status, body, headers


class StandIn(ABC):
    """Serves in threads while it is entered. `faults` are given first, one a request; `requests` are the bodies it accepted."""

    def __init__(self) -> None:
        self.faults: deque[Refusal] = deque()
        self.requests: list[dict[str, Any]] = []
        self.together: threading.Barrier | None = None  # answers only when that many requests are here at once

    @abstractmethod
    def answer(self, path: str, headers: Mapping[str, str], body: Any) -> Any:
        """The answer to a request, or a Refusal."""

    def refuse(self, error: Refusal) -> None:
        """Makes the next request fail."""
        self.faults.append(error)

    def __enter__(self) -> Self:
        stand_in = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                try:
                    if stand_in.faults:
                        raise stand_in.faults.popleft()
                    content = stand_in.answer(self.path, dict(self.headers.items()), json.loads(body))
                    stand_in.requests.append(json.loads(body))
                    if stand_in.together:
                        stand_in.together.wait(timeout=20)
                    self._send(200, content, {})
                except Refusal as refusal:
                    self._send(refusal.status, refusal.body, refusal.headers)

            def _send(self, status: int, content: Any, headers: Mapping[str, str]) -> None:
                data = content.encode() if isinstance(content, str) else json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Type", "text/html" if isinstance(content, str) else "application/json")
                self.send_header("Content-Length", str(len(data)))
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def aws_refusal(status: int, code: str, message: str) -> Refusal:
    """An error as AWS's REST-JSON services send it."""
    return Refusal(status, {"message": message}, {"x-amzn-ErrorType": code})


class BedrockServer(StandIn):
    """InvokeModel for Titan V2, and Retrieve over `passages` (what AWS calls retrieval results, without scores)."""

    knowledge_base = "KB12345678"
    titan: ClassVar[set[str]] = {"inputText", "dimensions", "normalize", "embeddingTypes"}

    def __init__(self, passages: list[dict[str, Any]] | None = None, page: int = 100) -> None:
        super().__init__()
        self.passages = passages or []
        self.page = page
        self.scored = True
        self.titan_answer: dict[str, Any] | None = None  # in place of a vector

    def answer(self, path: str, headers: Mapping[str, str], body: Any) -> Any:
        if "/bedrock/aws4_request" not in headers.get("Authorization", ""):
            raise aws_refusal(403, "MissingAuthenticationTokenException", "Missing Authentication Token")
        if match := re.fullmatch(r"/model/([^/]+)/invoke", path):
            _validate("bedrock-runtime", "InvokeModel", {"modelId": unquote(match[1]), "body": b"{}"})
            return self._titan(unquote(match[1]), body)
        if match := re.fullmatch(r"/knowledgebases/([^/]+)/retrieve", path):
            _validate("bedrock-agent-runtime", "Retrieve", {"knowledgeBaseId": unquote(match[1]), **body})
            return self._retrieve(unquote(match[1]), body)
        raise aws_refusal(404, "UnknownOperationException", path)

    def _titan(self, model: str, body: dict[str, Any]) -> dict[str, Any]:
        if model != "amazon.titan-embed-text-v2:0":
            raise aws_refusal(400, "ValidationException", "The provided model identifier is invalid.")
        if extra := body.keys() - self.titan:
            raise aws_refusal(400, "ValidationException", f"Malformed input request: #: extraneous key [{min(extra)}]")
        text, dim = body.get("inputText"), body.get("dimensions", 1024)
        if not isinstance(text, str) or not 1 <= len(text) <= 50_000:
            length = len(text or "")
            raise aws_refusal(
                400, "ValidationException", f"Malformed input request:\n#/inputText: expected 1 to 50000 characters, got {length}"
            )
        if dim not in (256, 512, 1024) or not isinstance(body.get("normalize", True), bool):
            raise aws_refusal(400, "ValidationException", "Malformed input request: #/dimensions")
        return self.titan_answer or {"embedding": bag_of_words(text, dim), "inputTextTokenCount": len(text.split())}

    def _retrieve(self, knowledge_base: str, body: dict[str, Any]) -> dict[str, Any]:
        if knowledge_base != self.knowledge_base:
            raise aws_refusal(404, "ResourceNotFoundException", f"Knowledge base {knowledge_base} does not exist")
        question = set(re.findall(r"\w+", body["retrievalQuery"]["text"].lower()))

        def score(passage: dict[str, Any]) -> float:
            return len(question & set(re.findall(r"\w+", str(passage["content"].get("text")).lower()))) / 100

        ranked = sorted(self.passages, key=score, reverse=True)
        found = ranked[: body["retrievalConfiguration"]["vectorSearchConfiguration"]["numberOfResults"]]
        start = int(base64.b64decode(body["nextToken"])) if "nextToken" in body else 0
        page = found[start : start + self.page]
        scores = [{"score": score(passage)} if self.scored else {} for passage in page]
        answer: dict[str, Any] = {"retrievalResults": [row | passage for row, passage in zip(scores, page, strict=True)]}
        if start + self.page < len(found):
            answer["nextToken"] = base64.b64encode(str(start + self.page).encode()).decode()
        _validate("bedrock-agent-runtime", "Retrieve", answer, output=True)
        return answer


def _validate(service: str, operation: str, values: dict[str, Any], output: bool = False) -> None:
    """Refuses what botocore's model of the service does not allow; patterns and upper limits, which botocore skips, included."""
    model = _operation(service, operation)
    shape = model.output_shape if output else model.input_shape
    from botocore.validate import ParamValidator

    problems = ParamValidator().validate(values, shape).generate_report() or _beyond(values, shape, "")
    if output and problems:
        raise AssertionError(f"the stand-in answers what AWS would not: {problems}")
    if problems:
        raise aws_refusal(400, "ValidationException", problems)


_OPERATIONS: dict[tuple[str, str], Any] = {}


def _operation(service: str, operation: str) -> Any:
    import botocore.session

    if (service, operation) not in _OPERATIONS:
        _OPERATIONS[service, operation] = botocore.session.get_session().get_service_model(service).operation_model(operation)
    return _OPERATIONS[service, operation]


def _beyond(value: Any, shape: Any, name: str) -> str:
    limit, pattern = shape.metadata.get("max"), shape.metadata.get("pattern", "")
    size = value if isinstance(value, int | float) else len(value)
    if limit is not None and size > limit:
        return f"{name} = {value!r}: at most {limit}"
    if isinstance(value, str) and pattern and "\\P" not in pattern and not re.search(pattern, value):
        return f"{name} = {value!r}: does not match {pattern}"
    if shape.type_name == "structure" and isinstance(value, dict):
        return next((p for key, part in value.items() if (p := _beyond(part, shape.members[key], f"{name}.{key}"))), "")
    return ""


class OpenAIServer(StandIn):
    """/v1/embeddings of one model; rows come back in any order, as the protocol allows."""

    def __init__(self, key: str = "sk-secret", model: str = "embed-small", dim: int = 64) -> None:
        super().__init__()
        self.key, self.model, self.dim = key, model, dim
        self.rows_lost = 0

    def answer(self, path: str, headers: Mapping[str, str], body: Any) -> Any:
        from openai.types import CreateEmbeddingResponse, Embedding
        from openai.types.create_embedding_response import Usage
        from openai.types.embedding_create_params import EmbeddingCreateParams
        from pydantic import TypeAdapter, ValidationError

        if path != "/v1/embeddings":
            raise Refusal(404, "<html>no such page</html>")
        if headers.get("Authorization") != f"Bearer {self.key}":
            said = headers.get("Authorization")
            raise Refusal(401, {"error": {"message": f"Incorrect API key provided: {said}", "type": "invalid_request_error"}})
        try:
            TypeAdapter(EmbeddingCreateParams).validate_python(body)
        except ValidationError as error:
            raise Refusal(400, {"error": {"message": str(error), "type": "invalid_request_error"}}) from None
        if body["model"] != self.model:
            raise Refusal(404, {"error": {"message": f"The model `{body['model']}` does not exist", "type": "not_found"}})
        if body.get("encoding_format", "float") != "float":
            raise Refusal(400, {"error": {"message": "only float", "type": "invalid_request_error"}})
        rows = [
            Embedding(embedding=bag_of_words(text, self.dim), index=index, object="embedding")
            for index, text in enumerate(body["input"])
        ]
        random.Random(len(rows)).shuffle(rows)
        usage = Usage(prompt_tokens=1, total_tokens=1)
        return CreateEmbeddingResponse(data=rows[self.rows_lost :], model=self.model, object="list", usage=usage).model_dump()
