"""Tokens as csift counts them for chunks: those of the bundled model's tokenizer, whatever the base model, so that a chunk is the
same for every model."""

from functools import lru_cache
from typing import Any

from csift.models import bundled_tokenizer


@lru_cache(maxsize=1)
def _tokenizer() -> Any:
    return bundled_tokenizer()


def count_tokens(text: str) -> int:
    """Tokens of a text, without those that open and close it. The tokenizer loads with the first."""
    return len(_tokenizer().encode(text, add_special_tokens=False))
