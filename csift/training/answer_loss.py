"""trl's SFTTrainer with logits computed only where the loss needs them.

An answer is a few tokens of a prompt of hundreds, and the vocabulary is the widest matrix of a small model. trl 1.16 tiles
the output
layer in a kernel made for GPUs, whose backward pass on a CPU takes longer than the rest of the model.
"""

from typing import Any

import torch
from trl import SFTTrainer

from csift.training.order import ByLength


class AnswerLossTrainer(SFTTrainer):
    """SFTTrainer whose loss is the mean negative log-likelihood (nats) of the labelled tokens, in an order that can be taken
    up again."""

    def _get_train_sampler(self, train_dataset: Any = None) -> ByLength:
        rows = self.train_dataset if train_dataset is None else train_dataset
        return ByLength([len(ids) for ids in rows["input_ids"]], self.args.per_device_train_batch_size, self.args.seed)

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The loss of a batch {input_ids, attention_mask, labels: int [rows, tokens]}, labels -100 where nothing is learned."""
        causal = model.get_base_model()
        hidden = getattr(causal, causal.base_model_prefix)(
            input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], use_cache=False
        ).last_hidden_state
        wanted = inputs["labels"][:, 1:]
        learned = wanted != -100
        logits = causal.get_output_embeddings()(hidden[:, :-1][learned]).float()
        total = torch.nn.functional.cross_entropy(logits, wanted[learned], reduction="sum")
        self._total_train_tokens += int(inputs["attention_mask"].sum())
        self._metrics["train"]["num_tokens"] = [self._total_train_tokens]
        return total / (learned.sum() if num_items_in_batch is None else num_items_in_batch)
