"""LoRA matrices that are kept in float32 and multiplied in the model's own precision.

peft casts the activations to the adapter's float32, and the result back, at every layer that has an adapter: some two hundred
times a step. Casting the small matrices instead takes no time to speak of; their gradients and updates stay in float32.
"""

from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from torch.nn import functional


class _Lean(torch.nn.Linear):
    """Multiplies in the precision of what it is given."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """As torch.nn.Linear."""
        return functional.linear(input, self.weight.to(input.dtype), self.bias)


def lean(model: Any) -> None:
    """Makes all plain LoRA layers of a peft model so, also those that were added since the last call. DoRA's stay as they are:
    their magnitudes are computed from the weights."""
    for layer in model.modules():
        if not isinstance(layer, LoraLayer) or any(layer.use_dora.values()):
            continue
        layer.cast_input_dtype_enabled = False
        for matrix in [*layer.lora_A.values(), *layer.lora_B.values()]:
            if type(matrix) is torch.nn.Linear:
                matrix.__class__ = _Lean
