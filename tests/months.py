"""A year of product news in folders by month, and a loop over it whose teacher is a served stand-in."""

import json
from pathlib import Path

from csift.config import LoopConfig

MONTHS = tuple(f"2024-{month:02d}" for month in range(1, 13))
THINGS = ("pump", "valve", "heater", "blower", "winch", "mixer", "crane", "drill", "press", "lathe", "kiln", "loom")


def write_year(folder: Path, maker: str, months: tuple[str, ...] = MONTHS) -> None:
    """A document a month to learn from, named after its maker, and two without a month, six questions each, to be judged on."""
    labels = []
    for number, month in enumerate(months):
        thing = THINGS[number]
        place = folder / "docs" / month / f"{thing}.md"
        place.parent.mkdir(parents=True)
        place.write_text(
            f"# {maker} {thing}\n\nThe {maker} {thing} weighs {number + 3} kg and runs at {number + 12} V.\n\n"
            f"{maker} gives the {thing} {number + 2} years and cleans it every {10 * number + 5} days.\n"
        )
    for number, name in enumerate(("archive", "museum")):
        facts = {"weighs": "kg", "holds": "litres", "lifts": "metres", "draws": "watts", "waits": "minutes", "measures": "mm"}
        told = {verb: f"{7 * number + place + 2} {unit}" for place, (verb, unit) in enumerate(facts.items())}
        (folder / "docs" / f"{name}.md").write_text("\n\n".join(f"The {name} {verb} {much}." for verb, much in told.items()))
        labels += [
            {
                "id": f"{name}-{verb}",
                "question": f"How much is it that the {name} {verb}?",
                "answer": much,
                "document": f"{name}.md",
            }
            for verb, much in told.items()
        ]
    (folder / "labels.jsonl").write_text("".join(json.dumps({**label, "split": "eval"}) + "\n" for label in labels))
    traffic = [{"session": f"s{i}", "question": f"Question {i} about the {THINGS[i % 12]}"} for i in range(24)]
    (folder / "traffic.jsonl").write_text("".join(json.dumps(row) + "\n" for row in traffic))


def year_config(folder: Path, project: str, model: Path, teacher: str, **sections: object) -> LoopConfig:
    """The loop over that folder: a tiny base model, a served teacher that writes four questions a month."""
    told = {
        "project": project,
        "corpus": {
            "sources": [{"location": str(folder / "docs")}],
            "questions": [folder / "labels.jsonl"],
            "scrub": [],
            "chunk_size": 80,
            "chunk_overlap": 0,
        },
        "teacher": {"model": teacher, "concurrency": 2, "max_tokens": 300},
        "synthesis": {"candidates": 4, "pairs_per_document": 4, "rounds": 1, "min_rating": 3},
        "training": {"base_model": str(model), "max_steps": 2, "batch_size": 2},
        "gate": {"min_items": 4},
        "drift": {"reference": folder / "traffic.jsonl", "current": folder / "traffic.jsonl"},
    }
    return LoopConfig.model_validate({**told, **sections})
