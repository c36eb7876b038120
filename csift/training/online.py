"""Learning from its own answers: grpo (Shao et al., DeepSeekMath, 2024), rloo (Ahmadian et al., Back to Basics, ACL 2024)."""

from collections.abc import Sequence
from typing import Any

from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer

from csift.training.answer_head import use_answer_head
from csift.training.fitting import fit
from csift.training.lean import lean
from csift.training.rows import PromptRow
from csift.training.setup import Setup
from csift.training.watch import ROWS, Watched

TEMPERATURE = 1.0


class GroupTrainer(Watched, GRPOTrainer):
    """GRPOTrainer, watched."""


class LeaveOneOutTrainer(Watched, RLOOTrainer):
    """RLOOTrainer, watched."""


def grpo(setup: Setup, rows: Sequence[PromptRow]) -> Any:
    """A trainer towards answers that are better than others to the same prompt."""
    return _trainer(setup, rows, GroupTrainer, GRPOConfig)


def rloo(setup: Setup, rows: Sequence[PromptRow]) -> Any:
    """Likewise, each answer measured against the mean of the others (REINFORCE with a leave-one-out baseline)."""
    return _trainer(setup, rows, LeaveOneOutTrainer, RLOOConfig)


def _trainer(setup: Setup, rows: Sequence[PromptRow], kind: Any, arguments: Any) -> Any:
    config = setup.config
    fitted, setup.truncated = fit(setup.tokenizer, rows, config.max_length, spare=config.answer_tokens)

    def reward(completions: list[Any], **columns: Any) -> list[float]:
        answers = [completion[0]["content"] for completion in completions]
        return setup.reward.score([fitted[number] for number in columns[ROWS]], answers)

    # One pass over the data holds all steps, so that the order of a run that goes on is that of one that was never stopped.
    prompts = config.max_steps * config.batch_size // config.samples
    turns = -(-prompts // len(fitted))
    data = [{"prompt": list(row.prompt), ROWS: number} for number, row in enumerate(fitted)] * turns
    trainer = kind(
        model=setup.model,
        reward_funcs=reward,
        args=arguments(
            **setup.arguments(config.online_rate),
            num_generations=config.samples,
            max_completion_length=config.answer_tokens,
            temperature=TEMPERATURE,
            beta=config.kl,
        ),
        train_dataset=setup.dataset(data),
        processing_class=setup.tokenizer,
    )
    trainer.ids = [row.id for row in rows]
    lean(setup.model)  # the reference that trl added
    if not setup.gpu:
        use_answer_head(setup.model.get_base_model(), TEMPERATURE)
    return trainer
