"""Causal attention for training on a CPU.

torch's fused kernel there takes two thirds of its time in its backward pass, which computes the scores anew in small tiles. Here
the scores are matrix products of the width that CPUs are good at: a block of queries, those of all heads that share a key head at
once, against the keys before them. The weights of each block are kept for the backward pass: 2 bytes × heads × tokens² / 2 a row
and layer.
"""

from functools import lru_cache
from typing import Any

import torch

NAME = "csift_causal"
BLOCK = 128  # queries at once; of 64 to 300 the fastest on 2 cores

# What other models ask of attention and this one does not know: transformers' own answers.
UNKNOWN = ("sliding_window", "softcap", "s_aux", "position_bias", "cache")


def use_causal_attention(model: Any) -> None:
    """Makes a model of transformers attend so on a CPU wherever a plain causal mask is meant; other masks stay with torch."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    if torch.cuda.is_available() or model.config._attn_implementation != "sdpa":
        return
    AttentionInterface.register(NAME, _attend)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    model.set_attn_implementation(NAME)


def _attend(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **told: Any,
) -> tuple[torch.Tensor, None]:
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    plain = attention_mask is None and not dropout and query.shape[2] == key.shape[2] and query.shape[-1] == value.shape[-1]
    if not plain or any(told.get(name) is not None for name in UNKNOWN) or not told.get("is_causal", module.is_causal):
        return sdpa_attention_forward(module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **told)
    return causal_attention(query, key, value, query.shape[-1] ** -0.5 if scaling is None else scaling), None


def causal_attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float) -> torch.Tensor:
    """Softmax of scaled products over each token and those before it (Vaswani et al., NeurIPS 2017), key heads shared by groups
    of query heads (Ainslie et al., EMNLP 2023).

    query [rows, heads, tokens, width], key and value [rows, key heads, tokens, width] → [rows, tokens, heads, width].
    """
    out: Any = _Causal.apply(query, key, value, scaling)
    return out


class _Causal(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float) -> torch.Tensor:
        rows, heads, tokens, width = query.shape
        shared = key.shape[1]
        query = (query * scaling).view(rows, shared, heads // shared, tokens, width)
        key, value = (side.reshape(rows * shared, tokens, width) for side in (key, value))
        out = query.new_empty(rows, tokens, heads, width)
        kept = []
        for begin in range(0, tokens, BLOCK):
            end = min(tokens, begin + BLOCK)
            asked = query[:, :, :, begin:end].reshape(rows * shared, -1, width)
            scores = torch.bmm(asked, key[:, :end].transpose(1, 2))
            scores.view(rows * shared, -1, end - begin, end)[..., begin:] += _later(end - begin, scores.dtype)
            weights = torch.softmax(scores, dim=-1)
            out[:, begin:end] = _tokens_first(torch.bmm(weights, value[:, :end]), rows, heads)
            kept += [asked, weights]
        ctx.save_for_backward(key, value, *kept)
        ctx.scaling = scaling
        return out

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        key, value, *kept = ctx.saved_tensors
        rows, tokens, heads, width = grads[0].shape
        shared = len(key) // rows
        grad = grads[0].transpose(1, 2).reshape(rows, shared, heads // shared, tokens, width)
        to_query = torch.empty_like(grad)
        to_key, to_value = (torch.zeros(key.shape, dtype=torch.float32, device=key.device) for _ in range(2))
        for number, begin in enumerate(range(0, tokens, BLOCK)):
            end = min(tokens, begin + BLOCK)
            asked, weights = kept[2 * number : 2 * number + 2]
            told = grad[:, :, :, begin:end].reshape(asked.shape)
            to_value[:, :end] += torch.bmm(weights.transpose(1, 2), told)
            to_weights = torch.bmm(told, value[:, :end].transpose(1, 2))
            to_scores = torch._softmax_backward_data(to_weights, weights, -1, weights.dtype)
            to_query[:, :, :, begin:end] = torch.bmm(to_scores, key[:, :end]).view(rows, shared, -1, end - begin, width)
            to_key[:, :end] += torch.bmm(to_scores.transpose(1, 2), asked)
        sides = (side.to(key.dtype).view(rows, shared, tokens, width) for side in (to_key, to_value))
        return (to_query * ctx.scaling).view(rows, heads, tokens, width), *sides, None


def _tokens_first(block: torch.Tensor, rows: int, heads: int) -> torch.Tensor:
    """[rows * key heads, group * tokens, width] → [rows, tokens, heads, width]."""
    width = block.shape[-1]
    return block.view(rows, heads, -1, width).transpose(1, 2)


@lru_cache(maxsize=8)
def _later(tokens: int, dtype: torch.dtype) -> torch.Tensor:
    """[tokens, tokens]: minus infinity for the tokens that come after, else 0."""
    return torch.full((tokens, tokens), float("-inf"), dtype=dtype).triu(1)
