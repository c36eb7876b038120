"""Decoding a batch of prompts on a CPU: what they all begin with is computed once, and nothing is copied while they grow.

transformers' `generate` pads on the left, so each row needs a mask of its own, computes a common beginning (instructions, the
demonstrations of an optimised program) anew for every row, and copies all keys and values for every token to append one. Here
prompts lie one behind the other without padding; keys and values of the beginning are kept once, and the tokens of all rows
attend to them in one matrix product (as in Hydragen, Juravsky et al., 2024); each row writes into room that was made before.
Scores are computed in tiles that stay in the processor's cache, which torch's own attention does not manage on a CPU.

Weights and matrix products are in the model's own precision; what the layers add up, and the logits, are float32: with bfloat16
there as well, more greedy answers differ from those of float32 weights, and it is no faster (bench/evaluate.py prints the share).

For models whose layers all attend to all tokens before them (`suits`); others are left to transformers.
"""

import time
from collections import OrderedDict
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from torch.nn import functional

from csift.schemas import GenerationParams

NAME = "csift_decoding"
KINDS = ("llama", "mistral", "qwen2", "qwen3")  # that the tests hold against transformers
STEP = 64  # a common beginning is a multiple of it, so that the next batch of the same program begins alike
DROPPED = 0.75  # ended rows leave the batch when so few others are left: dropping copies those
PART = 2048  # tokens of prompts that go through the layers at once: what is computed of them stays in the cache
TILE = 384  # queries of one key head whose scores are computed at once
KEPT = 2  # beginnings: of the program that is asked, and the one before

Layer = tuple[torch.Tensor, torch.Tensor]  # keys and values, [rows, key heads, tokens, width]


def suits(model: Any) -> bool:
    """Whether this module decodes the model as transformers would."""
    config, told = model.config, model.generation_config
    windowed = getattr(config, "use_sliding_window", config.model_type == "mistral") and getattr(config, "sliding_window", None)
    return (
        not torch.cuda.is_available()
        and config.model_type in KINDS
        and not windowed
        and set(getattr(config, "layer_types", None) or ["full_attention"]) == {"full_attention"}
        and told.repetition_penalty in (None, 1.0)
        and not told.no_repeat_ngram_size
    )


def ends(model: Any) -> set[int]:
    """The tokens at which the model's answers end."""
    told = model.generation_config.eos_token_id
    return {told} if isinstance(told, int) else set(told or ())


class Decoder:
    """Decodes with one model that `suits`. The same rows in the same batch give the same tokens."""

    def __init__(self, model: Any) -> None:
        from transformers import AttentionInterface

        AttentionInterface.register(NAME, _attend)
        model.set_attn_implementation(NAME)
        _add_up_in_float32(model)
        self._model = model
        self._head = model.get_output_embeddings().weight.float()
        self._prefixes: OrderedDict[tuple[int, ...], list[Layer]] = OrderedDict()
        self._ends = torch.tensor(sorted(ends(model)), dtype=torch.long)

    def shared(self, rows: Sequence[list[int]]) -> int:
        """How many tokens the rows share at their beginning, in whole steps; at least one is left to each."""
        if len(rows) < 2:
            return 0
        first, last = min(rows), max(rows)
        most = min(len(first), len(last), min(map(len, rows)) - 1)
        same = next((i for i in range(most) if first[i] != last[i]), most)
        return same - same % STEP

    @torch.inference_mode()
    def decode(self, rows: Sequence[list[int]], shared: int, params: GenerationParams) -> tuple[list[list[int]], float]:
        """Token ids → (the new tokens of each row with the one that ended it, seconds until the first of them was there). The
        first `shared` tokens of all rows are the same."""
        began = time.perf_counter()
        batch = _Batch(self._prefix(tuple(rows[0][:shared])), shared, [len(row) - shared for row in rows], params.max_new_tokens)
        choose = _chooser(self._model.generation_config, params)
        chosen = choose(self._logits(self._read([row[shared:] for row in rows], batch)))
        first = time.perf_counter() - began
        told: list[list[int]] = [[] for _ in rows]
        going = torch.arange(len(rows))  # which row of `rows` each row of the batch is
        live = torch.ones(len(rows), dtype=torch.bool)
        for number in range(params.max_new_tokens):
            for row, token in zip(going[live].tolist(), chosen[live].tolist(), strict=True):
                told[row].append(token)
            live &= ~torch.isin(chosen, self._ends)
            if not live.any() or number + 1 == params.max_new_tokens:
                break
            if live.sum() <= DROPPED * len(live):
                batch.keep(live)
                going, chosen, live = going[live], chosen[live], live[live]
            hidden = self._forward(chosen[:, None], (shared + batch.lengths)[:, None], batch)
            batch.lengths += 1
            chosen = choose(self._logits(hidden[:, 0]))
        return told, first

    def _prefix(self, ids: tuple[int, ...]) -> list[Layer]:
        if not ids:
            return []
        if ids not in self._prefixes:
            batch = _Batch([], 0, [len(ids)], 0)
            self._read([list(ids)], batch)
            self._prefixes[ids] = batch.own
        self._prefixes.move_to_end(ids)
        while len(self._prefixes) > KEPT:
            self._prefixes.popitem(last=False)
        return self._prefixes[ids]

    def _read(self, rows: Sequence[list[int]], batch: "_Batch") -> torch.Tensor:
        """The hidden state of each row's last token, [rows, width], in parts of some thousand tokens."""
        lasts = []
        for part in _parts([len(row) for row in rows]):
            ids = [token for i in part for token in rows[i]]
            positions = [batch.shared + place for i in part for place in range(len(rows[i]))]
            batch.part = part
            hidden = self._forward(torch.tensor([ids]), torch.tensor([positions]), batch)[0]
            lasts.append(hidden[batch.lengths[part].cumsum(0) - 1])
        batch.part = []
        return torch.cat(lasts)

    def _forward(self, ids: torch.Tensor, positions: torch.Tensor, batch: "_Batch") -> torch.Tensor:
        """Hidden states of the last layer, [rows, tokens, width]."""
        out = self._model.get_decoder()(input_ids=ids, position_ids=positions, use_cache=False, batch=batch)
        hidden: torch.Tensor = out.last_hidden_state
        return hidden

    def _logits(self, hidden: torch.Tensor) -> torch.Tensor:
        return functional.linear(hidden.float(), self._head)


