"""Text of documents and people stays text: what looks like a model's control token in it opens no turn and ends none.

A chat template writes turns with control tokens (`<|im_start|>system`), and a tokenizer reads them wherever they stand: a
document that quotes them could speak as the system (OWASP Top 10 for LLM Applications 2025, LLM01 "Prompt Injection").
"""

import re
from functools import lru_cache
from typing import Any

from csift.interfaces import Messages


def as_text(tokenizer: Any, text: str) -> str:
    """The text with a space within each control token of this tokenizer: `< |im_end|>`. Readers still see what was written."""
    return _control(tokenizer).sub(lambda found: f"{found[0][0]} {found[0][1:]}", text)


def chat_as_text(tokenizer: Any, messages: Messages) -> Messages:
    """The chat with the contents of its messages `as_text`."""
    return [{**message, "content": as_text(tokenizer, message["content"])} for message in messages]


@lru_cache(maxsize=8)
def _control(tokenizer: Any) -> re.Pattern[str]:
    added = tokenizer.added_tokens_decoder.values()
    # Marks such as <think> are often not flagged as special; words and runs of spaces that a model has added are text.
    marks = {token.content for token in added if token.special or token.content.startswith(("<", "["))}
    tokens = sorted((mark for mark in marks | set(tokenizer.all_special_tokens) if len(mark.strip()) > 1), key=len, reverse=True)
    return re.compile("|".join(re.escape(token) for token in tokens) or r"(?!)")
