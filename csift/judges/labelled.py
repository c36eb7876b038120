"""Files of answers that were judged before: what judges are calibrated on."""

import json
import math
from pathlib import Path
from typing import Any

from csift.corpus.document import NO_TEXT, Unusable
from csift.corpus.tables import json_lines
from csift.exceptions import LabelError
from csift.schemas import JudgeItem, LabelledAnswer

# field → the names it may have: ours, then those of the AWS fine-tuning tutorial's notebooks
NAMES = {
    "question": ("question",),
    "gold": ("gold", "ground_truth"),
    "answer": ("answer", "predicted_answer"),
    "score": ("score", "judge_score"),
    "correct": ("correct", "judge_truefalse_evaluate"),
}
SHAPE = '{"question": ..., "gold": ... or null, "answer": ..., "score": 0 to 1 and/or "correct": true or false}'


def read_labelled(path: Path) -> list[LabelledAnswer]:
    """The rows of a JSON lines file: question, gold (null: the documents do not say), answer, score and/or correct, and perhaps
    contexts (texts) and group (by default the question).

    Raises:
        LabelError: the file is missing, empty or no UTF-8 text, or a row cannot be used; names file and line.
    """
    try:
        lines = json_lines(path.read_bytes())
    except OSError as error:
        raise LabelError(f"cannot read {path}: {error.strerror}; name a .jsonl file of judged answers") from None
    except Unusable as problem:
        raise LabelError(f"{path} {problem}") from None
    if not lines:
        raise LabelError(f"{path} is empty; write one judged answer a line: {SHAPE}")
    labels = []
    for number, line in lines:
        try:
            labels.append(_label(line))
        except _Wrong as problem:
            raise LabelError(f"{path}:{number} {problem}") from None
    return labels


class _Wrong(ValueError):
    """What is wrong with one line."""


def _label(line: str) -> LabelledAnswer:
    row = _parse(line)
    if "gold" not in row or not isinstance(row["gold"], str | None):
        raise _Wrong("has no gold answer; give gold, or null where the documents do not say")
    for name in ("question", "answer"):
        if not isinstance(row.get(name), str):
            raise _Wrong(f"has no text as its {name}; write {SHAPE}")
    score, correct = _score(row.get("score")), _correct(row.get("correct"))
    if score is None and correct is None:
        raise _Wrong("has neither score nor correct; give it one, or remove the row")
    contexts = row.get("contexts") or []
    if not isinstance(contexts, list) or not all(isinstance(text, str) for text in contexts):
        raise _Wrong("has contexts that are no list of texts; correct or remove them")
    group = str(row.get("group") or row["question"])
    if NO_TEXT.search("".join([row["question"], row["gold"] or "", row["answer"], *contexts, group])):
        raise _Wrong("holds NUL or half a surrogate pair, which are not text; remove these escapes")
    item = JudgeItem(question=row["question"], gold=row["gold"], answer=row["answer"], contexts=tuple(contexts))
    return LabelledAnswer(item=item, group=group, score=score, correct=correct)


def _parse(line: str) -> dict[str, Any]:
    """The row by our names."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        raise _Wrong(f"is not JSON; write one object a line: {SHAPE}") from None
    if not isinstance(row, dict):
        raise _Wrong(f"is not a JSON object; write {SHAPE}")
    known = {ours: row[name] for ours, names in NAMES.items() for name in reversed(names) if name in row}
    return known | {name: row[name] for name in ("contexts", "group") if name in row}


def _score(told: Any) -> float | None:
    if told is None:
        return None
    if isinstance(told, bool) or not isinstance(told, int | float) or not math.isfinite(told) or not 0 <= told <= 1:
        raise _Wrong(f"has the score {told!r}; a score is a number from 0 to 1")
    return float(told)


def _correct(told: Any) -> bool | None:
    if told is None or isinstance(told, bool):
        return told
    if isinstance(told, int | float) and told in (0, 1):
        return bool(told)
    raise _Wrong(f"has correct = {told!r}; it is true or false")