def _add_up_in_float32(model: Any) -> None:
    """Embeddings become float32, and so do the sums of the layers; what a norm gives to a layer has the weights' precision."""
    decoder = model.get_decoder()
    precision = model.get_output_embeddings().weight.dtype
    decoder.embed_tokens.register_forward_hook(lambda module, given, out: out.float())
    for module in decoder.layers.modules():
        if type(module).__name__.endswith("RMSNorm"):
            module.register_forward_hook(lambda module, given, out: out.to(precision))


def _chooser(told: Any, params: GenerationParams) -> Any:
    """Logits [rows, vocabulary] → a token for each row, as transformers samples with the model's own settings."""
    if not params.temperature:
        return lambda logits: logits.argmax(-1)
    from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    warpers: list[Any] = [TemperatureLogitsWarper(params.temperature)]
    if top := (50 if told.top_k is None else told.top_k):
        warpers.append(TopKLogitsWarper(top))
    if told.top_p is not None and told.top_p < 1:
        warpers.append(TopPLogitsWarper(told.top_p))
    drawn = torch.Generator().manual_seed(params.seed)

    def choose(logits: torch.Tensor) -> torch.Tensor:
        for warper in warpers:
            logits = warper(None, logits)
        return torch.multinomial(torch.softmax(logits, -1), 1, generator=drawn)[:, 0]

    return choose


