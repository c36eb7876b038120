"""The names before LanguageModel, for csift.synthesis.old; they go with it."""

from collections.abc import Callable, Sequence
from typing import Any

from csift.interfaces import Progress, no_progress
from csift.llm.local import GatheringEngine
from csift.llm.mapping import LanguageModel, R, T
from csift.schemas import Failure


def local_lm(engine: GatheringEngine, name: str) -> Any:
    """The engine as a `dspy.LM`."""
    return LanguageModel(engine).lm


def map_batched(
    work: Callable[[T], R], items: Sequence[T], engine: GatheringEngine, progress: Progress = no_progress, stage: str = ""
) -> list[R | Failure]:
    """LanguageModel.map."""
    return LanguageModel(engine).map(work, items, progress, stage)
