"""MiniLM, Titan on Bedrock and OpenAI-compatible servers."""

import re
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, ReadTimeoutError
from embedding_servers import BedrockServer, OpenAIServer, Refusal, aws_environment, aws_refusal, bag_of_words
from pydantic import SecretStr

from csift.exceptions import ConfigError, ModelError
from csift.models import minilm_folder
from csift.retrieval import BedrockTitan, MiniLM, OpenAIEmbedder, embedder
from csift.retrieval.aws import aws_error
from csift.retrieval.remote import REQUEST_CHARACTERS, REQUEST_TEXTS, unit_rows

TEXTS = [
    "How heavy is the compressor?",
    "What does the compressor weigh?",
    "Is there a discount for students?",
    "The supplier shall indemnify the customer against all losses arising from a breach of this agreement.",
    "The compressor weighs 40 kg. " * 80,  # longer than the model's 256 tokens
    "",
    "Größe: 40 µm — naïve façade 東京 🙂",
    *(f"Clause {i}: " + "notice must be given in writing. " * i for i in range(12)),
]


# --- MiniLM ---------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def exact() -> MiniLM:
    """MiniLM in float32."""
    return MiniLM(1, "float32")


@pytest.fixture(scope="module")
def fast() -> MiniLM:
    """MiniLM in bfloat16."""
    return MiniLM(1, "bfloat16")


def test_in_float32_the_vectors_are_those_of_sentence_transformers(exact: MiniLM) -> None:
    from sentence_transformers import SentenceTransformer

    peer = SentenceTransformer(str(minilm_folder()), device="cpu", local_files_only=True)
    expected = peer.encode(TEXTS, normalize_embeddings=True, show_progress_bar=False)
    np.testing.assert_allclose(exact.embed(TEXTS), expected, atol=2e-6)


def test_in_bfloat16_the_vectors_are_nearly_the_same_and_the_id_says_so(exact: MiniLM, fast: MiniLM) -> None:
    cosines = np.sum(exact.embed(TEXTS) * fast.embed(TEXTS), axis=1)
    assert 0.999 < cosines.min() < 0.99999
    assert (exact.id, fast.id) == ("all-minilm-l6-v2-float32", "all-minilm-l6-v2-bfloat16")


def test_a_text_has_one_vector_whatever_is_embedded_with_it(exact: MiniLM, fast: MiniLM) -> None:
    for model, tolerance in ((exact, 1e-6), (fast, 0)):
        together = model.embed(TEXTS)
        np.testing.assert_allclose(model.embed(TEXTS[::-1])[::-1], together, rtol=0, atol=tolerance)
        np.testing.assert_allclose(np.concatenate([model.embed([text]) for text in TEXTS]), together, rtol=0, atol=tolerance)


def test_minilm_puts_a_paraphrase_near_and_gives_unit_vectors(fast: MiniLM) -> None:
    question, paraphrase, other = fast.embed(TEXTS[:3])
    assert question.dtype == np.float32
    assert question.shape == (MiniLM.dim,)
    assert np.linalg.norm(question) == pytest.approx(1.0, abs=1e-5)
    assert question @ paraphrase > 0.7 > 0.3 > question @ other


def test_no_text_loads_no_model() -> None:
    model = MiniLM(1)
    assert model.embed([]).shape == (0, MiniLM.dim)
    assert "_model" not in vars(model)


# --- Titan ----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def bedrock(monkeypatch: pytest.MonkeyPatch) -> Iterator[BedrockServer]:
    """A server that speaks Bedrock's InvokeModel."""
    aws_environment(monkeypatch)
    with BedrockServer() as server:
        yield server


def unit(text: str, dim: int) -> np.ndarray:
    """What the stand-ins' vector of a text is after scaling."""
    vector = np.array(bag_of_words(text, dim))
    return vector / np.linalg.norm(vector)


def test_titan_gives_unit_vectors_in_the_order_of_the_texts(bedrock: BedrockServer) -> None:
    texts = [f"paragraph {i} of {i * 7}" for i in range(30)]
    titan = BedrockTitan(256, endpoint_url=bedrock.url)
    vectors = titan.embed(texts)
    assert (vectors.dtype, titan.id) == (np.float32, "bedrock/amazon.titan-embed-text-v2:0@256")
    np.testing.assert_allclose(vectors, [unit(text, 256) for text in texts], atol=1e-6)
    assert {request["dimensions"] for request in bedrock.requests} == {256}
    assert titan.embed([]).shape == (0, 256)


