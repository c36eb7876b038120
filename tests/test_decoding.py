"""csift's own decoding against transformers' `generate`, in float32 on tiny random models of every kind that it takes."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoConfig, AutoModelForCausalLM

from csift.decoding import KINDS, STEP, Decoder, suits
from csift.schemas import GenerationParams

NEW = GenerationParams(max_new_tokens=12)
HEADS = {"num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2, "hidden_size": 32, "intermediate_size": 48}


def model_of(kind: str, **told: Any) -> Any:
    torch.manual_seed(1)
    config = AutoConfig.for_model(kind, vocab_size=97, max_position_embeddings=512, **{**HEADS, **told})
    model = AutoModelForCausalLM.from_config(config).eval()
    model.generation_config.eos_token_id = 5
    model.generation_config.pad_token_id = 0
    return model


def rows(count: int, beginning: int = 0, seed: int = 0) -> list[list[int]]:
    """Of random lengths, the first tokens the same in all."""
    drawn = torch.Generator().manual_seed(seed)
    same = torch.randint(6, 97, (beginning,), generator=drawn).tolist()
    lengths = torch.randint(1, 40, (count,), generator=drawn).tolist()
    return [same + torch.randint(6, 97, (length,), generator=drawn).tolist() for length in lengths]


def expected(model: Any, asked: Sequence[list[int]], new: int = NEW.max_new_tokens) -> list[list[int]]:
    """One row after another, by transformers; with the token that ended it."""
    told = []
    for row in asked:
        out = model.generate(
            input_ids=torch.tensor([row]), attention_mask=torch.ones(1, len(row)), max_new_tokens=new, do_sample=False
        )
        told.append(out[0, len(row) :].tolist())
    return told


@pytest.mark.parametrize("heads", [2, 4], ids=["grouped heads", "plain heads"])
@pytest.mark.parametrize("beginning", [0, 70, 200], ids=["nothing in common", "a common beginning", "a long one"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_gets_the_tokens_that_transformers_gives_row_by_row(kind: str, beginning: int, heads: int) -> None:
    asked = rows(7, beginning)
    wanted = expected(model_of(kind, num_key_value_heads=heads, sliding_window=None), asked)
    model = model_of(kind, num_key_value_heads=heads, sliding_window=None)
    assert suits(model)
    decoder = Decoder(model)
    shared = decoder.shared(asked)

    assert shared == beginning - beginning % STEP
    assert decoder.decode(asked, shared, NEW)[0] == wanted
    assert decoder.decode(asked, shared, NEW)[0] == wanted  # the beginning is at hand now


def test_rows_that_end_leave_the_batch_and_the_others_go_on() -> None:
    asked = rows(12, seed=3)
    model = model_of("llama")
    first = [told[0] for told in expected(model, asked, 1)]
    # Half of the rows end at once, by what they say first; the others whenever they say one of these.
    ends = sorted(set(first))[: len(set(first)) // 2]
    model.generation_config.eos_token_id = ends
    wanted = expected(model, asked)
    assert 0 < sum(told[-1] in ends for told in wanted) < len(asked)

    decoder = Decoder(model)

    assert decoder.decode(asked, 0, NEW)[0] == wanted


@settings(deadline=None, max_examples=25)
@given(st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=300), min_size=1, max_size=5), st.integers(0, 200))
def test_what_is_shared_is_the_same_in_all_rows_and_leaves_something_to_each(tails: list[list[int]], beginning: int) -> None:
    asked = [[7] * beginning + tail for tail in tails]
    shared = Decoder(model_of("llama", num_hidden_layers=1)).shared(asked)

    assert shared % STEP == 0
    assert len({tuple(row[:shared]) for row in asked}) == 1
    assert all(len(row) > shared for row in asked)
    assert shared + STEP > min(beginning, min(map(len, asked)) - 1) or len(asked) == 1


def test_samples_repeat_with_their_seed_and_follow_the_models_own_settings() -> None:
    asked = rows(6, 70)
    model = model_of("llama")
    decoder = Decoder(model)
    warm = GenerationParams(max_new_tokens=12, temperature=1.5, seed=3)

    one, two = (decoder.decode(asked, 64, warm)[0] for _ in range(2))
    other = decoder.decode(asked, 64, warm.model_copy(update={"seed": 4}))[0]
    model.generation_config.top_k = 1
    surest = decoder.decode(asked, 64, warm)[0]

    assert one == two != other
    assert surest == decoder.decode(asked, 64, NEW)[0]


def penalised() -> Any:
    model = model_of("llama")
    model.generation_config.repetition_penalty = 1.1
    return model


@pytest.mark.parametrize(
    "unlike",
    [
        lambda: model_of("gpt2", n_layer=2, n_head=4, n_embd=32),
        lambda: model_of("mistral", sliding_window=16),
        lambda: model_of("qwen3", use_sliding_window=True, sliding_window=16, max_window_layers=1),
        penalised,
    ],
    ids=["another kind", "a sliding window", "a window in some layers", "a penalty for repetition"],
)
def test_what_it_does_not_know_is_left_to_transformers(unlike: Any) -> None:
    assert not suits(unlike())


def test_in_bfloat16_what_a_layer_adds_to_a_large_sum_is_not_lost() -> None:
    def model() -> Any:
        made = model_of("llama", initializer_range=0.2)
        with torch.no_grad():
            made.model.embed_tokens.weight.mul_(200)  # as in trained models, sums are large beside what a layer adds
        return made

    asked, few = rows(384, seed=5), GenerationParams(max_new_tokens=4)
    rounded, exact = model().bfloat16(), model()
    exact.load_state_dict({name: weight.float() for name, weight in rounded.state_dict().items()})
    wanted, usual = expected(exact, asked, 4), expected(rounded, asked, 4)

    ours = Decoder(rounded).decode(asked, 0, few)[0]

    def other(told: list[list[int]]) -> int:
        return sum(a != b for a, b in zip(told, wanted, strict=True))

    assert 3 * other(ours) < other(usual)
