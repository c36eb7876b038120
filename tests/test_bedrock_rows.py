"""What a project says about Bedrock, and the rows that it sends there."""

import json
from typing import Any

import pytest
from bedrock_stand_ins import ROLE
from dataset_samples import sample_rows, sample_texts
from pydantic import ValidationError

from csift.bedrock import training_rows
from csift.config import TrainingConfig
from csift.prompts import answer_prompt
from csift.schemas import CustomizationKind

BEDROCK = {"base_model": "amazon.nova-lite-v1:0:300k", "role_arn": ROLE, "s3": "s3://training/csift", "usd_per_unit_hour": 20.5}


def rows_of(kind: CustomizationKind) -> list[dict[str, Any]]:
    """Of one example shown twice, and one passage."""
    row = sample_rows()[0]
    return [json.loads(line) for line in training_rows(kind, [row, row], sample_texts(), ["A passage.", "Größe"])]


def test_fine_tuning_sees_each_row_as_often_as_an_epoch_does_in_the_prompt_of_serving() -> None:
    row = sample_rows()[0]
    rows = rows_of("FINE_TUNING")
    assert rows[0] == rows[1]
    assert len(rows) == 2
    system, turn = answer_prompt(row.question, [sample_texts()[id_] for id_ in row.context_chunk_ids])
    assert rows[0]["system"] == [{"text": system["content"]}]
    assert rows[0]["messages"] == [
        {"role": "user", "content": [{"text": turn["content"]}]},
        {"role": "assistant", "content": [{"text": row.answer}]},
    ]


def test_a_distillation_asks_each_prompt_once_and_leaves_the_answer_to_the_teacher() -> None:
    (row,) = rows_of("DISTILLATION")
    assert [message["role"] for message in row["messages"]] == ["user"]


def test_continued_pre_training_reads_passages() -> None:
    assert rows_of("CONTINUED_PRE_TRAINING") == [{"input": "A passage."}, {"input": "Größe"}]


def configured(bedrock: dict[str, Any] | None, **training: Any) -> TrainingConfig:
    return TrainingConfig.model_validate({"launcher": "bedrock", "bedrock": bedrock, **training})


def test_each_kind_counts_as_a_stage() -> None:
    teacher = {"kind": "DISTILLATION", "teacher_model": "amazon.nova-pro-v1:0", "max_response_tokens": 500}
    assert configured(BEDROCK).methods == ("sft",)
    assert configured({**BEDROCK, **teacher}).methods == ("sft",)
    assert configured({**BEDROCK, "kind": "CONTINUED_PRE_TRAINING"}, methods=["cpt"]).methods == ("cpt",)


@pytest.mark.parametrize(
    ("bedrock", "training", "words"),
    [
        (None, {}, r"launcher bedrock needs \[training.bedrock\]; see docs/bedrock.md"),
        (BEDROCK, {"methods": ["dpo"]}, r'FINE_TUNING on Bedrock is methods = \["sft"\] alone, not dpo'),
        (BEDROCK, {"methods": "auto"}, "alone, not auto"),
        ({**BEDROCK, "kind": "CONTINUED_PRE_TRAINING"}, {}, r'methods = \["cpt"\] alone, not sft'),
        (BEDROCK, {"run_on": "gpu"}, "set run_on = here"),
        ({**BEDROCK, "kind": "DISTILLATION"}, {}, "DISTILLATION needs teacher_model and max_response_tokens"),
        ({**BEDROCK, "teacher_model": "amazon.nova-pro-v1:0"}, {}, "of DISTILLATION only"),
        ({**BEDROCK, "role_arn": "csift"}, {}, "role_arn"),
        ({**BEDROCK, "s3": "/training"}, {}, "s3"),
        ({name: value for name, value in BEDROCK.items() if name != "usd_per_unit_hour"}, {}, "usd_per_unit_hour"),
    ],
)
def test_what_does_not_fit_is_told_before_anything_is_paid(
    bedrock: dict[str, Any] | None, training: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValidationError, match=words):
        configured(bedrock, **training)
