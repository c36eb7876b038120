"""Embedders behind a network: Titan on Bedrock, and any server with OpenAI's /v1/embeddings.

Not covered: booking their calls in the ledger. An index embeds only chunks that it does not hold yet.
"""

import json
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import SecretStr

from csift.exceptions import ConfigError, ModelError
from csift.retrieval.aws import aws_client, aws_error, in_parallel, one_line

TITAN = "amazon.titan-embed-text-v2:0"
TITAN_DIMENSIONS = (256, 512, 1024)
OPENAI_URL = "https://api.openai.com/v1"
# OpenAI takes 300,000 tokens a request (https://platform.openai.com/docs/api-reference/embeddings/create); other servers less.
REQUEST_TEXTS = 64
REQUEST_CHARACTERS = 200_000


class BedrockTitan:
    """Amazon Titan Text Embeddings V2, which takes one text a call; `concurrency` calls are in flight at once.

    https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-titan-embed-text.html
    Throttled and failed calls are retried by botocore, in its adaptive mode.
    """

    def __init__(self, dim: int = 1024, region: str | None = None, endpoint_url: str | None = None, concurrency: int = 8) -> None:
        if dim not in TITAN_DIMENSIONS:
            raise ConfigError(f"{TITAN} has no vectors of {dim} dimensions; take one of {TITAN_DIMENSIONS}")
        self.id = f"bedrock/{TITAN}@{dim}"
        self.dim = dim
        self._region = region
        self._endpoint_url = endpoint_url
        self._concurrency = concurrency

    @cached_property
    def _client(self) -> Any:
        return aws_client("bedrock-runtime", self._region, self._endpoint_url, self._concurrency)

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Texts → float32 [n, dim], unit length.

        Raises:
            ConfigError: there is no AWS region.
            ModelError: Bedrock refused, or its answer is not a vector; says what to do.
        """
        if not texts:
            return np.zeros((0, self.dim), dtype=np.float32)
        client = self._client  # made once, before threads ask for it
        return unit_rows(in_parallel(lambda text: self._ask(client, text), texts, self._concurrency), self.dim, TITAN)

    def _ask(self, client: Any, text: str) -> list[float]:
        from botocore.exceptions import BotoCoreError, ClientError

        body = json.dumps({"inputText": text, "dimensions": self.dim, "normalize": True})
        try:
            answer = client.invoke_model(modelId=TITAN, body=body, contentType="application/json", accept="application/json")
            vector = json.loads(answer["body"].read())["embedding"]
        except (ClientError, BotoCoreError) as error:
            raise ModelError(aws_error(f"embedding with {TITAN}", error)) from None
        except (ValueError, KeyError, TypeError) as error:
            raise ModelError(f"{TITAN} answered without a vector ({one_line(error)}); check the endpoint") from None
        return vector


class OpenAIEmbedder:
    """A model behind OpenAI's /v1/embeddings protocol: OpenAI, vLLM, Ollama, text-embeddings-inference, llama.cpp, ...

    Retries (429 with Retry-After, 5xx, lost connections) are the openai client's own.
    """

    def __init__(
        self,
        model: str,
        base_url: str | None = None,
        api_key: SecretStr | None = None,
        concurrency: int = 4,
        retries: int = 6,
    ) -> None:
        """Without `base_url` OpenAI's own server is asked.

        Raises:
            ConfigError: OpenAI's own server is meant and there is no key.
        """
        if base_url is None and api_key is None:
            raise ConfigError("OpenAI needs a key; set CSIFT_OPENAI_API_KEY, or CSIFT_OPENAI_BASE_URL for a server of your own")
        self.id = f"openai/{model}"
        self._model = model
        self._base_url = base_url or OPENAI_URL
        self._key = api_key.get_secret_value() if api_key else "none"  # the client insists on one; local servers ignore it
        self._concurrency = concurrency
        self._retries = retries

    @cached_property
    def dim(self) -> int:
        """Length of the vectors; the server is asked once, with one word."""
        return len(self._ask(["dimension"])[0])

    @cached_property
    def _client(self) -> Any:
        from openai import OpenAI

        return OpenAI(base_url=self._base_url, api_key=self._key, max_retries=self._retries, timeout=60)

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Texts → float32 [n, dim], unit length.

        Raises:
            ModelError: the server cannot be reached, refused, or its answer is not one vector a text; says what to do.
        """
        dim = self.dim  # also makes the client before threads ask for it
        answers = in_parallel(self._ask, list(_requests(texts)), self._concurrency)
        return unit_rows([vector for vectors in answers for vector in vectors], dim, self.id)

    def _ask(self, texts: list[str]) -> list[list[float]]:
        from openai import OpenAIError

        try:
            answer = self._client.embeddings.create(model=self._model, input=texts, encoding_format="float")
            vectors = {row.index: row.embedding for row in answer.data}
        except OpenAIError as error:
            raise ModelError(self._explain(error)) from None
        except (ValueError, AttributeError, TypeError) as error:
            raise ModelError(
                f"{self._base_url} does not answer as OpenAI's /embeddings does ({one_line(error)}); "
                "correct CSIFT_OPENAI_BASE_URL, which usually ends in /v1"
            ) from None
        if sorted(vectors) != list(range(len(texts))):
            raise ModelError(f"{self._base_url} gave {len(vectors)} vectors for {len(texts)} texts; check that server")
        return [vectors[index] for index in range(len(texts))]

    def _explain(self, error: Exception) -> str:
        status = getattr(error, "status_code", None)
        fix = {
            401: "set CSIFT_OPENAI_API_KEY",
            403: "this key may not use the model; choose another key or model",
            404: "correct retrieval.embedder or CSIFT_OPENAI_BASE_URL, which usually ends in /v1",
            413: "lower corpus.chunk_size",
            400: "correct retrieval.embedder, or lower corpus.chunk_size if the text is too long",
            429: "wait, or raise the quota",
            None: "start that server or correct CSIFT_OPENAI_BASE_URL",
        }.get(status, "try again later")
        said = one_line(error).replace(self._key, "***")
        return f"embedding with {self.id} at {self._base_url} failed: {said}; {fix}"


def _requests(texts: Sequence[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    for text in texts:
        if batch and (len(batch) == REQUEST_TEXTS or sum(map(len, batch)) + len(text) > REQUEST_CHARACTERS):
            yield batch
            batch = []
        batch.append(text)
    if batch:
        yield batch


def unit_rows(vectors: Sequence[Sequence[float]], dim: int, who: str) -> NDArray[np.float32]:
    """Vectors as float32 [n, dim] of unit length.

    Raises:
        ModelError: one has another length, is zero, or holds what is not a finite number.
    """
    if wrong := {len(vector) for vector in vectors} - {dim}:
        raise ModelError(f"{who} gave a vector of {wrong.pop()} dimensions where {dim} were expected; check the model behind it")
    rows = np.asarray(vectors, dtype=np.float64).reshape(-1, dim)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    if not np.all(np.isfinite(norms) & (norms > 0)):
        raise ModelError(f"{who} gave a vector that is zero or not finite; check the model behind it")
    return (rows / norms).astype(np.float32)
