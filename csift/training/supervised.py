"""Continued pre-training and supervised fine-tuning with trl's SFTTrainer.

cpt: the next token of corpus text (Gururangan et al., Don't Stop Pretraining, ACL 2020). sft: the answer's tokens only.
"""

from collections.abc import Sequence
from typing import Any

from trl import SFTConfig, SFTTrainer

from csift.training.answer_head import use_answer_head
from csift.training.fitting import blocks, fit
from csift.training.rows import TextRow, TrainingRow
from csift.training.setup import Setup
from csift.training.watch import ROWS, InOrder, WithRows


class SupervisedTrainer(InOrder, SFTTrainer):
    """SFTTrainer in csift's order; the loss is the mean negative log-likelihood (nats) of the labelled tokens."""


def sft(setup: Setup, rows: Sequence[TrainingRow]) -> Any:
    """A trainer of answers; rows are {prompt, completion} chats."""
    fitted, setup.truncated = fit(setup.tokenizer, rows, setup.config.max_length)
    data = [
        {"prompt": list(row.prompt), "completion": [{"role": "assistant", "content": row.completion}], ROWS: number}
        for number, row in enumerate(fitted)
    ]
    return _trainer(setup, data, [row.id for row in rows], completion_only_loss=True)


def cpt(setup: Setup, rows: Sequence[TextRow]) -> Any:
    """A trainer of text: all rows one behind another, in blocks of `max_length` tokens."""
    cut = blocks(setup.tokenizer, rows, setup.config.max_length)
    data = [{"input_ids": ids, ROWS: number} for number, ids in enumerate(cut)]
    return _trainer(setup, data, [f"block {number} of the corpus" for number in range(len(cut))], completion_only_loss=False)


def _trainer(setup: Setup, data: list[dict[str, Any]], ids: list[str], completion_only_loss: bool) -> Any:
    arguments = SFTConfig(
        **setup.arguments(setup.config.learning_rate),
        max_length=setup.config.max_length,
        completion_only_loss=completion_only_loss,
        dataset_kwargs={"skip_prepare_dataset": not completion_only_loss},
    )
    trainer = SupervisedTrainer(
        model=setup.model, args=arguments, train_dataset=setup.dataset(data), processing_class=setup.tokenizer
    )
    trainer.ids, trainer.effective_batch = ids, setup.config.batch_size
    trainer.data_collator = WithRows(trainer.data_collator)
    if not setup.gpu:
        use_answer_head(setup.model.get_base_model())
    return trainer
