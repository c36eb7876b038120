"""The rows of a job: what Bedrock reads, as JSON, in the prompt that serving uses.

- FINE_TUNING: the Converse form, as csift.exports writes it
  (docs.aws.amazon.com/bedrock/latest/userguide/preparing-text-data.html).
- DISTILLATION: the same without answers, which the teacher gives; each prompt once, as the teacher is paid for each
  (docs.aws.amazon.com/bedrock/latest/userguide/distillation-data-prep-option-1.html).
- CONTINUED_PRE_TRAINING: {"input": text} of each passage
  (docs.aws.amazon.com/bedrock/latest/userguide/dataset-prep-continued-pretraining.html).

Not covered: the {"prompt", "completion"} form of models that are not asked by Converse, such as Titan Text.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from csift.exports import bedrock_row
from csift.schemas import CustomizationKind, Example


def training_rows(
    kind: CustomizationKind, examples: Sequence[Example], texts: Mapping[str, str], passages: Sequence[str]
) -> list[str]:
    """A JSON object a row.

    Args:
        examples: as often as an epoch shows them.
        texts: chunk id → text, of every chunk that an example shows.
        passages: what may be trained on without questions.
    """
    if kind == "CONTINUED_PRE_TRAINING":
        rows: list[dict[str, Any]] = [{"input": passage} for passage in passages]
    elif kind == "DISTILLATION":
        rows = [_without_answer(bedrock_row(row, texts)) for row in {row.id: row for row in examples}.values()]
    else:
        rows = [bedrock_row(row, texts) for row in examples]
    return [json.dumps(row, ensure_ascii=False) for row in rows]


def _without_answer(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "messages": [message for message in row["messages"] if message["role"] != "assistant"]}
