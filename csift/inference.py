"""Base model and adapter → batched generations. One engine for evaluation, teacher and the RAG program."""

import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from csift.exceptions import ModelError
from csift.interfaces import Messages
from csift.models import BaseModel, best_dtype, quiet_libraries, use_threads
from csift.plaintext import chat_as_text
from csift.schemas import Generation, GenerationParams

if TYPE_CHECKING:
    from csift.decoding import Decoder

BATCH = 32  # rows decoded at once: their weights are read once a token for all of them


class LocalEngine:
    """A causal LM in this process. Holds one merged model at a time: an unmerged LoRA is much slower.

    The same list of prompts gives the same generations on the same machine: batches are cut from the prompts sorted by length and
    text, so a row always has the same neighbours and padding.
    """

    def __init__(self, base: BaseModel, threads: int, pause: Callable[[], object] | None = None) -> None:
        """`pause` is called before each pass through the layers; it may wait while others need the machine more."""
        self.base = base
        self.threads = threads
        self._pause = pause
        self.id = f"{base.name}@{base.revision}"
        self._loaded: _Loaded | None = None
        # One batch at a time, always in one thread: torch makes every new thread pay for threads and kernels of its own.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="engine")

    def generate(
        self, prompts: Sequence[Messages], params: GenerationParams, adapter_path: str | None = None
    ) -> list[Generation]:
        """Chats → generations in the same order.

        Raises:
            ModelError: the model or the adapter cannot be loaded, or a prompt is longer than the model's window.
        """
        return self._thread.submit(self._generate, prompts, params, adapter_path).result()

    def _generate(self, prompts: Sequence[Messages], params: GenerationParams, adapter_path: str | None) -> list[Generation]:
        loaded = self._load(adapter_path)
        limit = loaded.model.config.max_position_embeddings - params.max_new_tokens
        ids = [self._encode(loaded.tokenizer, prompt, limit) for prompt in prompts]
        order = sorted(range(len(ids)), key=lambda i: (len(ids[i]), ids[i]))
        shared = loaded.decoder.shared(ids) if loaded.decoder else 0
        done: dict[int, Generation] = {}
        for start in range(0, len(order), BATCH):
            rows = order[start : start + BATCH]
            done.update(zip(rows, self._batch(loaded, [ids[i] for i in rows], shared, params), strict=True))
        return [done[i] for i in range(len(ids))]

    @staticmethod
    def _encode(tokenizer: Any, prompt: Messages, limit: int) -> list[int]:
        chat = chat_as_text(tokenizer, prompt)
        text = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        if len(ids) > limit:
            raise ModelError(f"a prompt has {len(ids)} tokens and the model takes {limit}; lower retrieval.k or chunk_size")
        return ids

    def _batch(self, loaded: "_Loaded", rows: list[list[int]], shared: int, params: GenerationParams) -> list[Generation]:
        began = time.perf_counter()
        if loaded.decoder:
            new, first = loaded.decoder.decode(rows, shared, params)
        else:
            new, first = _by_transformers(loaded.model, rows, loaded.tokenizer.pad_token_id, params)
        seconds = (time.perf_counter() - began) / len(rows)
        return [self._read(loaded, tokens, len(row), seconds, first) for tokens, row in zip(new, rows, strict=True)]

    @staticmethod
    def _read(loaded: "_Loaded", new: list[int], tokens_in: int, seconds: float, first: float) -> Generation:
        # Padding and end of turn may be one token, so the answer ends at the first of them.
        end = next((place for place, token in enumerate(new) if token in loaded.ends), len(new))
        text = loaded.tokenizer.decode(new[:end], skip_special_tokens=True).strip()
        finish: Literal["stop", "length"] = "stop" if end < len(new) else "length"
        return Generation(
            text=text, finish=finish, tokens_in=tokens_in, tokens_out=end, seconds=seconds, first_token_seconds=first
        )

    def _load(self, adapter_path: str | None) -> "_Loaded":
        from csift.decoding import Decoder, ends, suits

        if self._loaded is None or self._loaded.adapter_path != adapter_path:
            self._loaded = None  # frees the model before the next is loaded
            use_threads(self.threads)
            model, tokenizer = load(self.base, adapter_path)
            if pause := self._pause:
                model.get_decoder().register_forward_pre_hook(lambda module, given: pause() and None)
            decoder = Decoder(model) if suits(model) else None
            self._loaded = _Loaded(adapter_path, model, tokenizer, decoder, ends(model) | {tokenizer.eos_token_id})
        return self._loaded


