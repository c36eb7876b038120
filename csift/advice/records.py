"""What advice is asked with and what it answers."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from csift.schemas import Record
from csift.schemas.base import Method

AdapterKind = Literal["lora", "dora", "rslora", "qlora"]
Count = Annotated[int, Field(ge=0)]


class Inventory(Record):
    """What there is to learn from and to judge with, counted.

    `scores` counts the ratings of 1, 2, 3, 4 and 5; ratings of 4 and 5 serve as thumbs up, of 1 and 2 as thumbs down.
    """

    corpus_tokens: Count = 0
    human_pairs: Count = 0
    synthetic_pairs: Count = 0
    ai_preferences: Count = 0
    human_preferences: Count = 0
    thumbs_up: Count = 0
    thumbs_down: Count = 0
    scores: tuple[Count, Count, Count, Count, Count] = (0, 0, 0, 0, 0)
    eval_questions: Count = 0


class BaseFacts(Record):
    """The model that is trained. `parameters` and `context_length` are counts; `licence` is an SPDX identifier or "unknown"."""

    name: str
    kind: Literal["base", "instruct"]
    licence: str
    parameters: int = Field(gt=0)
    context_length: int = Field(gt=0)
    has_chat_template: bool


class TrainingBudget(Record):
    """Where and for how many hours may be trained; `gpu_memory_gb` is None on a CPU or when it is not known."""

    device: Literal["cpu", "gpu"]
    gpu_memory_gb: float | None = Field(None, gt=0)
    hours: float = Field(gt=0)

    @model_validator(mode="after")
    def _memory_of_a_gpu(self) -> "TrainingBudget":
        if self.device == "cpu" and self.gpu_memory_gb is not None:
            raise ValueError("gpu_memory_gb is given but the device is cpu; set device to gpu")
        return self


class Stage(Record):
    """One stage of the path; `hours` is a rough estimate."""

    method: Method
    reason: str
    hours: float


class LeftOut(Record):
    """A method that was considered and is not advised."""

    method: Method
    reason: str


class AdapterAdvice(Record):
    """The adapter; `memory_gb` is what training is expected to take at its peak."""

    kind: AdapterKind
    rank: int
    reason: str
    memory_gb: float


class Advice(Record):
    """The path of stages, in order. Every method is either in `path` or in `left_out`."""

    path: tuple[Stage, ...]
    left_out: tuple[LeftOut, ...]
    adapter: AdapterAdvice
    warnings: tuple[str, ...]
    hours: float
    tokens_per_second: float

    @property
    def stages(self) -> tuple[Method, ...]:
        """The methods to train, in order."""
        return tuple(stage.method for stage in self.path)
