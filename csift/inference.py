"""Base model and adapter → batched generations. One engine for evaluation, teacher and the RAG program."""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from csift.exceptions import ModelError
from csift.interfaces import Messages
from csift.models import BaseModel, best_dtype, quiet_libraries, use_threads
from csift.schemas import Generation, GenerationParams

BATCH = 16  # on 2 cores 16 rows of 350 tokens decode at 100 tokens/s, 4 at 66, 32 at 111 but with more padding


class LocalEngine:
    """A causal LM in this process. Holds one merged model at a time: an unmerged LoRA is much slower.

    The same list of prompts gives the same generations on the same machine: batches are cut from the prompts sorted by length and
    text, so a row always has the same neighbours and padding.
    """

    def __init__(self, base: BaseModel, threads: int) -> None:
        self.base = base
        self.threads = threads
        self.id = f"{base.name}@{base.revision}"
        self._loaded: tuple[str | None, Any, Any] | None = None

    def generate(
        self, prompts: Sequence[Messages], params: GenerationParams, adapter_path: str | None = None
    ) -> list[Generation]:
        """Chats → generations in the same order.

        Raises:
            ModelError: the model or the adapter cannot be loaded, or a prompt is longer than the model's window.
        """
        model, tokenizer = self._model(adapter_path)
        ids = [
            self._encode(tokenizer, prompt, model.config.max_position_embeddings - params.max_new_tokens) for prompt in prompts
        ]
        order = sorted(range(len(ids)), key=lambda i: (len(ids[i]), ids[i]))
        done: dict[int, Generation] = {}
        for start in range(0, len(order), BATCH):
            rows = order[start : start + BATCH]
            done.update(zip(rows, self._batch(model, tokenizer, [ids[i] for i in rows], params), strict=True))
        return [done[i] for i in range(len(ids))]

    @staticmethod
    def _encode(tokenizer: Any, prompt: Messages, limit: int) -> list[int]:
        text = tokenizer.apply_chat_template(list(prompt), tokenize=False, add_generation_prompt=True)
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        if len(ids) > limit:
            raise ModelError(f"a prompt has {len(ids)} tokens and the model takes {limit}; lower retrieval.k or chunk_size")
        return ids

    def _batch(self, model: Any, tokenizer: Any, rows: list[list[int]], params: GenerationParams) -> list[Generation]:
        import torch

        began = time.perf_counter()
        width = max(len(row) for row in rows)
        pad = tokenizer.pad_token_id
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
                **sampling,
            )
        seconds = (time.perf_counter() - began) / len(rows)
        return [
            self._decode(tokenizer, new.tolist(), len(row), seconds) for new, row in zip(output[:, width:], rows, strict=True)
        ]

    @staticmethod
    def _decode(tokenizer: Any, new: list[int], tokens_in: int, seconds: float) -> Generation:
        # Padding and end of turn are one token in this model, so the answer ends at the first of them.
        finish = "stop" if tokenizer.eos_token_id in new else "length"
        end = new.index(tokenizer.eos_token_id) if finish == "stop" else len(new)
        text = tokenizer.decode(new[:end], skip_special_tokens=True).strip()
        return Generation(text=text, finish=finish, tokens_in=tokens_in, tokens_out=end, seconds=seconds)

    def _model(self, adapter_path: str | None) -> tuple[Any, Any]:
        if self._loaded is None or self._loaded[0] != adapter_path:
            self._loaded = None  # frees the model before the next is loaded
            use_threads(self.threads)
            model, tokenizer = load(self.base, adapter_path)
            self._loaded = (adapter_path, model, tokenizer)
        return self._loaded[1], self._loaded[2]


def load(base: BaseModel, adapter_path: str | None) -> tuple[Any, Any]:
    """(model in evaluation mode with the adapter merged, tokenizer).

    Raises:
        ModelError: weights cannot be read, the tokenizer has no chat template, or the adapter is for another model.
    """
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM

    if adapter_path:
        _require_base(base, adapter_path)
    quiet_libraries()
    tokenizer = load_tokenizer(base)
    dtype = getattr(torch, best_dtype())
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
    if torch.cuda.is_available():
        model = model.cuda()
    model.generation_config.max_length = None  # the base's own default would warn at every call
    return model.eval(), tokenizer


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
