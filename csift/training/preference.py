"""Preference alignment: dpo (Rafailov et al., NeurIPS 2023), orpo (Hong et al., EMNLP 2024), kto (Ethayarajh et al., ICML 2024),
and the reward model (Ouyang et al., NeurIPS 2022)."""

import math
import random
from collections.abc import Sequence
from typing import Any

import torch
from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer, RewardConfig, RewardTrainer
from trl.experimental.orpo import ORPOConfig, ORPOTrainer

from csift.training.answer_head import use_answer_head
from csift.training.arguments import processes
from csift.training.fitting import fit
from csift.training.lean import lean
from csift.training.rows import PreferenceRow, RatedRow, ScoredRow
from csift.training.setup import Setup
from csift.training.watch import ROWS, InOrder, Watched, WithRows

SCORE = "score"  # of a row with one answer; no number for a pair


class PreferenceTrainer(InOrder, DPOTrainer):
    """DPOTrainer in csift's order. The reference is what the stage started from; its log-probabilities are computed once."""

    def _precompute_ref_logps(self, dataset: Any, name: str, batch_size: int) -> Any:
        lean(self.model)  # trl does this before the trainer is to be had
        if not torch.cuda.is_available():
            use_answer_head(self.model.get_base_model())
        return super()._precompute_ref_logps(dataset, name, batch_size)


class OddsRatioTrainer(InOrder, ORPOTrainer):
    """ORPOTrainer in csift's order, with logits for the answers' tokens only.

    trl takes the likelihood term over prompt and answer; here it is the answer's alone, as in supervised fine-tuning.
    """

    seen = 0  # tokens since the start of this process

    def concatenated_forward(self, model: Any, batch: dict[str, Any]) -> tuple[Any, ...]:
        """(log-probability a token of the better answers, of the worse ones, no logits, no logits, the better ones' loss)."""
        both = self.concatenated_inputs(batch, padding_value=self.padding_value, device=self.accelerator.device)
        inputs = [both[f"concatenated_{name}"] for name in ("input_ids", "attention_mask", "labels")]
        ids, seen, labels = inputs
        # Through the wrapped model, as several processes share their gradients there.
        scored = model(input_ids=ids, attention_mask=seen, labels=labels, fused_lm_head=True)
        pairs = batch["chosen_labels"].shape[0]
        means = scored.log_probs.sum(1) / scored.label_mask.sum(1)
        loss = -scored.log_probs[:pairs].sum() / scored.label_mask[:pairs].sum()
        nothing = torch.zeros(1)
        self.seen += int(inputs[1].sum())
        self.store_metrics({"num_tokens": float(self.seen)})
        return means[:pairs], means[pairs:], nothing, nothing, loss


class RatedTrainer(Watched, KTOTrainer):
    """KTOTrainer, watched. Its batches are fixed when data is prepared: the KL term pairs prompts with a neighbour's answer."""


class RewardModelTrainer(InOrder, RewardTrainer):
    """RewardTrainer in csift's order, which also learns from answers that people scored one by one.

    A reward is the log-odds that an answer is good. A pair teaches the difference of two (Bradley and Terry, 1952), a scored
    answer the reward itself: a regression on ratings (Wang et al., HelpSteer2, NeurIPS 2024), here by cross-entropy.
    """

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None) -> Any:
        """The trainer's own where all rows are pairs. A scored answer stands on both sides of its row; one of them counts."""
        scores = inputs.pop(SCORE)
        single = ~torch.isnan(scores)
        loss, outputs = super().compute_loss(model, inputs, return_outputs=True, num_items_in_batch=num_items_in_batch)
        if single.any():
            better, worse = torch.chunk(outputs.logits.squeeze(-1), chunks=2)
            pairs = -torch.nn.functional.logsigmoid((better - worse)[~single])
            alone = torch.nn.functional.binary_cross_entropy_with_logits(better[single], scores[single], reduction="none")
            loss = torch.cat([pairs, alone]).mean()
        return (loss, outputs) if return_outputs else loss


