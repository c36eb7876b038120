"""A vLLM server as engine: base model and adapters in one process, LoRA adapters loaded while it runs.

It has to be started with --enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=True (vLLM's documentation, "Dynamically serving LoRA
adapters") and to read the folder that adapters lie in. An adapter is loaded under its id, which is that of its content: another
version has another name, so that nothing answers from a cache of the one before.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx

from csift.exceptions import ModelError
from csift.ledger import Call, Charge, Reply
from csift.llm import LanguageModel
from csift.llm.engine import Account, R, T
from csift.plaintext import chat_as_text
from csift.schemas import Generation, GenerationParams

AT_ONCE = 256  # connections


class Vllm:
    """A vLLM server at `url` (http://host:port), which serves `base`, whose tokenizer it is, under that name."""

    def __init__(self, url: str, base: str, tokenizer: Any, timeout: float) -> None:
        self._base, self._tokenizer = base, tokenizer
        limits = httpx.Limits(max_connections=AT_ONCE, max_keepalive_connections=AT_ONCE)
        self._client = httpx.Client(base_url=url, timeout=timeout, limits=limits)

    def model(self, adapter_id: str | None, folder: Path | None) -> LanguageModel:
        """The base model, or it with the adapter that lies in a folder, loaded if it is not yet.

        Raises:
            ModelError: the server cannot be reached, serves another model, or cannot load the adapter.
        """
        served = self._served()
        if self._base not in served:
            raise ModelError(f"{self._client.base_url} serves {', '.join(sorted(served)) or 'no model'} and not {self._base}")
        if adapter_id and adapter_id not in served:
            self._post("/v1/load_lora_adapter", {"lora_name": adapter_id, "lora_path": str(folder)})
        return LanguageModel(VllmCaller(self._client, adapter_id or self._base, self._tokenizer))

    def unload(self, adapter_id: str) -> None:
        """Frees the memory of an adapter that answers no more. Raises ModelError as `model` does."""
        if adapter_id in self._served():
            self._post("/v1/unload_lora_adapter", {"lora_name": adapter_id})

    def _served(self) -> set[str]:
        try:
            told = self._client.get("/v1/models")
            told.raise_for_status()
            return {model["id"] for model in told.json()["data"]}
        except (httpx.HTTPError, ValueError, KeyError) as error:
            raise ModelError(f"{self._client.base_url} does not answer as vLLM: {error}; start it or correct the URL") from None

    def _post(self, path: str, body: dict[str, str]) -> None:
        try:
            told = self._client.post(path, json=body)
        except httpx.HTTPError as error:
            raise ModelError(f"{self._client.base_url}{path}: {error}; see vLLM's log") from None
        if told.is_error:
            hint = "was it started with --enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=True, and does it see that folder?"
            raise ModelError(f"{self._client.base_url}{path}: {told.status_code} {told.text[:200]}; {hint}")


class VllmCaller:
    """Answers calls through vLLM, which batches them itself. A `csift.llm.engine.Caller`."""

    structured = False
    role = "serve"

    def __init__(self, client: httpx.Client, model: str, tokenizer: Any) -> None:
        self.model = model
        self.default = GenerationParams()
        self.account = Account()
        self._client, self._tokenizer = client, tokenizer

    def answer(self, call: Call) -> Reply:
        """One chat completion. Raises ModelError when vLLM does not give one."""
        body = {
            "model": self.model,
            "messages": chat_as_text(self._tokenizer, call.messages),
            "max_tokens": call.params.max_new_tokens,
            "temperature": call.params.temperature,
            "seed": call.params.seed,
        }
        began = time.perf_counter()
        try:
            told = self._client.post("/v1/chat/completions", json=body)
            told.raise_for_status()
            choice, usage = told.json()["choices"][0], told.json()["usage"]
            answer = Generation(
                text=choice["message"]["content"],
                finish="length" if choice["finish_reason"] == "length" else "stop",
                tokens_in=usage["prompt_tokens"],
                tokens_out=usage["completion_tokens"],
                seconds=time.perf_counter() - began,
            )
        except (httpx.HTTPError, ValueError, KeyError, IndexError) as error:
            raise ModelError(f"{self._client.base_url} gave no answer: {error}; see vLLM's log") from None
        self.account.made(Charge(answer.tokens_in, answer.tokens_out), answered=True)
        return answer

    def run(self, one: Callable[[T], R], items: Sequence[T], done: Callable[[int], None]) -> list[R]:
        """One after the other; a server calls it from many threads at once."""
        results: list[R] = []
        for item in items:
            results.append(one(item))
            done(len(results))
        return results
