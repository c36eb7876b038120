"""LoRA adapters: how they start, what they are called, what their manifest says.

LoRA (Hu et al., ICLR 2022), rank-stabilised LoRA (Kalajdzievski, 2023), DoRA (Liu et al., ICML 2024), QLoRA (Dettmers et al.,
NeurIPS 2023).
"""

import errno
import json
import shutil
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from csift.config import TrainingConfig
from csift.exceptions import TrainingError
from csift.hashing import content_id
from csift.models import BaseModel, best_dtype
from csift.schemas import Method

CONFIG = "adapter_config.json"

# Of the configuration: what does not change the weights, or is named apart.
ELSEWHERE = {"base_model", "checkpoint_every", "methods", "goal", "hours", "run_on", "launcher", "accelerate", "bedrock"}


def adapter_id(base: BaseModel, dataset_id: str, config: TrainingConfig, methods: Sequence[Method]) -> str:
    """The id of the adapter that this base, dataset, configuration and sequence of stages give."""
    return content_id("adapter", [list(methods), base.revision, dataset_id, config.model_dump(exclude=ELSEWHERE)])


def config_hash(config: TrainingConfig) -> str:
    """What an Adapter record names its configuration by."""
    return content_id("config", config.model_dump())


def versions() -> dict[str, str]:
    """The libraries whose releases may change the weights."""
    return {name: version(name) for name in ("torch", "transformers", "peft", "trl")}


def lora(config: TrainingConfig, base: BaseModel, task: str) -> Any:
    """peft's configuration; `task` is CAUSAL_LM, or SEQ_CLS for a reward model, whose new head is kept too."""
    from peft import LoraConfig

    targets = config.target_modules
    return LoraConfig(
        r=config.lora_rank,
        lora_alpha=config.lora_alpha,
        target_modules=targets[0] if targets == ("all-linear",) else list(targets),
        use_dora=config.adapter == "dora",
        use_rslora=config.adapter == "rslora",
        task_type=task,
        modules_to_save=["score"] if task == "SEQ_CLS" else None,
        base_model_name_or_path=base.name,
    )


def start(base: BaseModel, config: TrainingConfig, previous: Path | None) -> Any:
    """A peft model to train: with a new adapter, drawn by the seed, or going on from the one in the folder `previous`.

    Raises:
        TrainingError: QLoRA without a GPU, or target modules that the model does not have.
    """
    import torch
    from peft import PeftModel, get_peft_model
    from transformers import AutoModelForCausalLM

    from csift.training.attention import use_causal_attention
    from csift.training.lean import lean

    model = AutoModelForCausalLM.from_pretrained(base.path, dtype=getattr(torch, best_dtype()), **_quantised(config))
    if config.adapter == "qlora":
        from peft import prepare_model_for_kbit_training

        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    torch.manual_seed(config.seed)
    try:
        if previous:
            started = PeftModel.from_pretrained(model, previous, is_trainable=True)
        else:
            started = get_peft_model(model, lora(config, base, "CAUSAL_LM"))
    except ValueError as error:
        first = str(error).splitlines()[0]
        raise TrainingError(f"no adapter for {base.name}: {first}; correct training.target_modules") from None
    started.peft_config["default"].base_model_name_or_path = base.name  # no path of this machine in the artifact
    lean(started)
    use_causal_attention(started.get_base_model())
    return started


def _quantised(config: TrainingConfig) -> dict[str, Any]:
    if config.adapter != "qlora":
        return {}
    import torch
    from transformers import BitsAndBytesConfig

    if not torch.cuda.is_available():
        raise TrainingError(
            "training.adapter = qlora keeps the base model in 4 bits, which needs a GPU; use lora, or train there"
        )
    four_bit = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=torch.bfloat16
    )
    return {"quantization_config": four_bit, "device_map": {"": torch.cuda.current_device()}}


def tidy(folder: Path) -> None:
    """Only weights and configuration are published, not what trainers write beside them; same training, same bytes."""
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name not in ("adapter_model.safetensors", CONFIG):
            path.unlink()
    told = json.loads((folder / CONFIG).read_text())
    ordered = {key: sorted(value) if isinstance(value, list) else value for key, value in told.items()}  # peft's are sets
    (folder / CONFIG).write_text(json.dumps(ordered, indent=2, sort_keys=True) + "\n")


def disk_full(error: BaseException | None) -> bool:
    """torch and safetensors report a full disk as errors of their own kinds."""
    while error is not None:
        told = str(error)
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if any(sign in told for sign in ("No space left", "os error 28", "PytorchStreamWriter failed", "file write failed")):
            return True
        error = error.__cause__ or error.__context__
    return False