class WithScores:
    """A collator that keeps the score of each row beside a batch."""

    def __init__(self, collate: Any) -> None:
        self.collate = collate

    def __call__(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        return {**self.collate(examples), SCORE: torch.tensor([example[SCORE] for example in examples])}


def dpo(setup: Setup, rows: Sequence[PreferenceRow]) -> Any:
    """A trainer of the better answer's likelihood against the worse one's, relative to the reference."""
    config = setup.config
    arguments = DPOConfig(
        **setup.arguments(config.preference_rate),
        beta=config.beta,
        max_length=config.max_length,
        # Where the steps do not get round all rows, the reference is asked batch by batch: also once a row. Several processes
        # look for what trl computed ahead in folders of their own, and only the first has it.
        precompute_ref_log_probs=processes() == 1 and config.max_steps * config.batch_size >= len(rows),
    )
    data = setup.dataset(_pairs(setup, rows))
    trainer = PreferenceTrainer(model=setup.model, args=arguments, train_dataset=data, processing_class=setup.tokenizer)
    return _watched(setup, trainer, rows)


def orpo(setup: Setup, rows: Sequence[PreferenceRow]) -> Any:
    """A trainer of the better answer's likelihood and its odds against the worse one's, without a reference."""
    config = setup.config
    arguments = ORPOConfig(**setup.arguments(config.learning_rate), beta=config.beta, max_length=config.max_length)
    data = setup.dataset(_pairs(setup, rows))
    trainer = OddsRatioTrainer(model=setup.model, args=arguments, train_dataset=data, processing_class=setup.tokenizer)
    if setup.gpu:  # ORPOTrainer has no fused head of its own
        use_answer_head(setup.model.get_base_model())
    return _watched(setup, trainer, rows)


def kto(setup: Setup, rows: Sequence[RatedRow]) -> Any:
    """A trainer of answers to give and answers not to give; the rarer kind weighs more, so that both count alike."""
    config = setup.config
    fitted, setup.truncated = fit(setup.tokenizer, rows, config.max_length)
    order = list(range(len(fitted)))
    random.Random(config.seed).shuffle(order)
    data = [
        {
            "prompt": list(fitted[number].prompt),
            "completion": [{"role": "assistant", "content": fitted[number].completion}],
            "label": fitted[number].desirable,
            ROWS: number,
        }
        for number in order
    ]
    good = sum(row.desirable for row in rows)
    bad = len(rows) - good
    arguments = KTOConfig(
        **setup.arguments(config.preference_rate),
        beta=config.beta,
        max_length=config.max_length,
        desirable_weight=max(1.0, bad / max(good, 1)),
        undesirable_weight=max(1.0, good / max(bad, 1)),
    )
    trainer = RatedTrainer(model=setup.model, args=arguments, train_dataset=setup.dataset(data), processing_class=setup.tokenizer)
    return _watched(setup, trainer, rows)


def reward(setup: Setup, rows: Sequence[PreferenceRow | ScoredRow]) -> Any:
    """A trainer of a number for each answer, higher for the better one of a pair and for what people score higher."""
    arguments = RewardConfig(**setup.arguments(setup.config.learning_rate), max_length=setup.config.max_length)
    trainer = RewardModelTrainer(
        model=setup.model,
        args=arguments,
        train_dataset=setup.dataset(_pairs_and_scores(setup, rows)),
        processing_class=setup.tokenizer,
    )
    trainer.ids, trainer.effective_batch = [row.id for row in rows], setup.config.batch_size
    trainer.data_collator = WithRows(WithScores(trainer.data_collator))
    return trainer


def _pairs_and_scores(setup: Setup, rows: Sequence[PreferenceRow | ScoredRow]) -> list[dict[str, Any]]:
    """Rows of one form, so that a batch may hold both kinds."""
    pairs = [_twice(row) if isinstance(row, ScoredRow) else row for row in rows]
    scores = [math.nan if isinstance(row, PreferenceRow) else row.score for row in rows]
    return [{**row, SCORE: score} for row, score in zip(_pairs(setup, pairs), scores, strict=True)]


def _twice(row: ScoredRow) -> PreferenceRow:
    return PreferenceRow(row.prompt, row.completion, row.completion, row.id)


def _pairs(setup: Setup, rows: Sequence[PreferenceRow]) -> list[dict[str, Any]]:
    fitted, setup.truncated = fit(setup.tokenizer, rows, setup.config.max_length)
    return [
        {
            "prompt": list(row.prompt),
            "chosen": [{"role": "assistant", "content": row.chosen}],
            "rejected": [{"role": "assistant", "content": row.rejected}],
            ROWS: number,
        }
        for number, row in enumerate(fitted)
    ]


def _watched(setup: Setup, trainer: Any, rows: Sequence[PreferenceRow] | Sequence[RatedRow]) -> Any:
    trainer.ids, trainer.effective_batch = [row.id for row in rows], setup.config.batch_size
    trainer.data_collator = WithRows(trainer.data_collator)
    lean(setup.model)  # the reference that trl added
    if not setup.gpu:
        use_answer_head(setup.model.get_base_model())
    return trainer
