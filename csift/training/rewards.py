"""What an answer that the model gave itself is worth, in training with ppo, grpo and rloo."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from csift.models import BaseModel, best_dtype
from csift.plaintext import chat_as_text
from csift.textmatch import normalise, token_f1
from csift.training.rows import PromptRow

BATCH = 16


class Reward(Protocol):
    """Scores answers; higher is better. `id` goes into the adapter's manifest."""

    id: str

    def score(self, rows: Sequence[PromptRow], answers: Sequence[str]) -> list[float]:
        """One number for each answer to the prompt of the row beside it."""
        ...


class GoldReward:
    """Verifiable reward: token F1 with the right answer, and 1 more when it is that answer (after SQuAD's normalisation)."""

    id = "gold"

    def score(self, rows: Sequence[PromptRow], answers: Sequence[str]) -> list[float]:
        """In 0 to 2."""
        return [
            token_f1(answer, row.gold) + (normalise(answer) == normalise(row.gold))
            for row, answer in zip(rows, answers, strict=True)
        ]


class RewardModel:
    """A trained reward model: the base model with a one-number head and the adapter of a reward stage."""

    def __init__(self, base: BaseModel, adapter_path: Path, tokenizer: Any) -> None:
        import torch
        from peft import PeftModel

        self.id = adapter_path.name
        self._tokenizer = tokenizer
        # Merged in float32 and rounded once, as csift.inference does: an unmerged LoRA takes twice as long.
        model = PeftModel.from_pretrained(classifier(base, tokenizer, "float32"), adapter_path).merge_and_unload()
        model.model.to(getattr(torch, best_dtype()))
        self._model = model.cuda().eval() if torch.cuda.is_available() else model.eval()

    def score(self, rows: Sequence[PromptRow], answers: Sequence[str]) -> list[float]:
        """Logits: differences are log-odds of one answer being preferred to another (Bradley and Terry, 1952)."""
        import torch

        chats = [[*row.prompt, {"role": "assistant", "content": answer}] for row, answer in zip(rows, answers, strict=True)]
        plain = [chat_as_text(self._tokenizer, chat) for chat in chats]
        texts = [self._tokenizer.apply_chat_template(chat, tokenize=False) for chat in plain]
        ids = self._tokenizer(texts, add_special_tokens=False)["input_ids"]
        order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
        scores: dict[int, float] = {}
        for begin in range(0, len(order), BATCH):
            part = order[begin : begin + BATCH]
            batch = self._tokenizer.pad({"input_ids": [ids[i] for i in part]}, return_tensors="pt", padding_side="right")
            with torch.inference_mode():
                logits = self._model(**batch.to(self._model.device)).logits[:, 0].float()
            scores.update(zip(part, logits.tolist(), strict=True))
        return [scores[i] for i in range(len(ids))]


def classifier(base: BaseModel, tokenizer: Any, dtype: str) -> Any:
    """The base model in `dtype` with a head of one number instead of the vocabulary's. The head is float32: the steps of training
    are smaller than what bfloat16 tells apart, and differences of scores are what counts."""
    import torch
    from transformers import AutoModelForSequenceClassification

    from csift.training.attention import use_causal_attention

    class Head(torch.nn.Linear):
        def forward(self, input: torch.Tensor) -> torch.Tensor:
            return super().forward(input.to(self.weight.dtype))

    model = AutoModelForSequenceClassification.from_pretrained(base.path, dtype=getattr(torch, dtype), num_labels=1)
    model.config.pad_token_id = tokenizer.pad_token_id
    model.score.__class__ = Head
    model.score.float()
    use_causal_attention(model)
    # Rows are padded behind their end, where no token of theirs looks; csift's attention takes no mask.
    model.get_decoder().register_forward_pre_hook(
        lambda module, given, told: (given, {**told, "attention_mask": None}), with_kwargs=True
    )
    return model
