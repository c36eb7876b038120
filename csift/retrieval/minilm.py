"""The bundled MiniLM, run in batches without padding."""

from collections.abc import Iterator, Sequence
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from csift.models import best_dtype, minilm_folder, quiet_libraries, use_threads

MAX_TOKENS = 256  # sentence_bert_config.json of the model; longer texts are cut there, as sentence-transformers does
BATCH_TOKENS = 2048  # the fastest of 1024, 2048, 4096 and 8192 on 2 cores


class MiniLM:
    """all-MiniLM-L6-v2 (Wang et al., MiniLM, NeurIPS 2020; sentence-transformers): mean of the token vectors, 384 dimensions.

    A batch holds texts of one token count only. Nothing is padded and no mask is needed, which is faster, and the vector of a
    text does not depend on what is embedded with it: on a CPU it is the same to the bit in bfloat16, and to 1e-6 in float32.
    `id` names the number format, because vectors of the two differ (cosine 0.9999).
    """

    dim = 384

    def __init__(self, threads: int, dtype: str | None = None) -> None:
        """`dtype` is float32 or bfloat16; by default what this machine is fast in."""
        self.threads = threads
        self._dtype = dtype

    @cached_property
    def id(self) -> str:
        """Pins the vectors in records."""
        return f"all-minilm-l6-v2-{self.dtype}"

    @cached_property
    def dtype(self) -> str:
        """Number format of the weights."""
        return self._dtype or best_dtype()

    @cached_property
    def _model(self) -> Any:  # loaded by the first text: a run that embeds nothing does not pay for it
        import torch
        from transformers import AutoModel

        quiet_libraries()
        use_threads(self.threads)
        model = AutoModel.from_pretrained(minilm_folder(), dtype=getattr(torch, self.dtype), add_pooling_layer=False)
        return model.to("cuda" if torch.cuda.is_available() else "cpu").eval()

    @cached_property
    def _tokenizer(self) -> Any:
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(minilm_folder())

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Texts → float32 [n, 384], unit length."""
        import torch

        vectors = np.zeros((len(texts), self.dim), dtype=np.float32)
        for rows, states in self._states(texts):
            vectors[rows] = torch.nn.functional.normalize(states.mean(dim=1), dim=1).cpu().numpy()
        return vectors

    def token_vectors(self, texts: Sequence[str]) -> list[NDArray[np.float32]]:
        """Texts → float32 [tokens, 384] each, rows of unit length; the first and the last are [CLS] and [SEP]."""
        import torch

        vectors: dict[int, NDArray[np.float32]] = {}
        for rows, states in self._states(texts):
            vectors.update(zip(rows, torch.nn.functional.normalize(states, dim=2).cpu().numpy(), strict=True))
        return [vectors[row] for row in range(len(texts))]

    def _states(self, texts: Sequence[str]) -> Iterator[tuple[list[int], Any]]:
        """Rows of texts with a token count in common, and their last hidden states, float32 [rows, tokens, 384]."""
        import torch

        if not texts:
            return
        tokens = self._tokenizer(list(texts), truncation=True, max_length=MAX_TOKENS)["input_ids"]
        for rows in _batches(tokens):
            ids = torch.tensor([tokens[row] for row in rows], device=self._model.device)
            with torch.inference_mode():
                states = self._model(input_ids=ids).last_hidden_state.float()
            yield rows, states


def _batches(tokens: Sequence[Sequence[int]]) -> Iterator[list[int]]:
    """Row numbers in batches of one token count each."""
    by_length: dict[int, list[int]] = {}
    for row, ids in enumerate(tokens):
        by_length.setdefault(len(ids), []).append(row)
    for length, rows in sorted(by_length.items()):
        size = max(1, BATCH_TOKENS // length)
        for start in range(0, len(rows), size):
            yield rows[start : start + size]


@lru_cache(maxsize=1)
def minilm(threads: int) -> MiniLM:
    """The one MiniLM of this process."""
    return MiniLM(threads)
