"""One HTTP exchange with a model service: OpenAI chat completions (any compatible server) and Bedrock's Converse.

Each makes exactly one attempt; when to try again is csift.llm.remote's. Bedrock is asked by Converse alone, which is the same for
Claude, Llama, Mistral and Nova. Only text goes in and out.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Literal, Protocol

from csift.exceptions import ConfigError
from csift.interfaces import Messages
from csift.ledger import REFUSED, Call
from csift.settings import Settings

THROTTLED, UNAVAILABLE, UNREACHABLE = "throttled", "unavailable", "unreachable"
TIMEOUT, RESET, MALFORMED = "timeout", "reset", "malformed"
REJECTED, DENIED, UNKNOWN = "rejected", "denied", "unknown model"
PASSING = {THROTTLED, UNAVAILABLE, UNREACHABLE, TIMEOUT, RESET, MALFORMED}  # worth another try
MAYBE_PAID = {TIMEOUT, RESET, MALFORMED}  # the service may have answered, and then it charges
CONNECT_SECONDS = 10.0
HOTTEST = 1.0  # the highest temperature that Converse takes

BY_STATUS = {401: DENIED, 403: DENIED, 404: UNKNOWN, 408: TIMEOUT, 409: UNAVAILABLE, 425: UNAVAILABLE, 429: THROTTLED}
BY_EXCEPTION = {
    "ThrottlingException": THROTTLED,
    "ModelNotReadyException": UNAVAILABLE,
    "ModelTimeoutException": TIMEOUT,
    "ModelErrorException": UNAVAILABLE,
    "AccessDeniedException": DENIED,
    "UnrecognizedClientException": DENIED,
    "ExpiredTokenException": DENIED,
    "InvalidSignatureException": DENIED,
    "ResourceNotFoundException": UNKNOWN,
}

Finish = Literal["stop", "length", "refused"]
Part = Literal["temperature", "seed", "system", "max_tokens"]


class CallError(Exception):
    """An exchange that gave no answer. `retry_after` in seconds, when the service names it."""

    def __init__(self, kind: str, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = " ".join(message.split())[:300]
        self.retry_after = retry_after


@dataclass(frozen=True)
class Answer:
    """What came back. Tokens are None when the service does not count them."""

    text: str
    finish: Finish
    tokens_in: int | None
    tokens_out: int | None


class Service(Protocol):
    """Sends a call, without the parts that its model has refused to take. Raises CallError."""

    def send(self, call: Call, dropped: frozenset[Part]) -> Answer: ...


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that a Retry-After header asks to wait; it holds seconds or a date (RFC 9110, section 10.2.3)."""
    value = headers.get("retry-after", "").strip()
    if value.replace(".", "", 1).isdigit():
        return float(value)
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None


def refused_part(message: str) -> Part | None:
    """The part of a request that a model does not take, as the message of a 400 names it."""
    words = message.lower()
    if not any(word in words for word in ("support", "deprecated", "unrecognized", "unknown", "not allowed", "extra")):
        return None
    parts: tuple[Part, ...] = ("max_tokens", "temperature", "seed", "system")
    return next((part for part in parts if part in words), None)


def without_system(messages: Messages) -> Messages:
    """The chat with its system message put before the first question, for models that take none."""
    if messages[0]["role"] != "system":
        return messages
    system, first, *rest = messages
    return [{**first, "content": f"{system['content']}\n\n{first['content']}"}, *rest]


class OpenAIService:
    """`POST {base}/chat/completions`. By httpx, as the openai package's own client takes thrice the CPU time of a call."""

    def __init__(self, model: str, where: Settings, concurrency: int) -> None:
        import httpx

        base, key = where.openai_base_url or "https://api.openai.com/v1", where.openai_api_key
        if where.openai_base_url is None and key is None:
            raise ConfigError(f"openai/{model} needs CSIFT_OPENAI_API_KEY, or CSIFT_OPENAI_BASE_URL for a server of one's own")
        if not base.startswith(("http://", "https://")):
            raise ConfigError(f"CSIFT_OPENAI_BASE_URL is {base!r}; write http://host:port/v1 or https://...")
        self._model = model
        self._base = base.rstrip("/")
        self._client = httpx.Client(
            headers={"Authorization": f"Bearer {key.get_secret_value()}"} if key else {},
            timeout=httpx.Timeout(where.call_timeout, connect=min(CONNECT_SECONDS, where.call_timeout)),
            limits=httpx.Limits(max_connections=concurrency + 1, max_keepalive_connections=concurrency + 1),
        )

    def send(self, call: Call, dropped: frozenset[Part]) -> Answer:
        """One attempt."""
        body: dict[str, Any] = {
            "model": self._model,
            "messages": without_system(call.messages) if "system" in dropped else call.messages,
            # OpenAI's reasoning models take only the newer name, many other servers know only the older one
            "max_completion_tokens" if "max_tokens" in dropped else "max_tokens": call.params.max_new_tokens,
        }
        optional = {"temperature": call.params.temperature, "seed": call.params.seed}
        body |= {name: value for name, value in optional.items() if name not in dropped}
        return _read_completion(self._exchange("POST", "chat/completions", json=body))

    def models(self) -> list[str]:
        """The names of the models that the server offers to this key (`GET {base}/models`), which costs nothing.

        Raises:
            CallError: as `send` does.
        """
        try:
            return [str(one["id"]) for one in self._exchange("GET", "models").json()["data"]]
        except (ValueError, KeyError, TypeError) as error:
            raise CallError(MALFORMED, f"the answer is no list of models: {error!r}") from None

    def _exchange(self, method: str, path: str, **content: Any) -> Any:
        import httpx

        try:
            response = self._client.request(method, f"{self._base}/{path}", **content)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise CallError(UNREACHABLE, f"{type(error).__name__}: {error}") from None
        except httpx.TimeoutException as error:
            raise CallError(TIMEOUT, f"{type(error).__name__}: {error}") from None
        except httpx.RequestError as error:
            raise CallError(RESET, f"{type(error).__name__}: {error}") from None
        if response.status_code != 200:
            raise self._status_error(response)
        return response

    @staticmethod
    def _status_error(response: Any) -> CallError:
        """OpenAI's errors are in `error`, vLLM's at the top, those of a proxy in no JSON at all."""
        status, told = response.status_code, {"message": response.text}
        with suppress(ValueError, AttributeError):
            body = response.json()
            told = {"message": response.text, **(body["error"] if isinstance(body.get("error"), dict) else body)}
        code, kind = told.get("code"), BY_STATUS.get(status, UNAVAILABLE if status >= 500 else REJECTED)
        if code == "content_filter":
            kind = REFUSED
        elif code == "insufficient_quota":  # a 429 that waiting does not help
            kind = DENIED
        return CallError(kind, f"{status} {told['message']}", retry_after(response.headers))