class _Batch:
    """Keys and values of a batch. `lengths` are the tokens of each row that were computed, without the shared ones; `part` are
    the rows whose prompts are being read, none once they are."""

    def __init__(self, prefix: list[Layer], shared: int, lengths: Sequence[int], room: int) -> None:
        self.prefix, self.shared = prefix, shared
        self.lengths = torch.tensor(lengths)
        self.own: list[Layer] = []
        self.part: list[int] = []
        self._size = max(lengths) + room

    def keep(self, rows: torch.Tensor) -> None:
        """Goes on with these rows only (bool [rows])."""
        self.lengths = self.lengths[rows]
        self.own = [(keys[rows], values[rows]) for keys, values in self.own]

    def attend(self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        """query [rows, heads, tokens, width], scaled, key and value [rows, key heads, tokens, width] → [rows, tokens, heads,
        width]. While prompts are read, their tokens are those of one row."""
        if layer == len(self.own):
            shape = (len(self.lengths), key.shape[1], self._size, key.shape[3])
            self.own.append((key.new_zeros(shape), value.new_zeros(shape)))
        return (self._prompts if self.part else self._next)(layer, query, key, value)

    def _prompts(self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        _, heads, tokens, width = query.shape
        groups = key.shape[1]
        keys, values = self.own[layer]
        longest = self.shared + int(self.lengths[self.part].max())
        seen_keys, seen_values = key.new_empty(groups, longest, width), value.new_empty(groups, longest, width)
        if self.prefix:
            seen_keys[:, : self.shared], seen_values[:, : self.shared] = (side[0] for side in self.prefix[layer])
        asked = query.view(groups, heads // groups, tokens, width)
        out = query.new_empty(tokens, heads, width)
        begin = 0
        for row in self.part:
            end = begin + int(self.lengths[row])
            last = self.shared + end - begin
            for seen, kept, now in ((seen_keys, keys, key), (seen_values, values, value)):
                seen[:, self.shared : last] = kept[row, :, : end - begin] = now[0, :, begin:end]
            out[begin:end] = _causal(asked[:, :, begin:end], seen_keys[:, :last], seen_values[:, :last])
            begin = end
        return out[None]

    def _next(self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        rows, heads, _, width = query.shape
        groups = key.shape[1]
        keys, values = self.own[layer]
        each = torch.arange(rows)
        keys[each, :, self.lengths], values[each, :, self.lengths] = key[:, :, 0], value[:, :, 0]
        asked = query.view(rows * groups, heads // groups, width)
        scores = torch.bmm(asked, keys.view(-1, self._size, width).transpose(1, 2)).float().view(rows, groups, -1, self._size)
        later = torch.arange(self._size) > self.lengths[:, None]
        scores.masked_fill_(later[:, None, None], -torch.inf)
        values = values.view(-1, self._size, width)
        if not self.prefix:
            weights = torch.softmax(scores, -1).to(query.dtype)
            return torch.bmm(weights.view(rows * groups, -1, self._size), values).view(rows, 1, heads, width)
        before, meant = (side[0] for side in self.prefix[layer])
        together = asked.view(rows, groups, -1, width).transpose(0, 1).reshape(groups, -1, width)
        early = torch.bmm(together, before.transpose(1, 2)).float().view(groups, rows, -1, self.shared).transpose(0, 1)
        weights = torch.softmax(torch.cat([early, scores], -1), -1).to(query.dtype)
        late = torch.bmm(weights[..., self.shared :].reshape(rows * groups, -1, self._size), values).view(rows, heads, width)
        early = torch.bmm(weights[..., : self.shared].transpose(0, 1).reshape(groups, -1, self.shared), meant)
        return (late + early.view(groups, rows, -1, width).transpose(0, 1).reshape(rows, heads, width)).view(
            rows, 1, heads, width
        )


def _causal(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """query [key heads, heads of each, tokens, width], the last ones of key and value [key heads, all tokens, width] → [tokens,
    heads, width]."""
    groups, shared, tokens, width = query.shape
    before = key.shape[1] - tokens
    out = query.new_empty(groups, shared, tokens, width)
    block = max(TILE // shared, 64)
    for group in range(groups):
        for begin in range(0, tokens, block):
            end = min(tokens, begin + block)
            seen = before + end
            scores = torch.mm(query[group, :, begin:end].reshape(-1, width), key[group, :seen].t())
            scores.view(shared, end - begin, seen)[..., before + begin :] += _later(end - begin, scores.dtype)
            torch.softmax(scores, -1, out=scores)
            out[group, :, begin:end] = torch.mm(scores, value[group, :seen]).view(shared, end - begin, width)
    return out.view(groups * shared, tokens, width).transpose(0, 1)


def _parts(lengths: Sequence[int]) -> list[list[int]]:
    """The rows in their order, so many together as stay within PART tokens, and at least one."""
    parts: list[list[int]] = []
    room = 0
    for row, length in enumerate(lengths):
        if length > room:
            parts.append([])
            room = PART
        parts[-1].append(row)
        room -= length
    return parts


@lru_cache(maxsize=512)
def _later(size: int, dtype: torch.dtype) -> torch.Tensor:
    return torch.full((size, size), -torch.inf, dtype=dtype).triu(1)


def _attend(
    module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, attention_mask: None, *, batch: _Batch,
    scaling: float, **told: Any,
) -> tuple[torch.Tensor, None]:  # fmt: skip
    query, key = query.to(value.dtype), key.to(value.dtype)  # their rotation was computed in float32
    return batch.attend(module.layer_idx, query * scaling, key, value), None
