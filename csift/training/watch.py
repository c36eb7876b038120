"""What csift adds to every trainer: an order that can be taken up again, a stop with names when the loss explodes, progress."""

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from csift.exceptions import TrainingError
from csift.interfaces import Progress
from csift.schemas import LossPoint, Method
from csift.training.checkpoints import Checkpoints
from csift.training.order import ByLength

EXPLODED = 50.0  # nats a token, or the like: four times what guessing among 100,000 tokens costs
ROWS = "row"


class WithRows:
    """A collator that keeps beside a batch which rows it was made of."""

    def __init__(self, collate: Callable[[list[dict[str, Any]]], dict[str, Any]]) -> None:
        self.collate = collate

    def __call__(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        import torch

        rows = [example[ROWS] for example in examples]
        batch = self.collate([{name: value for name, value in example.items() if name != ROWS} for example in examples])
        return {**batch, ROWS: torch.tensor(rows)}


class Watched:
    """Mixed into a trl trainer; `ids` are the example ids of its rows. An impossible loss, or a gradient without a length, stops
    the run and names the examples."""

    ids: Sequence[str]
    effective_batch: int
    _rows: Sequence[int] = ()

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Any:
        """As the trainer's, with a look at the loss."""
        rows = [one[ROWS] for one in inputs] if isinstance(inputs, list) else inputs.pop(ROWS).tolist()
        loss = super().training_step(model, inputs, num_items_in_batch)  # type: ignore[misc]
        value = float(loss) * self.current_gradient_accumulation_steps  # type: ignore[attr-defined]
        if not math.isfinite(value) or abs(value) > EXPLODED:
            raise TrainingError(impossible("loss", value, self._step(), self._named(rows)))
        self._rows = rows
        return loss

    def _clip_grad_norm(self, model: Any) -> Any:
        """As the trainer's, with a look at the norm: clipped by an infinite one, every gradient is 0, and nothing is learnt."""
        norm = super()._clip_grad_norm(model)  # type: ignore[misc]
        if norm is not None and not math.isfinite(float(norm)):
            raise TrainingError(impossible("gradient's norm", float(norm), self._step(), self._named(self._rows)))
        return norm

    def _step(self) -> int:
        return int(self.state.global_step) + 1  # type: ignore[attr-defined]

    def _named(self, rows: Sequence[int]) -> list[str]:
        return [self.ids[row] for row in rows]


class InOrder(Watched):
    """Watched, and in an order that is drawn from seed and epoch alone, rows of like length together."""

    def _get_train_sampler(self, train_dataset: Any = None) -> ByLength:
        rows = self.train_dataset if train_dataset is None else train_dataset  # type: ignore[attr-defined]
        return ByLength(_lengths(rows), self.effective_batch, self.args.seed)  # type: ignore[attr-defined]


def impossible(what: str, value: float, step: int, ids: Sequence[str]) -> str:
    """The message of a run that stops."""
    named = ", ".join(dict.fromkeys(ids)) or "(no ids)"
    return f"the {what} is {value:.4g} at step {step}, in a batch of {named}; look at these examples, or lower the learning rate"


def _lengths(rows: Any) -> list[int]:
    for columns in (("input_ids",), ("prompt_ids", "chosen_ids"), ("prompt_ids", "completion_ids"), ("chosen_input_ids",)):
        if set(columns) <= set(rows.column_names):
            return [sum(len(part) for part in parts) for parts in zip(*(rows[column] for column in columns), strict=True)]
    return [len(ids) for ids in rows["chosen_ids"]]


class Report(TrainerCallback):
    """Losses, progress and checkpoints; of several processes the first one's."""

    def __init__(
        self,
        method: Method,
        total: int,
        checkpoints: Checkpoints,
        on_loss: Callable[[LossPoint], None],
        progress: Progress,
    ) -> None:
        self.method = method
        self.total = total
        self.checkpoints = checkpoints
        self.on_loss = on_loss
        self.progress = progress
        self._began = time.monotonic()
        self._first = 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._began, self._first = time.monotonic(), state.global_step
        if state.is_world_process_zero:
            self.progress("train", state.global_step, self.total, self.method)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        if logs is None or "loss" not in logs or not state.is_world_process_zero:
            return
        point = LossPoint(
            step=state.global_step,
            loss=float(logs["loss"]),
            learning_rate=float(logs["learning_rate"]),
            tokens=int(logs.get("num_tokens", 0)),
        )
        self.on_loss(point)
        self.progress("train", point.step, self.total, f"{self.method} loss {point.loss:.2f}{self._pace(point)}")

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        import torch

        if args.world_size > 1:
            torch.distributed.barrier()  # the others have written their random states
        if state.is_world_process_zero:
            self.checkpoints.save(Path(args.output_dir) / f"checkpoint-{state.global_step}", state.global_step)

    def _pace(self, point: LossPoint) -> str:
        """Tokens a second since the start, and the minutes left; the first step, which warms up, tells neither."""
        steps = point.step - self._first
        if steps < 2:
            return ""
        seconds = time.monotonic() - self._began
        left = (self.total - point.step) * seconds / steps
        rate = f", {point.tokens / point.step * steps / seconds:.0f} tokens/s" if point.tokens else ""
        return f"{rate}, {left / 60:.1f} min left"
