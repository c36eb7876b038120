"""LoopConfig: what the loop does. Loaded from the project's TOML; the same model is the form of the Prefect UI.

Model names are here, endpoints and keys in Settings. Paths in a TOML are relative to that file.
"""

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from csift.exceptions import ConfigError


class Section(BaseModel):
    """A section of the configuration; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class CorpusConfig(Section):
    """Where the documents and the labelled questions are."""

    path: Path = Field(title="Corpus folder", description="Folder of .txt, .md and .jsonl documents")
    questions: tuple[Path, ...] = Field(title="Labelled questions", description="JSONL files of questions written by people")
    chunk_size: int = Field(450, ge=100, le=8000, title="Chunk size", description="Longest chunk, in characters")
    chunk_overlap: int = Field(60, ge=0, title="Chunk overlap", description="Characters shared by neighbouring chunks")
    eval_share: float = Field(0.3, gt=0, lt=1, description="Share of documents kept for evaluation, where a row names no split")
    golden_share: float = Field(0.1, ge=0, lt=1, description="Share of documents kept for the golden part, likewise")

    @model_validator(mode="after")
    def _overlap_fits(self) -> "CorpusConfig":
        if self.chunk_overlap * 2 > self.chunk_size:
            raise ValueError("chunk_overlap must be at most half of chunk_size")
        if self.eval_share + self.golden_share >= 1:
            raise ValueError("eval_share and golden_share leave no documents to train on")
        return self


class RetrievalConfig(Section):
    """What is shown to the model beside a question."""

    k: int = Field(3, ge=1, le=20, title="Chunks per question", description="How many chunks the model sees")


class TeacherConfig(Section):
    """The model that writes training data."""

    model: str = Field("smollm2-135m-instruct", title="Teacher model", description="Bundled model, folder, or hub name")


class SynthesisConfig(Section):
    """How much the teacher writes."""

    candidates: int = Field(48, ge=0, title="Synthetic candidates", description="Questions the teacher writes before filtering")
    demonstrations: int = Field(4, ge=0, le=16, description="Human examples shown to the teacher in each prompt")
    seed: int = Field(0, description="Draws the passages and demonstrations")


class DatasetConfig(Section):
    """What goes into a training set."""

    near_duplicate: float = Field(0.92, gt=0, le=1, description="Cosine similarity from which two questions are the same")
    leak: float = Field(0.9, gt=0, le=1, description="Cosine similarity to an eval question from which an example leaks")


class TrainingConfig(Section):
    """LoRA supervised fine-tuning."""

    base_model: str = Field("smollm2-135m-instruct", title="Base model", description="Bundled model, folder, or hub name")
    max_steps: int = Field(60, ge=1, title="Training steps", description="Optimiser steps")
    batch_size: int = Field(4, ge=1, description="Examples per step")
    learning_rate: float = Field(5e-4, gt=0, lt=1, description="Peak learning rate, linear decay")
    lora_rank: int = Field(16, ge=1, description="Rank of the LoRA matrices")
    lora_alpha: int = Field(32, ge=1, description="LoRA scale numerator")
    checkpoint_every: int = Field(15, ge=1, description="Steps between checkpoints")
    max_length: int = Field(1024, ge=64, description="Longest training row in tokens")
    seed: int = Field(0, description="Weights, order of rows")


class JudgeConfig(Section):
    """Who scores the answers."""

    name: Literal["reference"] = Field("reference", title="Judge", description="The reference judge needs no network")
    correct_from: float = Field(0.6, gt=0, le=1, description="Score from which an answer counts as correct")


class GateConfig(Section):
    """When a challenger becomes champion."""

    promote: bool = Field(True, title="Promote if improved", description="Off: the decision is made and recorded only")
    confidence: float = Field(0.95, gt=0.5, lt=1, description="Level of the paired interval")
    resamples: int = Field(10_000, ge=1000, description="Bootstrap resamples")
    min_items: int = Field(30, ge=2, description="Fewest eval questions the gate decides on")
    max_failure_share: float = Field(0.05, ge=0, lt=1, description="Failed judgements beyond this share give HOLD")
    seed: int = Field(0, description="Draws the resamples")


class DriftConfig(Section):
    """Which windows of customers' questions are compared."""

    reference: Path = Field(title="Reference questions", description="JSONL of {session, question} that the model was made for")
    current: Path = Field(title="Current questions", description="JSONL of {session, question} that arrive now")
    alpha: float = Field(0.05, gt=0, lt=0.5, description="False-alarm rate of one check")
    permutations: int = Field(500, ge=99, description="Permutations of the test")
    seed: int = Field(0, description="Draws the permutations")


class LoopConfig(Section):
    """Everything one turn of the loop is told."""

    project: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$", title="Project", description="Name of the project")]
    corpus: CorpusConfig
    retrieval: RetrievalConfig = RetrievalConfig()
    teacher: TeacherConfig = TeacherConfig()
    synthesis: SynthesisConfig = SynthesisConfig()
    dataset: DatasetConfig = DatasetConfig()
    training: TrainingConfig = TrainingConfig()
    judge: JudgeConfig = JudgeConfig()
    gate: GateConfig = GateConfig()
    drift: DriftConfig


def load_config(path: Path) -> LoopConfig:
    """Reads a project's TOML.

    Raises:
        ConfigError: the file is missing or not TOML, or a key is unknown or its value impossible; names key and file.
    """
    try:
        with path.open("rb") as file:
            raw = tomllib.load(file)
    except FileNotFoundError:
        raise ConfigError(f"no configuration at {path}; name one with --config") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, IsADirectoryError) as error:
        raise ConfigError(f"{path} is not a TOML file: {error}") from None
    try:
        return absolute(LoopConfig.model_validate(raw), path.resolve().parent)
    except ValidationError as error:
        raise ConfigError(f"{path}: {explain(error)}") from None


def absolute(config: LoopConfig, base: Path) -> LoopConfig:
    """The same configuration with its relative paths taken from `base`."""

    def fix(section: Any) -> Any:
        update: dict[str, Any] = {}
        for name, value in section:
            if isinstance(value, Path):
                update[name] = base / value.expanduser()
            elif isinstance(value, tuple) and any(isinstance(part, Path) for part in value):
                update[name] = tuple(base / part.expanduser() for part in value)
            elif isinstance(value, Section):
                update[name] = fix(value)
        return section.model_copy(update=update)

    return fix(config)


def explain(error: ValidationError) -> str:
    """The first problem of a validation error as one line that names the key."""
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"]) or "the file"
    if first["type"] == "extra_forbidden":
        return f"unknown key `{key}`; remove it or correct its name"
    if first["type"] == "missing":
        return f"`{key}` is missing; add it"
    return f"`{key}` = {first.get('input')!r} is impossible: {first['msg'].removeprefix('Value error, ')}"