def _read_completion(response: Any) -> Answer:
    try:
        body = response.json()
        choice, usage = body["choices"][0], body.get("usage") or {}
        message, reason = choice["message"], choice.get("finish_reason")
        refusal = message.get("refusal")
        finish: Finish = "length" if reason == "length" else "stop"
        if refusal or reason == "content_filter":
            finish = REFUSED
        return Answer(refusal or message.get("content") or "", finish, usage.get("prompt_tokens"), usage.get("completion_tokens"))
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise CallError(MALFORMED, f"the answer is no chat completion: {error!r}") from None


class BedrockService:
    """`Converse` by boto3, botocore's retries off; keys come from AWS's usual places."""

    def __init__(self, model: str, where: Settings, concurrency: int) -> None:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError

        self._model = model
        config = Config(
            retries={"total_max_attempts": 1, "mode": "standard"},
            connect_timeout=min(CONNECT_SECONDS, where.call_timeout),
            read_timeout=where.call_timeout,
            max_pool_connections=concurrency + 1,
        )
        try:
            self._client = boto3.client(
                "bedrock-runtime", region_name=where.aws_region, endpoint_url=where.aws_endpoint_url, config=config
            )
        except BotoCoreError as error:
            raise ConfigError(f"bedrock/{model}: {error} Set CSIFT_AWS_REGION and AWS's keys") from None

    def send(self, call: Call, dropped: frozenset[Part]) -> Answer:
        """One attempt. Converse has no seed."""
        from botocore import exceptions as boto
        from botocore.parsers import ResponseParserError

        messages = without_system(call.messages) if "system" in dropped else call.messages
        limits: dict[str, Any] = {"maxTokens": call.params.max_new_tokens}
        if "temperature" not in dropped:
            limits["temperature"] = min(call.params.temperature, HOTTEST)
        body: dict[str, Any] = {
            "modelId": self._model,
            "messages": [{"role": m["role"], "content": [{"text": m["content"]}]} for m in messages if m["role"] != "system"],
            "inferenceConfig": limits,
        }
        if system := [{"text": message["content"]} for message in messages if message["role"] == "system"]:
            body["system"] = system
        try:
            response = self._client.converse(**body)
        except boto.ClientError as error:
            raise self._status_error(error) from None
        except (boto.EndpointConnectionError, boto.ConnectTimeoutError, boto.ProxyConnectionError) as error:
            raise CallError(UNREACHABLE, str(error)) from None
        except boto.ReadTimeoutError as error:
            raise CallError(TIMEOUT, str(error)) from None
        except boto.HTTPClientError as error:
            raise CallError(RESET, str(error)) from None
        except (boto.NoCredentialsError, boto.PartialCredentialsError, boto.TokenRetrievalError, boto.SSOError) as error:
            raise CallError(DENIED, str(error)) from None
        except (ResponseParserError, AttributeError) as error:  # the latter for JSON that is no object
            raise CallError(MALFORMED, str(error)) from None
        return _read_converse(response)

    @staticmethod
    def _status_error(error: Any) -> CallError:
        name, message = error.response["Error"].get("Code", ""), error.response["Error"].get("Message", "")
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        by_status = BY_STATUS.get(status, UNAVAILABLE if status >= 500 else REJECTED)
        kind = UNKNOWN if "model identifier is invalid" in message else BY_EXCEPTION.get(name, by_status)
        headers = error.response["ResponseMetadata"].get("HTTPHeaders", {})
        return CallError(kind, f"{status} {name}: {message}", retry_after(headers))


def _read_converse(response: Any) -> Answer:
    try:
        blocks = response["output"]["message"]["content"]
        reason = response["stopReason"]
        usage = response.get("usage", {})
        finish: Finish = "length" if reason in {"max_tokens", "model_context_window_exceeded"} else "stop"
        if reason in {"content_filtered", "guardrail_intervened"}:
            finish = REFUSED
        return Answer(
            text="".join(block.get("text", "") for block in blocks),
            finish=finish,
            tokens_in=usage.get("inputTokens"),
            tokens_out=usage.get("outputTokens"),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise CallError(MALFORMED, f"the answer is no Converse response: {error!r}") from None
