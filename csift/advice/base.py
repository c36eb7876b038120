"""What is known of a base model from its files."""

import json
from pathlib import Path

from csift.advice.records import BaseFacts
from csift.models import BUNDLED_GGUF, BaseModel

BUNDLED_LICENCE = "apache-2.0"
TUNED = ("instruct", "chat", "-it")


def base_facts(base: BaseModel) -> BaseFacts:
    """Kind, licence, size and window of a model on this machine. Raises nothing of its own: the model was resolved before."""
    told = json.loads((base.path / "config.json").read_text())
    template = _has_template(base.path)
    return BaseFacts(
        name=base.name,
        kind="instruct" if template or any(word in base.name.lower() for word in TUNED) else "base",
        licence=BUNDLED_LICENCE if base.name in BUNDLED_GGUF else _licence(base.path),
        parameters=sum(_parameters(path) for path in sorted(base.path.glob("*.safetensors"))),
        context_length=told.get("max_position_embeddings", 2048),
        has_chat_template=template,
    )


def _has_template(folder: Path) -> bool:
    if (folder / "chat_template.jinja").is_file():
        return True
    tokenizer = folder / "tokenizer_config.json"
    return tokenizer.is_file() and "chat_template" in json.loads(tokenizer.read_text())


def _licence(folder: Path) -> str:
    """The `license:` of the model card's front matter, or "unknown"."""
    card = folder / "README.md"
    lines = card.read_text("utf-8", errors="replace").splitlines() if card.is_file() else []
    for line in lines[1 : lines.index("---", 1) if "---" in lines[1:] else 0]:
        if line.startswith("license:"):
            return line.partition(":")[2].strip().strip("\"'")
    return "unknown"


def _parameters(weights: Path) -> int:
    """Numbers in a safetensors file, from its header alone (https://huggingface.co/docs/safetensors)."""
    with weights.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    total = 0
    for name, tensor in header.items():
        if name != "__metadata__":
            count = 1
            for size in tensor["shape"]:
                count *= size
            total += count
    return total
