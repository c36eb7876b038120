"""Whether a cycle trains. Pure.

Not covered yet: accuracy loss, age, cooldown; today a cycle trains when anything it learns from or is told has changed.
"""

from typing import Any

from csift.config import LoopConfig
from csift.hashing import content_id
from csift.schemas import DriftReport, EvalSet, HumanFeedback, LabelSet, Trigger

# paths, as what they lead to counts, and what no cycle goes by
UNTOLD: Any = {"corpus": {"sources", "questions"}, "drift": {"reference", "current"}, "benchmark": True}


def fingerprint(config: LoopConfig, labels: LabelSet, evalset: EvalSet, drift: DriftReport, feedback: HumanFeedback) -> str:
    """Hash of all that the outcome of a cycle depends on. Paths are left out: what they lead to counts."""
    told = config.model_dump(mode="json", exclude=UNTOLD)
    taught = [(label.id, label.question, label.answer, label.document_sha256) for label in labels.of_split("train")]
    said = [row.id for row in feedback.rows]
    return content_id("inputs", [labels.snapshot_id, taught, said, evalset.id, drift.reference_hash, drift.current_hash, told])


def should_train(inputs: str, finished: str | None) -> Trigger:
    """`inputs` is this cycle's fingerprint, `finished` that of the last one that trained and was decided."""
    if finished is None:
        return Trigger(train=True, reason="the first cycle of this project", fingerprint=inputs)
    if finished == inputs:
        return Trigger(
            train=False,
            reason="corpus, labels, feedback, traffic and configuration are those of the last decision",
            fingerprint=inputs,
        )
    return Trigger(train=True, reason="corpus, labels, feedback, traffic or configuration changed", fingerprint=inputs)
