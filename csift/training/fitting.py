"""Rows that are longer than a model is trained on: the middle of the prompt's longest message goes, never the answer.

A prompt opens with what to do and ends with the question; between them are the excerpts, of which some can be missed.
"""

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any, TypeVar

from csift.exceptions import TrainingError
from csift.interfaces import Messages
from csift.plaintext import as_text, chat_as_text
from csift.training.rows import PreferenceRow, PromptRow, RatedRow, ScoredRow, TextRow, TrainingRow

R = TypeVar("R", TrainingRow, PreferenceRow, RatedRow, ScoredRow, PromptRow)
GAP = " … "
ANSWERS = ("completion", "chosen", "rejected", "gold")  # fields of rows that hold an answer


def fit(tokenizer: Any, rows: Sequence[R], limit: int, spare: int = 0) -> tuple[list[R], int]:
    """The rows as plain text (csift.plaintext), their prompts cut so that each chat has at most `limit` tokens, `spare` of them
    kept for an answer that the model gives itself; and how many were cut.

    Raises:
        TrainingError: an answer alone is longer than the limit.
    """
    fitted, cut = [], 0
    for row in (_plain(tokenizer, row) for row in rows):
        prompt = _fitted(tokenizer, row.prompt, _longest(row), limit - spare, row.id)
        cut += prompt is not row.prompt
        fitted.append(row if prompt is row.prompt else replace(row, prompt=prompt))
    return fitted, cut


def blocks(tokenizer: Any, rows: Sequence[TextRow], size: int) -> list[list[int]]:
    """Token ids of the texts one behind another, each closed by an end-of-text token, cut into blocks of `size`; a rest shorter
    than 32 tokens is dropped where there is more."""
    ids: list[int] = []
    for text in tokenizer([as_text(tokenizer, row.text) for row in rows], add_special_tokens=False)["input_ids"]:
        ids += [*text, tokenizer.eos_token_id]
    cut = [ids[start : start + size] for start in range(0, len(ids), size)]
    return cut[:-1] if len(cut) > 1 and len(cut[-1]) < 32 else cut


def _plain(tokenizer: Any, row: R) -> R:
    names = [field.name for field in fields(row) if field.name in ANSWERS]
    changed: dict[str, Any] = {name: as_text(tokenizer, getattr(row, name)) for name in names}
    return replace(row, prompt=chat_as_text(tokenizer, row.prompt), **changed)


def _longest(row: TrainingRow | PreferenceRow | RatedRow | ScoredRow | PromptRow) -> str:
    if isinstance(row, PreferenceRow):
        return max(row.chosen, row.rejected, key=len)
    return "" if isinstance(row, PromptRow) else row.completion


def _fitted(tokenizer: Any, prompt: Messages, answer: str, limit: int, id_: str) -> Messages:
    def tokens(messages: Messages) -> int:
        chat = [*messages, {"role": "assistant", "content": answer}]
        text = tokenizer.apply_chat_template(chat, tokenize=False)
        # A token is at least a character, so most rows need no counting.
        return len(text) if len(text) <= limit else len(tokenizer(text, add_special_tokens=False)["input_ids"])

    if tokens(prompt) <= limit:
        return prompt
    place = max(range(len(prompt)), key=lambda i: len(prompt[i]["content"]))
    words = prompt[place]["content"].split(" ")

    def shortened(kept: int) -> Messages:
        text = " ".join(words[: kept - kept // 2]) + GAP + " ".join(words[len(words) - kept // 2 :])
        return [{**message, "content": text} if i == place else message for i, message in enumerate(prompt)]

    low, high = 0, len(words) - 1  # of the words, this many fit and this many may
    if tokens(shortened(low)) > limit:
        raise TrainingError(
            f"the answer of training example {id_ or '(no id)'} and its instructions alone are longer than "
            f"training.max_length = {limit} tokens; raise it, or leave the example out"
        )
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if tokens(shortened(middle)) <= limit else (low, middle - 1)
    return shortened(low)