def test_titan_asks_as_many_at_once_as_allowed(bedrock: BedrockServer) -> None:
    bedrock.together = threading.Barrier(6)
    assert len(BedrockTitan(256, endpoint_url=bedrock.url, concurrency=6).embed([f"text {i}" for i in range(12)])) == 12


def test_a_throttled_titan_is_asked_again(bedrock: BedrockServer) -> None:
    bedrock.refuse(aws_refusal(429, "ThrottlingException", "Too many requests, please wait before trying again."))
    assert len(BedrockTitan(256, endpoint_url=bedrock.url, concurrency=1).embed(["a text"])) == 1


def test_a_refused_titan_says_what_to_do_and_is_not_asked_for_the_rest(bedrock: BedrockServer) -> None:
    for _ in range(300):
        bedrock.refuse(aws_refusal(403, "AccessDeniedException", "You don't have access to the model."))
    with pytest.raises(ModelError, match=r"AccessDeniedException: You don't have access to the model\.; grant") as raised:
        BedrockTitan(256, endpoint_url=bedrock.url, concurrency=2).embed([f"text {i}" for i in range(300)])
    assert "\n" not in str(raised.value)
    assert len(bedrock.faults) > 0


def test_a_text_that_titan_cannot_take_is_told_in_one_line(bedrock: BedrockServer) -> None:
    with pytest.raises(ModelError, match=r"got 50001; .*lower corpus.chunk_size") as raised:
        BedrockTitan(256, endpoint_url=bedrock.url).embed(["x" * 50_001])
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"embedding": [1.0] * 8}, "8 dimensions where 256 were expected"),
        ({"embedding": [0.0] * 256}, "zero or not finite"),
        ({"message": "hello"}, "answered without a vector"),
    ],
)
def test_an_answer_that_is_no_vector_is_an_error(bedrock: BedrockServer, answer: dict[str, Any], message: str) -> None:
    bedrock.titan_answer = answer
    with pytest.raises(ModelError, match=message):
        BedrockTitan(256, endpoint_url=bedrock.url).embed(["a text"])


def test_without_credentials_or_region_the_setting_is_named(bedrock: BedrockServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(ModelError, match="set AWS_ACCESS_KEY_ID"):
        BedrockTitan(256, endpoint_url=bedrock.url).embed(["a text"])
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    with pytest.raises(ConfigError, match="CSIFT_AWS_REGION"):
        BedrockTitan(256).embed(["a text"])


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            ReadTimeoutError(endpoint_url="https://bedrock"),
            'ReadTimeoutError: Read timeout on endpoint URL: "https://bedrock"; try',
        ),
        (EndpointConnectionError(endpoint_url="https://bedrock"), "Could not connect.*; check the network, CSIFT_AWS_REGION"),
        (ClientError({"Error": {"Code": "ExpiredTokenException", "Message": "expired"}}, "Retrieve"), "expired; renew"),
        (ClientError({}, "Retrieve"), "ClientError: An error occurred .*; try again later"),
    ],
)
def test_whatever_botocore_raises_is_told(error: Exception, message: str) -> None:
    assert re.match(f"asking failed: .*{message}", aws_error("asking", error))


def test_titan_has_three_sizes() -> None:
    with pytest.raises(ConfigError, match="no vectors of 300 dimensions"):
        BedrockTitan(300)


# --- OpenAI-compatible servers --------------------------------------------------------------------------------------------


@pytest.fixture
def openai() -> Iterator[OpenAIServer]:
    """A server that speaks /v1/embeddings."""
    with OpenAIServer() as server:
        yield server


def client(server: OpenAIServer, model: str = "embed-small", key: str = "sk-secret", retries: int = 2) -> OpenAIEmbedder:
    """An embedder of that server."""
    return OpenAIEmbedder(model, f"{server.url}/v1", SecretStr(key), retries=retries)


def test_rows_are_put_in_order_and_scaled_to_unit_length(openai: OpenAIServer) -> None:
    texts = [f"paragraph {i} of {i * 7}" for i in range(2 * REQUEST_TEXTS + 5)]
    served = client(openai)
    np.testing.assert_allclose(served.embed(texts), [unit(text, 64) for text in texts], atol=1e-6)
    assert (served.id, served.dim) == ("openai/embed-small", 64)
    assert sorted(len(request["input"]) for request in openai.requests) == [1, 5, REQUEST_TEXTS, REQUEST_TEXTS]
    assert served.embed([]).shape == (0, 64)


