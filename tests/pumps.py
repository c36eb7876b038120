"""A small catalogue of pumps with labels and traffic, written into a folder, and a loop over it that takes seconds."""

import json
from pathlib import Path
from typing import Any

from csift.config import LoopConfig

NAMES = ("Alder", "Birch", "Cedar", "Damson", "Elder", "Fir")


def write_catalogue(folder: Path, names: tuple[str, ...] = NAMES) -> None:
    """Six one-paragraph products, two questions about each: half of the products for training, half for evaluation."""
    (folder / "docs").mkdir(parents=True)
    labels = []
    for i, name in enumerate(names):
        facts = f"The {name} pump weighs {i + 3} kg. It lifts water {10 * (i + 1)} m and needs oil every {i + 2} weeks."
        text = f"# {name} pump\n\n{facts}\n"
        (folder / "docs" / f"{name.lower()}.md").write_text(text)
        split = "train" if i % 2 == 0 else "eval"
        for n, (question, answer) in enumerate(
            ((f"How heavy is the {name} pump?", f"{i + 3} kg"), (f"How high does the {name} lift water?", f"{10 * (i + 1)} m"))
        ):
            labels.append(
                {"id": f"{name}-{n}", "question": question, "answer": answer, "document": f"{name.lower()}.md", "split": split}
            )
    (folder / "labels.jsonl").write_text("".join(json.dumps(label) + "\n" for label in labels))
    traffic = [{"session": f"s{i}", "question": f"Question {i} about the {names[i % len(names)]} pump"} for i in range(24)]
    (folder / "traffic.jsonl").write_text("".join(json.dumps(row) + "\n" for row in traffic))


def configure(folder: Path, project: str, model: Path, **training: Any) -> LoopConfig:
    """The loop over that folder with a given model as base and teacher."""
    return LoopConfig.model_validate(
        {
            "project": project,
            "corpus": {"sources": [{"location": str(folder / "docs")}], "questions": [folder / "labels.jsonl"]},
            "teacher": {"model": str(model), "tune_steps": 2},
            "synthesis": {"candidates": 6, "demonstrations": 1},
            "training": {"base_model": str(model), "max_steps": 3, "batch_size": 2, "checkpoint_every": 1, **training},
            "gate": {"min_items": 4},
            "drift": {"reference": folder / "traffic.jsonl", "current": folder / "traffic.jsonl"},
        }
    )


def served(config: LoopConfig, **teacher: object) -> LoopConfig:
    """The project with a served teacher of its own name, so that nothing of it is in the ledger; see teachers.quantities."""
    told = config.teacher.model_copy(update={"model": f"openai/{config.project}", **teacher})
    wanted = config.synthesis.model_copy(update={"candidates": 12, "pairs_per_document": 4, "min_rating": 3})
    return config.model_copy(update={"teacher": told, "synthesis": wanted})


def toml_of(config: LoopConfig) -> str:
    """The configuration as a project's TOML."""
    lines = [f'project = "{config.project}"']
    for section, values in config.model_dump(mode="json", exclude_none=True).items():
        if isinstance(values, dict):
            lines += [f"\n[{section}]", *(f"{name} = {_toml(value)}" for name, value in values.items())]
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{name} = {_toml(part)}" for name, part in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(_toml(part) for part in value) + "]"
    return json.dumps(value)
