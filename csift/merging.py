"""An adapter merged into its base: a folder in Hugging Face's layout, which transformers, vLLM and Bedrock's import load.

The weights have the precision of the base: merged in float32 and rounded once, as csift itself answers. What transformers 5
writes into the configuration is understood by its predecessors only in part, so it stands there in both ways.
"""

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from csift.exceptions import StorageError
from csift.inference import load_tokenizer, load_weights
from csift.models import BaseModel

CARD = "README.md"
TERMS = ("LICENSE*", "NOTICE*", "USE_POLICY*")  # of the base, which go with it


def write_merged(base: BaseModel, adapter_path: Path, card: str, target: Path) -> int:
    """Writes the folder, whole or not at all; returns the bytes of its files.

    Args:
        card: the model card, as Markdown.

    Raises:
        ModelError: base or adapter cannot be loaded, or do not belong together.
        StorageError: there is something in the folder already, or it cannot be written.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise StorageError(f"{target} is there and not empty; name a new folder")
    tokenizer, model = load_tokenizer(base), load_weights(base, str(adapter_path), _precision(base))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as made:
            part = Path(made) / "model"
            model.save_pretrained(part)
            tokenizer.save_pretrained(part)
            _edit(part / "config.json", _as_before(json.loads((part / "config.json").read_text())))
            _edit(
                part / "tokenizer_config.json",
                {"tokenizer_class": "PreTrainedTokenizerFast", "chat_template": tokenizer.chat_template},
            )
            for terms in (path for pattern in TERMS for path in base.path.glob(pattern)):
                shutil.copyfile(terms, part / terms.name)
            (part / CARD).write_text(card, encoding="utf-8")
            part.replace(target)
    except OSError as error:
        raise StorageError(f"cannot write {target}: {error.strerror or error}; free some space or name another folder") from None
    return sum(path.stat().st_size for path in target.iterdir())


def licence(base: BaseModel) -> str | None:
    """What the base's own model card says of its licence, by Hugging Face's id of it; None when nothing says so."""
    if base.name in BUNDLED_LICENCES:
        return BUNDLED_LICENCES[base.name]
    try:
        lines = (base.path / CARD).read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    head = lines[1 : lines.index("---", 1)] if lines[:1] == ["---"] and "---" in lines[1:] else []
    said = (line.partition(":")[2].strip(" '\"") for line in head if line.startswith("license:"))
    return next(said, None) or None


BUNDLED_LICENCES = {"smollm2-135m-instruct": "apache-2.0"}


def _precision(base: BaseModel) -> str:
    config = json.loads((base.path / "config.json").read_text())
    return str(config.get("dtype") or config.get("torch_dtype") or "float32")


def _as_before(config: dict[str, Any]) -> dict[str, Any]:
    """What transformers 4 reads the precision and the rotary embedding from."""
    rope = dict(config.get("rope_parameters") or {})
    told: dict[str, Any] = {"torch_dtype": config.get("dtype")}
    if "rope_theta" in rope:
        told["rope_theta"] = rope.pop("rope_theta")
    if rope.get("rope_type", "default") != "default":
        told["rope_scaling"] = rope
    return told


def _edit(path: Path, more: dict[str, Any]) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **more}, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