def test_long_texts_are_sent_in_smaller_requests(openai: OpenAIServer) -> None:
    client(openai).embed(["word " * (REQUEST_CHARACTERS // 12)] * 5)
    assert sorted(len(request["input"]) for request in openai.requests) == [1, 1, 2, 2]


def test_a_busy_server_is_asked_again(openai: OpenAIServer) -> None:
    openai.refuse(Refusal(429, {"error": {"message": "slow down"}}, {"retry-after-ms": "1"}))
    openai.refuse(Refusal(503, {"error": {"message": "overloaded"}}, {"retry-after-ms": "1"}))
    assert len(client(openai).embed(["a text"])) == 1


def test_a_wrong_key_is_told_without_showing_it(openai: OpenAIServer) -> None:
    with pytest.raises(ModelError, match=r"Incorrect API key.*set CSIFT_OPENAI_API_KEY") as raised:
        client(openai, key="sk-wrong").embed(["a text"])
    assert "sk-wrong" not in str(raised.value)


@pytest.mark.parametrize(
    ("model", "path", "message"),
    [
        ("embed-huge", "/v1", r"The model `embed-huge` does not exist.*correct retrieval.embedder"),
        ("embed-small", "", r"no such page.*usually ends in /v1"),
    ],
)
def test_what_the_server_does_not_have_is_named(openai: OpenAIServer, model: str, path: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        OpenAIEmbedder(model, openai.url + path, SecretStr(openai.key)).embed(["a text"])


def test_a_page_in_place_of_vectors_is_an_error(openai: OpenAIServer) -> None:
    openai.refuse(Refusal(200, "<html>Welcome</html>"))
    with pytest.raises(ModelError, match=r"does not answer as OpenAI's /embeddings does"):
        client(openai).embed(["a text"])


def test_a_vector_that_is_lost_is_an_error(openai: OpenAIServer) -> None:
    served = client(openai)
    assert served.dim == 64
    openai.rows_lost = 1
    with pytest.raises(ModelError, match="gave 2 vectors for 3 texts"):
        served.embed(["one", "two", "three"])


def test_vectors_that_change_their_size_are_an_error(openai: OpenAIServer) -> None:
    served = client(openai)
    served.embed(["a text"])
    openai.dim = 32
    with pytest.raises(ModelError, match="32 dimensions where 64 were expected"):
        served.embed(["a text"])


def test_a_server_that_is_not_there_is_named() -> None:
    with OpenAIServer() as server:
        gone = server.url
    with pytest.raises(ModelError, match=rf"{gone}/v1 failed: .*start that server or correct CSIFT_OPENAI_BASE_URL"):
        OpenAIEmbedder("embed-small", f"{gone}/v1", retries=0).embed(["a text"])


# --- the choice -----------------------------------------------------------------------------------------------------------


def test_a_spec_names_its_embedder() -> None:
    local = embedder("minilm", threads=1)
    assert isinstance(local, MiniLM)
    assert embedder("minilm", threads=1) is local
    titan = embedder("bedrock/amazon.titan-embed-text-v2:0", threads=1)
    assert (titan.id, titan.dim) == ("bedrock/amazon.titan-embed-text-v2:0@1024", 1024)
    named = embedder("openai/BAAI/bge-m3", threads=1, openai_base_url="http://127.0.0.1:1/v1")
    assert named.id == "openai/BAAI/bge-m3"


@pytest.mark.parametrize("spec", ["", "MiniLM", "openai/", "bedrock/anthropic.claude-v2", "minilm/x"])
def test_an_unknown_spec_names_the_choices(spec: str) -> None:
    with pytest.raises(ConfigError, match=r"minilm, bedrock/amazon.titan-embed-text-v2:0 or openai/<model>"):
        embedder(spec, threads=1)


def test_openai_itself_needs_a_key() -> None:
    with pytest.raises(ConfigError, match="CSIFT_OPENAI_API_KEY"):
        embedder("openai/text-embedding-3-small", threads=1)


@pytest.mark.parametrize("vector", [[0.0, 0.0], [float("nan"), 1.0], [float("inf"), 1.0], [1.0], [1.0, 0.0, 0.0]])
def test_only_finite_vectors_of_the_right_size_pass(vector: list[float]) -> None:
    with pytest.raises(ModelError, match="check the model behind it"):
        unit_rows([[3.0, 4.0], vector], 2, "a server")
    np.testing.assert_allclose(unit_rows([[3.0, 4.0]], 2, "a server"), [[0.6, 0.8]])
