"""Which embedder a configuration means."""

from pydantic import SecretStr

from csift.exceptions import ConfigError
from csift.interfaces import Embedder
from csift.retrieval.minilm import minilm
from csift.retrieval.remote import TITAN, BedrockTitan, OpenAIEmbedder


def embedder(
    spec: str,
    *,
    threads: int,
    openai_base_url: str | None = None,
    openai_api_key: SecretStr | None = None,
    aws_region: str | None = None,
    aws_endpoint_url: str | None = None,
) -> Embedder:
    """The embedder that `spec` names: `minilm`, `bedrock/amazon.titan-embed-text-v2:0` or `openai/<model>`.

    `openai/` means OpenAI or, with `openai_base_url`, any server that speaks its protocol (vLLM, Ollama, ...). Nothing is loaded
    or asked before the first text.

    Raises:
        ConfigError: the spec is none of these, or OpenAI's own server is meant and there is no key.
    """
    provider, _, model = spec.partition("/")
    if spec == "minilm":
        return minilm(threads)
    if provider == "openai" and model:
        return OpenAIEmbedder(model, openai_base_url, openai_api_key)
    if provider == "bedrock" and model == TITAN:
        return BedrockTitan(region=aws_region, endpoint_url=aws_endpoint_url)
    raise ConfigError(f"there is no embedder {spec!r}; set retrieval.embedder to minilm, bedrock/{TITAN} or openai/<model>")
