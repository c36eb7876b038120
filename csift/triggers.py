"""Whether a cycle trains, and the reason that people read. Pure.

Training learns from labels, feedback, the corpus and what it is told; while none of them changed since the last decision it would
make the same adapter again, so nothing trains then, whatever the traffic does. Drift alone only reports: it says that questions
changed, not that answers got worse.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from csift.config import LoopConfig, TriggerConfig
from csift.hashing import content_id
from csift.schemas import AccuracyWatch, CycleInputs, EvalSet, HumanFeedback, LabelSet, Partition, Trigger

# paths and limits, as what they lead to counts; and what decides when and whether to look, not what comes of it
UNTOLD: Any = {
    "corpus": {"sources", "questions", "read_seconds"},
    "drift": True,
    "trigger": True,
    "monitor": True,
    "benchmark": True,
    "serving": True,
    "feedback": True,
}


@dataclass(frozen=True)
class Circumstances:
    """What besides the inputs decides: who asks, hours since the last decision, whether a person's data was deleted since, and
    how the champion's answers hold."""

    scheduled: bool = False
    hours: float | None = None
    deleted: bool = False
    drifted: bool = False
    accuracy: AccuracyWatch | None = None


def inputs(
    config: LoopConfig, labels: LabelSet, evalset: EvalSet, feedback: HumanFeedback, partitions: Sequence[Partition] = ()
) -> CycleInputs:
    """All that the outcome of a cycle depends on. Paths are left out: what they lead to counts."""
    told = config.model_dump(mode="json", exclude=UNTOLD)
    taught = [
        content_id("label", [label.id, label.question, label.answer, label.document_sha256]) for label in labels.of_split("train")
    ]
    said = [row.id for row in feedback.rows]
    asked = [content_id("item", item.model_dump(mode="json", exclude={"guarded"})) for item in evalset.items]
    return CycleInputs.of(
        snapshot_id=labels.snapshot_id,
        labels=tuple(sorted({*taught, *said, *asked})),
        config_hash=content_id("told", told),
        partitions=tuple(sorted(partition.id for partition in partitions)),
    )


def should_train(now: CycleInputs, last: CycleInputs | None, policy: TriggerConfig, seen: Circumstances) -> Trigger:
    """`now` are this cycle's inputs, `last` those of the last one that trained and was decided."""
    if last is None:
        return Trigger(train=True, reason="the first cycle of this project", fingerprint=now.id)
    new = len(set(now.labels) - set(last.labels))
    changed = _changed(now, last, new)
    aside = _aside(seen)
    if not changed:
        same = "corpus, labels, feedback and configuration are those of the last decision"
        return Trigger(train=False, reason=_sentence([same, *aside]), fingerprint=now.id)
    reasons = _reasons(now, last, new, policy, seen)
    if not reasons:
        few = f"{_plainly(changed)}; training takes {policy.new_labels} new labels or a reason of [trigger]"
        return Trigger(train=False, reason=_sentence([few, *aside]), fingerprint=now.id)
    if seen.scheduled and seen.hours is not None and seen.hours < policy.cooldown_hours:
        left = policy.cooldown_hours - seen.hours
        waits = f"{_plainly(reasons)}, but the last decision is {seen.hours:.0f} hours old; waits {left:.0f} more"
        return Trigger(train=False, reason=_sentence([waits, *aside]), fingerprint=now.id)
    return Trigger(train=True, reason=_sentence([_plainly(reasons), *aside]), fingerprint=now.id)


def _changed(now: CycleInputs, last: CycleInputs, new: int) -> list[str]:
    changed = []
    if now.config_hash != last.config_hash:
        changed.append("the configuration changed")
    if now.snapshot_id != last.snapshot_id:
        changed.append("the corpus changed")
    if new:
        changed.append(f"{new} new or changed label{'s' if new > 1 else ''}")
    elif set(now.labels) != set(last.labels):
        changed.append("labels were taken away")
    if now.partitions != last.partitions:
        changed.append("the last decision was on other partitions" if now.partitions else "the last decision was on a backfill")
    return changed


def _reasons(now: CycleInputs, last: CycleInputs, new: int, policy: TriggerConfig, seen: Circumstances) -> list[str]:
    """Those of the policy that hold, where something changed."""
    reasons = []
    if now.partitions and now.partitions != last.partitions:
        reasons.append(f"{len(now.partitions)} partition{'s' if len(now.partitions) > 1 else ''} to learn from")
    if now.config_hash != last.config_hash:
        reasons.append("the configuration changed")
    if policy.corpus_change and now.snapshot_id != last.snapshot_id:
        reasons.append("the corpus changed")
    if new >= policy.new_labels:
        reasons.append(f"{new} new or changed label{'s' if new > 1 else ''}")
    if seen.deleted:
        reasons.append("data of a person was deleted")
    worse = seen.accuracy is not None and seen.accuracy.regressed
    if worse and (policy.accuracy_loss == "alone" or (policy.accuracy_loss == "with drift" and seen.drifted)):
        reasons.append("answers got worse")
    if policy.max_age_days is not None and seen.hours is not None and seen.hours >= 24 * policy.max_age_days:
        reasons.append(f"the last decision is {seen.hours / 24:.0f} days old")
    return reasons


def _aside(seen: Circumstances) -> list[str]:
    """What the champion's traffic says, in words that stand by themselves."""
    said = []
    if seen.accuracy and seen.accuracy.regressed:
        watch = seen.accuracy
        said.append(
            f"rated answers got worse: {watch.now:.0%} of {watch.sessions} sessions since {watch.since:%Y-%m-%d} were right, "
            f"{watch.before:.0%} before"
        )
    if seen.drifted:
        said.append("the traffic drifted" if said else "the traffic drifted, which by itself trains nothing")
    return said


def _plainly(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _sentence(parts: list[str]) -> str:
    return "; ".join(parts)