@dataclass(frozen=True)
class _Loaded:
    adapter_path: str | None
    model: Any
    tokenizer: Any
    decoder: "Decoder | None"
    ends: set[int]


def _by_transformers(model: Any, rows: list[list[int]], pad: int, params: GenerationParams) -> tuple[list[list[int]], float]:
    """What transformers' own generate makes of token ids: (new tokens of each row, seconds until the first)."""
    import torch
    from transformers import StoppingCriteriaList

    began = time.perf_counter()
    first: list[float] = []

    def timed(ids: Any, scores: Any, **_: Any) -> Any:
        if not first:
            first.append(time.perf_counter() - began)
        return torch.zeros(len(ids), dtype=torch.bool, device=ids.device)

    width = max(len(row) for row in rows)
    tokens = torch.tensor([[pad] * (width - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    sampling = {"do_sample": True, "temperature": params.temperature} if params.temperature else {"do_sample": False}
    torch.manual_seed(params.seed)
    with torch.inference_mode():
        output = model.generate(
            input_ids=tokens.to(model.device),
            attention_mask=mask.to(model.device),
            pad_token_id=pad,
            max_new_tokens=params.max_new_tokens,
            stopping_criteria=StoppingCriteriaList([timed]),  # asked after every token; stops nothing
            **sampling,
        )
    return output[:, width:].tolist(), first[0]


def load(base: BaseModel, adapter_path: str | None) -> tuple[Any, Any]:
    """(model in evaluation mode with the adapter merged, tokenizer).

    Raises:
        ModelError: weights cannot be read, the tokenizer has no chat template, or the adapter is for another model.
    """
    import torch

    tokenizer = load_tokenizer(base)
    model = load_weights(base, adapter_path, best_dtype())
    if torch.cuda.is_available():
        model = model.cuda()
    model.generation_config.max_length = None  # the base's own default would warn at every call
    return model.eval(), tokenizer


def load_weights(base: BaseModel, adapter_path: str | None, precision: str) -> Any:
    """The model with the adapter merged, in a precision that torch names. Raises ModelError as `load`."""
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM

    if adapter_path:
        _require_base(base, adapter_path)
    quiet_libraries()
    dtype = getattr(torch, precision)
    try:
        # Merged in float32 and rounded once, so that small LoRA updates are not lost to bfloat16 twice.
        model = AutoModelForCausalLM.from_pretrained(base.path, dtype=torch.float32 if adapter_path else dtype)
        if adapter_path:
            from peft import PeftModel

            model = PeftModel.from_pretrained(model, adapter_path).merge_and_unload().to(dtype)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(
            f"cannot load {base.name} from {base.path}{f' with {adapter_path}' if adapter_path else ''}: {first}"
        ) from None
    return model


def load_tokenizer(base: BaseModel) -> Any:
    """The tokenizer with left padding and a pad token. Raises ModelError when it has no chat template."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(base.path, padding_side="left")
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot load the tokenizer of {base.name} from {base.path}: {str(error).splitlines()[0]}") from None
    if not tokenizer.chat_template:
        raise ModelError(f"{base.name} has no chat template; choose an instruction-tuned model")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def _require_base(base: BaseModel, adapter_path: str) -> None:
    """Raises ModelError when the adapter was trained on another base model, or its manifest does not say on which."""
    try:
        manifest = json.loads((Path(adapter_path) / "manifest.json").read_text())
        name, revision = manifest["base_model"], manifest["base_revision"]
    except (OSError, ValueError, KeyError, TypeError):
        raise ModelError(
            f"the adapter in {adapter_path} has no manifest that names its base model; run the cycle again"
        ) from None
    if revision != base.revision:
        raise ModelError(
            f"the adapter in {adapter_path} was trained on {name}@{revision}, not on {base.name}@{base.revision}; "
            "name the base model that it was trained on, or train it anew"
        )
