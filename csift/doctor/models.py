"""Models and what finds chunks: on this machine, and served."""

from collections.abc import Iterator
from typing import Any

from csift import models
from csift.config import LoopConfig
from csift.doctor.finding import Finding, failed, ok, warning
from csift.exceptions import ConfigError, ModelError
from csift.inference import load_tokenizer
from csift.llm import is_served
from csift.llm.services import DENIED, MALFORMED, UNKNOWN, CallError, OpenAIService
from csift.models import BaseModel
from csift.retrieval import ChromaIndex
from csift.retrieval.aws import aws_client, aws_error
from csift.settings import Settings

SECONDS = 10.0  # a service has to answer
UNSEEN = "nothing, if the first call is answered; else correct the name"


def model(check: str, spec: str, where: Settings) -> Iterator[Finding]:
    """A model on this machine, or a served one."""
    return served(check, spec, where) if is_served(spec) else local(check, spec, where)


def local(check: str, name: str, where: Settings) -> Iterator[Finding]:
    """Whether a model is here with a chat template, or can be had. Of weights only the headers are read, which say how long the
    files must be. Raises ModelError."""
    from safetensors import SafetensorError, safe_open

    folder = models.on_disk(name, where.root)
    if folder is None and name in models.BUNDLED_GGUF:
        yield ok(check, f"{name}, bundled; the first run unpacks it")
        return
    if folder is None:
        size = models.download_bytes(name) / 1e9
        yield ok(check, f"{name}, not here yet; the first run downloads {size:.1f} GB from the hub")
        return
    weights = models.weights_in(folder)
    try:
        for file in weights:
            with safe_open(file, framework="np"):
                pass
    except (SafetensorError, OSError) as error:
        raise ModelError(f"the weights in {file} cannot be read: {error}; remove {folder} and get it again") from None
    load_tokenizer(BaseModel(name, folder, ""))
    size = sum(file.stat().st_size for file in weights) / 1e9
    yield ok(check, f"{name} in {folder}, {size:.1f} GB of weights, with a chat template")


def embedder(config: LoopConfig, where: Settings) -> Iterator[Finding]:
    """Whether what embeds questions and chunks is here. Raises ModelError."""
    spec = config.retrieval.embedder
    if spec != "minilm":
        yield from served("embedder", spec, where)
        return
    models.minilm_folder()
    yield ok("embedder", "minilm, bundled, its weights as expected")


def index(found: ChromaIndex) -> Iterator[Finding]:
    """What an open index holds. Raises StorageError."""
    count = found.count()
    yield ok("retriever", f"Chroma in {found.where}, {count:,} chunks" + ("" if count else "; the first run fills it"))


def knowledge_base(where: Settings) -> Iterator[Finding]:
    """Whether Bedrock's knowledge base answers. Raises ConfigError."""
    if not where.knowledge_base_id:
        raise ConfigError("retrieval.retriever is bedrock-knowledge-base and none is named; set CSIFT_KNOWLEDGE_BASE_ID")
    told = _bedrock("bedrock-agent", where, "get_knowledge_base", knowledgeBaseId=where.knowledge_base_id)
    if isinstance(told, dict):
        state = told["knowledgeBase"]["status"]
        found = f"knowledge base {where.knowledge_base_id} is {state}"
        yield ok("retriever", found) if state == "ACTIVE" else failed("retriever", found, "see Bedrock's console")
    else:
        yield _refusal("retriever", f"knowledge base {where.knowledge_base_id}", told, "bedrock:GetKnowledgeBase")


def served(check: str, spec: str, where: Settings) -> Iterator[Finding]:
    """Whether a service is reached, takes the key and has the model. Nothing is generated, so nothing is paid for.

    Raises:
        ConfigError: there is neither key nor address, or no region.
    """
    provider, _, name = spec.partition("/")
    yield _of_openai(check, name, where) if provider == "openai" else _of_bedrock(check, name, where)


def _of_openai(check: str, name: str, where: Settings) -> Finding:
    service = OpenAIService(name, where.model_copy(update={"call_timeout": SECONDS}), 1)
    at = where.openai_base_url or "OpenAI"
    try:
        offered = service.models()
    except CallError as error:
        if error.kind in {UNKNOWN, MALFORMED}:
            return warning(check, f"openai/{name}: {at} answers and lists no models ({error.message})", UNSEEN)
        fix = "set CSIFT_OPENAI_API_KEY" if error.kind == DENIED else "start that server or correct CSIFT_OPENAI_BASE_URL"
        return failed(check, f"openai/{name}: {at} gives no answer: {error.message}", fix)
    if name in offered:
        return ok(check, f"openai/{name}: {at} offers it to this key")
    return warning(check, f"openai/{name}: not among the {len(offered)} models that {at} offers to this key", UNSEEN)


def _of_bedrock(check: str, name: str, where: Settings) -> Finding:
    told = _bedrock("bedrock", where, "get_foundation_model", modelIdentifier=name)
    if _code(told) in {"ResourceNotFoundException", "ValidationException"}:
        told = _bedrock("bedrock", where, "get_inference_profile", inferenceProfileIdentifier=name)
    if isinstance(told, dict):
        return ok(check, f"bedrock/{name}: known in this region, and the keys are taken")
    return _refusal(check, f"bedrock/{name}", told, "bedrock:GetFoundationModel and bedrock:GetInferenceProfile")


def _bedrock(service: str, where: Settings, operation: str, **asked: str) -> Any:
    """What AWS says: an answer, or botocore's error."""
    from botocore.exceptions import BotoCoreError, ClientError

    client = aws_client(service, where.aws_region, where.aws_endpoint_url, 1, attempts=2)
    try:
        return getattr(client, operation)(**asked)
    except (BotoCoreError, ClientError) as error:
        return error


def _code(told: Any) -> str | None:
    return None if isinstance(told, dict) else (getattr(told, "response", None) or {}).get("Error", {}).get("Code")


def _refusal(check: str, what: str, error: Any, permission: str) -> Finding:
    if _code(error) == "AccessDeniedException":
        return warning(check, f"{what}: the keys are known and may not look it up", f"grant {permission}")
    found, _, fix = aws_error(f"looking up {what}", error).rpartition("; ")
    return failed(check, found, fix)
