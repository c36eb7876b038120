"""A DatasetVersion as a file for other trainers: a row a line, as often as an epoch shows it, with the prompt csift trains on.

- `chat`: {"messages": [system, user, assistant]}, which trl, Axolotl, Unsloth, Together and OpenAI read.
- `trl`: {"prompt": [...], "completion": [...]}, trl's conversational prompt-completion rows: the loss is on the answer only.
- `trl-preference`: {"prompt", "chosen", "rejected"}, trl's conversational preference rows with explicit prompt.
- `trl-kto`: {"prompt", "completion", "label"}, trl's conversational unpaired preference rows: answers that people rated.
  Preference pairs are not among them; trl takes those apart itself.
- `bedrock`: the Converse form of Amazon Bedrock's customization and distillation jobs, schemaVersion bedrock-conversation-2024
  (docs.aws.amazon.com/bedrock/latest/userguide/preparing-text-data.html), single-turn. Not covered: the {"prompt", "completion"}
  form, and the form of Claude 3 Haiku with plain strings, which `chat` comes near.
- `csv`: a table for people, chunks as a JSON list.
"""

import csv
import io
import json
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import Any

from csift.exceptions import LabelError, StorageError
from csift.prompts import answer_prompt
from csift.schemas import Example, PreferencePair, RatedAnswer

COLUMNS = ("id", "question", "answer", "document", "style", "source", "generator", "contexts", "gold")


class Format(StrEnum):
    """The forms that a dataset is written in."""

    CHAT = "chat"
    TRL = "trl"
    TRL_PREFERENCE = "trl-preference"
    TRL_KTO = "trl-kto"
    BEDROCK = "bedrock"
    CSV = "csv"


_LACKING = {
    Format.TRL_PREFERENCE: "preference pairs; import feedback, or set synthesis.preferences and run again",
    Format.TRL_KTO: "rated answers; import feedback and run again",
}

Row = Example | PreferencePair | RatedAnswer


def export(
    path: Path,
    form: Format,
    examples: Sequence[Example],
    pairs: Sequence[PreferencePair],
    ratings: Sequence[RatedAnswer],
    texts: Mapping[str, str],
) -> int:
    """Writes the file whole or not at all; returns the number of rows. `texts`: chunk id → text, of every chunk that is shown.

    Raises:
        LabelError: there is nothing of this form to write.
        StorageError: the file cannot be written.
    """
    rows: Sequence[Any] = {Format.TRL_PREFERENCE: pairs, Format.TRL_KTO: ratings}.get(form, examples)
    if not rows:
        raise LabelError(f"the dataset has no {_LACKING[form]}, or export another format")
    if form is Format.CSV:
        _write(path, _csv(examples, texts))
    else:
        row_of = _ROWS[form]
        _write(path, "".join(json.dumps(row_of(row, texts), ensure_ascii=False) + "\n" for row in rows))
    return len(rows)


def _contexts(row: Row, texts: Mapping[str, str]) -> list[str]:
    return [texts[id_] for id_ in row.context_chunk_ids]


def _prompt(row: Row, texts: Mapping[str, str]) -> list[dict[str, str]]:
    return [dict(message) for message in answer_prompt(row.question, _contexts(row, texts))]


def _said(answer: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": answer}]


def chat_row(row: Example, texts: Mapping[str, str]) -> dict[str, Any]:
    """The conversation as one list of messages."""
    return {"messages": [*_prompt(row, texts), *_said(row.answer)]}


def trl_row(row: Example, texts: Mapping[str, str]) -> dict[str, Any]:
    """Prompt and completion, both lists of messages."""
    return {"prompt": _prompt(row, texts), "completion": _said(row.answer)}


def preference_row(row: PreferencePair, texts: Mapping[str, str]) -> dict[str, Any]:
    """Prompt, chosen and rejected, all lists of messages."""
    return {"prompt": _prompt(row, texts), "chosen": _said(row.chosen), "rejected": _said(row.rejected)}


def kto_row(row: RatedAnswer, texts: Mapping[str, str]) -> dict[str, Any]:
    """Prompt and completion, both lists of messages, and whether the answer is one to give."""
    return {"prompt": _prompt(row, texts), "completion": _said(row.answer), "label": row.desirable}


def bedrock_row(row: Example, texts: Mapping[str, str]) -> dict[str, Any]:
    """The system prompt apart, each message's content a list of blocks."""
    messages = [*_prompt(row, texts), *_said(row.answer)]
    return {
        "schemaVersion": "bedrock-conversation-2024",
        "system": [{"text": message["content"]} for message in messages if message["role"] == "system"],
        "messages": [
            {"role": message["role"], "content": [{"text": message["content"]}]}
            for message in messages
            if message["role"] != "system"
        ],
    }


_ROWS: dict[Format, Callable[[Any, Mapping[str, str]], dict[str, Any]]] = {
    Format.CHAT: chat_row,
    Format.TRL: trl_row,
    Format.TRL_PREFERENCE: preference_row,
    Format.TRL_KTO: kto_row,
    Format.BEDROCK: bedrock_row,
}


def _csv(examples: Sequence[Example], texts: Mapping[str, str]) -> str:
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow(COLUMNS)
    for row in examples:
        shown = json.dumps(_contexts(row, texts), ensure_ascii=False)
        gold = json.dumps([row.context_chunk_ids.index(id_) for id_ in row.gold_chunk_ids])
        writer.writerow(
            (row.id, row.question, row.answer, row.document_id, row.style, row.source, row.generator or "", shown, gold)
        )
    return out.getvalue()


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise StorageError(f"cannot write {path}: {error.strerror}; create the folder or name another file with --out") from None
