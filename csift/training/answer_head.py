"""Token log-probabilities where the loss needs them, for trl's trainers on a CPU.

trl's own head scores every position of a batch on a CPU, prompt and padding included, in tiles made for GPUs; an answer is a few
tokens of a prompt of hundreds, and the vocabulary is the widest matrix of a small model. Here only labelled tokens meet it. Rows
of a batch that share their prompt (the two answers of a preference, the samples of a group) share its computation as well: the
prompt is in the sequence once, and each answer sees the prompt and itself.
"""

from dataclasses import dataclass, field
from types import MethodType
from typing import Any

import torch
from trl.trainer.utils import FusedCausalLMOutput

IGNORED = -100


@dataclass
class _Packed:
    """Sequences [prompt, answer, answer ...] and where the state that predicts each labelled token stands."""

    ids: list[list[int]] = field(default_factory=list)
    segments: list[list[int]] = field(default_factory=list)  # 0 for the prompt, then 1, 2 ... for its answers
    positions: list[list[int]] = field(default_factory=list)
    source: list[tuple[int, int]] = field(default_factory=list)  # (sequence, token) of the state
    target: list[int] = field(default_factory=list)
    place: list[tuple[int, int]] = field(default_factory=list)  # (row, column) in the batch as it came, shifted by one


def use_answer_head(causal: Any, temperature: float = 1.0) -> None:
    """From now on `causal(..., labels=, fused_lm_head=True)`, which is how trl asks for log-probabilities, is answered here."""
    usual = causal.forward

    def forward(self: Any, *args: Any, fused_lm_head: bool = False, **kwargs: Any) -> Any:
        if not fused_lm_head:
            return usual(*args, **kwargs)
        return score(self, kwargs["input_ids"], kwargs["attention_mask"], kwargs["labels"], temperature)

    causal.forward = MethodType(forward, causal)


def score(
    causal: Any, input_ids: torch.Tensor, attention_mask: torch.Tensor, labels: torch.Tensor, temperature: float = 1.0
) -> FusedCausalLMOutput:
    """Log-probabilities (nats) of the labelled tokens of int [rows, tokens] tensors; float [rows, tokens - 1], 0 elsewhere."""
    mask = labels[:, 1:] != IGNORED
    packed = _pack(input_ids.tolist(), attention_mask.tolist(), labels.tolist())
    if packed is None:
        # Padding behind the tokens is seen by none of them, so that a causal mask is enough, which is the faster one.
        seen = None if attention_mask[:, 0].all() else attention_mask
        states = causal.base_model(input_ids=input_ids, attention_mask=seen, use_cache=False).last_hidden_state
        states, target, place = states[:, :-1][mask], labels[:, 1:][mask], mask.nonzero(as_tuple=True)
    else:
        states, target, place = _states(causal, packed, input_ids.device)
    logits = causal.get_output_embeddings()(states).float() / temperature
    told = torch.log_softmax(logits, dim=-1)
    log_probs = told.gather(1, target[:, None])[:, 0]
    with torch.no_grad():
        parts = {
            "entropy": -(told.exp() * told).sum(-1),
            "mean_logits": logits.mean(-1),
            "is_top1": logits.argmax(-1) == target,
        }
    spread = {name: part.new_zeros(mask.shape).index_put(place, part) for name, part in parts.items()}
    placed = log_probs.new_zeros(mask.shape).index_put(place, log_probs)
    return FusedCausalLMOutput(loss=-placed.sum() / mask.sum().clamp(min=1), log_probs=placed, label_mask=mask, **spread)


def _states(causal: Any, packed: _Packed, device: Any) -> tuple[torch.Tensor, torch.Tensor, tuple[torch.Tensor, ...]]:
    width = max(len(ids) for ids in packed.ids)
    ids = _padded(packed.ids, width, 0).to(device)
    segments, positions = _padded(packed.segments, width, -1).to(device), _padded(packed.positions, width, 0).to(device)
    own = (segments[:, None, :] == segments[:, :, None]) | (segments[:, None, :] == 0)
    seen = own & torch.ones(width, width, dtype=torch.bool, device=device).tril()
    seen |= torch.eye(width, dtype=torch.bool, device=device)  # padding sees itself, lest its softmax be over nothing
    dtype = causal.get_output_embeddings().weight.dtype
    bias = torch.zeros(seen.shape, dtype=dtype, device=device).masked_fill(~seen, torch.finfo(dtype).min)[:, None]
    hidden = causal.base_model(input_ids=ids, attention_mask=bias, position_ids=positions, use_cache=False).last_hidden_state
    source = torch.tensor(packed.source, device=device)
    place = torch.tensor(packed.place, device=device)
    return hidden[source[:, 0], source[:, 1]], torch.tensor(packed.target, device=device), (place[:, 0], place[:, 1])


def _padded(rows: list[list[int]], width: int, value: int) -> torch.Tensor:
    return torch.tensor([[*row, *[value] * (width - len(row))] for row in rows])


def _pack(input_ids: list[list[int]], attention_mask: list[list[int]], labels: list[list[int]]) -> _Packed | None:
    """The batch with each prompt once, or None when no two rows have the same."""
    groups: dict[tuple[int, ...], list[tuple[int, list[int], int]]] = {}
    for row, (ids, seen, wanted) in enumerate(zip(input_ids, attention_mask, labels, strict=True)):
        real = [column for column, one in enumerate(seen) if one]
        first = next((place for place, column in enumerate(real) if wanted[column] != IGNORED), len(real))
        prompt = tuple(ids[column] for column in real[:first])
        groups.setdefault(prompt, []).append((row, real, first))
    if len(groups) == len(input_ids) or () in groups:
        return None
    packed = _Packed()
    for prompt, members in groups.items():
        tokens, segments, positions = list(prompt), [0] * len(prompt), list(range(len(prompt)))
        for segment, (row, real, first) in enumerate(members, start=1):
            before = len(prompt) - 1  # the state that predicts an answer's first token is the prompt's last
            for step, column in enumerate(real[first:]):
                if labels[row][column] != IGNORED:
                    packed.source.append((len(packed.ids), before))
                    packed.target.append(labels[row][column])
                    packed.place.append((row, column - 1))
                before = len(tokens)
                tokens.append(input_ids[row][column])
                segments.append(segment)
                positions.append(len(prompt) + step)
        packed.ids.append(tokens)
        packed.segments.append(segments)
        packed.positions.append(positions)
    return packed
