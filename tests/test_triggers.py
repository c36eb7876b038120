"""When a cycle trains: when anything that its outcome depends on has changed, and only then."""

from pathlib import Path
from typing import Any

import pytest
from samples import sample_drift, sample_eval_set, sample_items

from csift.config import LoopConfig
from csift.schemas import DriftReport, EvalSet, HumanFeedback, Label, LabelSet, RatedAnswer
from csift.triggers import fingerprint, should_train

CONFIG = LoopConfig.model_validate(
    {
        "project": "demo",
        "corpus": {"sources": [{"location": "/a/docs"}], "questions": ["/a/q.jsonl"]},
        "drift": {"reference": "/a/old.jsonl", "current": "/a/new.jsonl"},
    }
)
TRAIN = Label(
    id="t1", question="How heavy?", answer="29 kg", document_id="a.md", style="factoid", split="train", document_sha256="1"
)  # fmt: skip
LABELS = LabelSet(snapshot_id="corpus-1", labels=(TRAIN,), retired=())


RATED = RatedAnswer(
    id="rating-1", question="How heavy?", document_id="", context_chunk_ids=(), answer="3 kg", desirable=False, raters=1
)  # fmt: skip


def inputs(
    config: LoopConfig = CONFIG,
    labels: LabelSet = LABELS,
    evalset: EvalSet | None = None,
    drift: DriftReport | None = None,
    feedback: HumanFeedback = HumanFeedback(),  # noqa: B008 - frozen
) -> str:
    """The fingerprint of these inputs."""
    return fingerprint(config, labels, evalset or sample_eval_set(), drift or sample_drift(), feedback)


def told(**sections: dict[str, Any]) -> LoopConfig:
    """The configuration with some keys changed."""
    raw = CONFIG.model_dump(mode="json")
    return LoopConfig.model_validate(raw | {name: raw[name] | keys for name, keys in sections.items()})


def with_label(**changes: object) -> LabelSet:
    return LABELS.model_copy(update={"labels": (TRAIN.model_copy(update=changes),)})


CHANGED = {
    "training steps": inputs(told(training={"max_steps": 61})),
    "promotion": inputs(told(gate={"promote": False})),
    "chunk size": inputs(told(corpus={"chunk_size": 500})),
    "false alarms": inputs(told(drift={"false_alarms": 0.01})),
    "corpus": inputs(labels=LABELS.model_copy(update={"snapshot_id": "corpus-2"})),
    "a question": inputs(labels=with_label(question="What does it weigh?")),
    "an answer": inputs(labels=with_label(answer="31 kg")),
    "a document": inputs(labels=with_label(document_sha256="2")),
    "another label": inputs(labels=LABELS.model_copy(update={"labels": (TRAIN, TRAIN.model_copy(update={"id": "t2"}))})),
    "eval questions": inputs(evalset=sample_eval_set(sample_items()[:-1])),
    "feedback": inputs(feedback=HumanFeedback(ratings=(RATED,))),
    "traffic": inputs(drift=sample_drift().model_copy(update={"current_hash": "other"})),
    "reference traffic": inputs(drift=sample_drift().model_copy(update={"reference_hash": "other"})),
}


@pytest.mark.parametrize("what", CHANGED)
def test_a_change_is_a_reason_to_train(what: str) -> None:
    trigger = should_train(CHANGED[what], inputs())
    assert (trigger.train, trigger.fingerprint) == (True, CHANGED[what])
    assert "changed" in trigger.reason


def test_every_change_is_told_apart() -> None:
    assert len({inputs(), *CHANGED.values()}) == len(CHANGED) + 1


def test_moving_the_files_is_no_reason_to_train() -> None:
    moved = told(
        corpus={"sources": [{"location": "/b/docs"}], "questions": ["/b/1.jsonl", "/b/2.jsonl"]},
        drift={"reference": "/b/old.jsonl", "current": str(Path("/b/new.jsonl"))},
    )
    trigger = should_train(inputs(moved), inputs())
    assert not trigger.train
    assert "last decision" in trigger.reason


def test_what_is_only_looked_at_is_no_reason_to_train() -> None:
    held_out = TRAIN.model_copy(update={"id": "g1", "split": "golden"})
    assert inputs(labels=LABELS.model_copy(update={"labels": (TRAIN, held_out)})) == inputs()
    assert inputs(drift=sample_drift().model_copy(update={"html_uri": "/elsewhere.html", "signals": ()})) == inputs()


def test_the_first_cycle_trains() -> None:
    trigger = should_train(inputs(), None)
    assert (trigger.train, trigger.reason) == (True, "the first cycle of this project")
