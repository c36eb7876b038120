"""A static embedder distilled from the bundled MiniLM: a vector a word piece, a hundred times faster than the transformer.

Tulkens & van Dongen, Model2Vec, 2024 (https://github.com/MinishLab/model2vec): each word piece goes through the transformer
once, the vectors are reduced by PCA and weighted by rank (SIF); a text is the mean of its pieces. It hears no word order and no
context: good for finding near-duplicates, not for telling questions apart.
"""

import io
import os
import shutil
from collections.abc import Sequence
from contextlib import redirect_stderr
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from csift.exceptions import ModelError
from csift.models import MINILM_SHA256, minilm_folder, quiet_libraries

DIM = 128  # half of model2vec's default: the search for duplicates takes half as long and finds the same ones


class StaticEmbedder:
    """An Embedder over a distilled model's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.id = folder.name
        self.dim = DIM

    @cached_property
    def model(self) -> Any:
        """The `model2vec.StaticModel`, loaded by the first text."""
        from model2vec import StaticModel

        return StaticModel.from_pretrained(str(self.folder))

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Texts → float32 [n, 128], unit length; a text without a known word piece gives zeros."""
        if not texts:
            return np.zeros((0, self.dim), dtype=np.float32)
        # one call for the tokenizer: it spreads a batch over the cores by itself, and joblib threads on top of it only wait
        vectors = np.asarray(self.model.encode(list(texts), use_multiprocessing=False, batch_size=8192), dtype=np.float32)
        return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)


def static_embedder(root: Path) -> StaticEmbedder:
    """The static embedder; distilled by the first call (about a minute on 2 cores) and kept under `root`/models.

    Raises:
        ModelError: MiniLM is not installed, or the folder cannot be written.
    """
    target = root / "models" / f"static-minilm-{MINILM_SHA256[:8]}-{DIM}"
    if not target.exists():
        _distil(target)
    return StaticEmbedder(target)


def _distil(target: Path) -> None:
    source = minilm_folder()
    part = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        part.mkdir(parents=True)
        from model2vec.distill import distill_from_model
        from transformers import AutoModel, AutoTokenizer

        quiet_libraries()
        with redirect_stderr(io.StringIO()):  # a progress bar that has no switch
            model, tokenizer = AutoModel.from_pretrained(source), AutoTokenizer.from_pretrained(source)
            distill_from_model(model, tokenizer, device="cpu", pca_dims=DIM).save_pretrained(part)
        part.rename(target)
    except OSError as error:
        if not target.exists():  # else another process was first
            raise ModelError(f"cannot keep the static embedder in {target}: {error}; free some space") from None
    finally:
        shutil.rmtree(part, ignore_errors=True)
