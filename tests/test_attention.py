"""Causal attention for training: the same numbers as torch's own, forward and backward."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import scaled_dot_product_attention

from csift.training import attention
from csift.training.attention import causal_attention, use_causal_attention


def _sides(rows: int, shared: int, group: int, tokens: int, width: int, dtype: torch.dtype) -> list[torch.Tensor]:
    torch.manual_seed(tokens)
    heads = (shared * group, shared, shared)
    return [torch.randn(rows, count, tokens, width, dtype=dtype).requires_grad_() for count in heads]


def _theirs(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float) -> torch.Tensor:
    told = scaled_dot_product_attention(query, key, value, is_causal=True, enable_gqa=True, scale=scaling)
    return told.transpose(1, 2)


def _with_grads(attend: object, sides: list[torch.Tensor], scaling: float) -> list[torch.Tensor]:
    out = attend(*sides, scaling)  # type: ignore[operator]
    torch.manual_seed(0)
    return [out, *torch.autograd.grad(out, sides, torch.randn(out.shape).to(out.dtype))]


@settings(max_examples=25, deadline=None)
@given(
    rows=st.integers(1, 3),
    shared=st.integers(1, 2),
    group=st.integers(1, 3),
    tokens=st.integers(1, 2 * attention.BLOCK + 3),
    scaling=st.sampled_from([0.25, 1.0]),
)
def test_attention_and_its_gradients_are_those_of_torch(rows: int, shared: int, group: int, tokens: int, scaling: float) -> None:
    sides = _sides(rows, shared, group, tokens, 8, torch.float64)
    for own, theirs in zip(_with_grads(causal_attention, sides, scaling), _with_grads(_theirs, sides, scaling), strict=True):
        torch.testing.assert_close(own, theirs, rtol=1e-5, atol=1e-5)


def test_in_half_precision_it_loses_what_rounding_loses() -> None:
    halves = [side.detach().bfloat16().requires_grad_() for side in _sides(2, 3, 3, 300, 64, torch.float32)]
    truth = _with_grads(causal_attention, [half.detach().double().requires_grad_() for half in halves], 0.125)
    for real, ours in zip(truth, _with_grads(causal_attention, halves, 0.125), strict=True):
        assert (ours.double() - real.double()).norm() < 2**-7 * real.norm()  # one unit in the last of bfloat16's 8 bits


@pytest.fixture
def llama(request: pytest.FixtureRequest) -> object:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    told = LlamaConfig(
        vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2
    )
    return LlamaForCausalLM(told).eval()


def test_a_model_answers_as_before_also_where_rows_are_padded(llama: object) -> None:
    ids = torch.randint(0, 64, (3, 150))
    seen = torch.ones_like(ids)
    seen[0, :40] = 0  # padding in front, as for generation
    before, masked = llama(ids).logits, llama(ids, attention_mask=seen).logits  # type: ignore[operator]
    use_causal_attention(llama)
    torch.testing.assert_close(llama(ids).logits, before, rtol=1e-4, atol=1e-4)  # type: ignore[operator]
    padded = llama(ids, attention_mask=seen).logits  # type: ignore[operator]
    torch.testing.assert_close(padded[seen.bool()], masked[seen.bool()], rtol=1e-4, atol=1e-4)


def test_a_model_with_a_sliding_window_keeps_it() -> None:
    from transformers import MistralConfig, MistralForCausalLM

    torch.manual_seed(0)
    told = MistralConfig(
        vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        sliding_window=8,
    )  # fmt: skip
    model, ids = MistralForCausalLM(told).eval(), torch.randint(0, 64, (1, 40))
    before = model(ids).logits
    use_causal_attention(model)
    torch.testing.assert_close(model(ids).logits, before, rtol=1e-4, atol=1e-4)
