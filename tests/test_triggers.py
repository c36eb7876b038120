"""When a cycle trains, and what it says of it."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from samples import sample_eval_set

from csift.config import LoopConfig, TriggerConfig
from csift.schemas import AccuracyWatch, CycleInputs, EvalSet, HumanFeedback, Label, LabelSet, Partition, RatedAnswer, Trigger
from csift.triggers import Circumstances, inputs, should_train

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


def now(
    config: LoopConfig = CONFIG,
    labels: LabelSet = LABELS,
    evalset: EvalSet | None = None,
    feedback: HumanFeedback = HumanFeedback(),  # noqa: B008 - frozen
    partitions: Sequence[Partition] = (),
) -> CycleInputs:
    """What a cycle goes by."""
    return inputs(config, labels, evalset or sample_eval_set(), feedback, partitions)


def told(**sections: dict[str, Any]) -> LoopConfig:
    """The configuration with some keys changed."""
    raw = CONFIG.model_dump(mode="json")
    return LoopConfig.model_validate(raw | {name: raw[name] | keys for name, keys in sections.items()})


def with_label(**changes: object) -> LabelSet:
    return LABELS.model_copy(update={"labels": (TRAIN.model_copy(update=changes),)})


def more(count: int) -> LabelSet:
    """So many more training labels."""
    added = [TRAIN.model_copy(update={"id": f"n{number}"}) for number in range(count)]
    return LABELS.model_copy(update={"labels": (TRAIN, *added)})


ALWAYS, QUIET = TriggerConfig(), Circumstances()


def decide(this: CycleInputs, policy: TriggerConfig = ALWAYS, seen: Circumstances = QUIET) -> Trigger:
    """Against a decision that was made on the usual inputs."""
    return should_train(this, now(), policy, seen)


CHANGED = {
    "training steps": (now(told(training={"max_steps": 61})), "the configuration changed"),
    "promotion": (now(told(gate={"promote": False})), "the configuration changed"),
    "chunk size": (now(told(corpus={"chunk_size": 500})), "the configuration changed"),
    "corpus": (now(labels=LABELS.model_copy(update={"snapshot_id": "corpus-2"})), "the corpus changed"),
    "a question": (now(labels=with_label(question="What does it weigh?")), "1 new or changed label"),
    "an answer": (now(labels=with_label(answer="31 kg")), "1 new or changed label"),
    "a document": (now(labels=with_label(document_sha256="2")), "1 new or changed label"),
    "more labels": (now(labels=more(2)), "2 new or changed labels"),
    "feedback": (now(feedback=HumanFeedback(ratings=(RATED,))), "1 new or changed label"),
}


@pytest.mark.parametrize("what", CHANGED)
def test_a_change_is_a_reason_to_train_and_named(what: str) -> None:
    this, reason = CHANGED[what]
    trigger = decide(this)
    assert (trigger.train, trigger.reason, trigger.fingerprint) == (True, reason, this.id)


def test_every_change_is_told_apart() -> None:
    assert len({now().id, *(this.id for this, _ in CHANGED.values())}) == len(CHANGED) + 1


def test_reasons_are_named_together() -> None:
    labels = more(1).model_copy(update={"snapshot_id": "corpus-2"})
    reason = decide(now(told(training={"max_steps": 61}), labels)).reason
    assert reason == "the configuration changed, the corpus changed and 1 new or changed label"


def test_moving_the_files_is_no_reason_to_train() -> None:
    moved = told(
        corpus={"sources": [{"location": "/b/docs"}], "questions": ["/b/1.jsonl", "/b/2.jsonl"]},
        drift={"reference": "/b/old.jsonl", "current": str(Path("/b/new.jsonl"))},
    )
    trigger = decide(now(moved))
    assert not trigger.train
    assert "are those of the last decision" in trigger.reason


def test_when_to_train_and_what_is_only_looked_at_are_no_reasons_to_train() -> None:
    held_out = TRAIN.model_copy(update={"id": "g1", "split": "golden"})
    assert now(labels=LABELS.model_copy(update={"labels": (TRAIN, held_out)})) == now()
    assert now(told(trigger={"new_labels": 9}, drift={"false_alarms": 0.01})) == now()


def test_the_first_cycle_trains() -> None:
    trigger = should_train(now(), None, TriggerConfig(), Circumstances())
    assert (trigger.train, trigger.reason) == (True, "the first cycle of this project")


@pytest.mark.parametrize(("count", "trains"), [(9, False), (10, True)])
def test_fewer_labels_than_asked_for_wait(count: int, trains: bool) -> None:
    trigger = decide(now(labels=more(count)), TriggerConfig(new_labels=10))
    assert trigger.train is trains
    assert f"{count} new or changed labels" in trigger.reason
    assert ("takes 10 new labels" in trigger.reason) is not trains


def test_labels_taken_away_wait_as_well() -> None:
    fewer = now(labels=LABELS.model_copy(update={"labels": ()}))
    assert "labels were taken away; training takes" in decide(fewer).reason


def test_a_corpus_change_may_be_left_to_other_reasons() -> None:
    this = now(labels=LABELS.model_copy(update={"snapshot_id": "corpus-2"}))
    trigger = decide(this, TriggerConfig(corpus_change=False))
    assert (trigger.train, "the corpus changed" in trigger.reason) == (False, True)


WORSE = AccuracyWatch(
    before=0.82, floor=0.78, now=0.61, sessions=140, since=datetime(2026, 11, 3, tzinfo=UTC), evidence=900.0, level=0.025
)
HELD = WORSE.model_copy(update={"evidence": 3.0})
FEW = TriggerConfig(new_labels=10)


def test_drift_alone_only_reports() -> None:
    still, little = decide(now(), seen=Circumstances(drifted=True)), decide(now(labels=more(1)), FEW, Circumstances(drifted=True))
    assert not still.train and not little.train
    assert "the traffic drifted, which by itself trains nothing" in still.reason
    assert "the traffic drifted, which by itself trains nothing" in little.reason


@pytest.mark.parametrize(
    ("policy", "drifted", "trains"),
    [
        ("alone", False, True),
        ("alone", True, True),
        ("with drift", False, False),
        ("with drift", True, True),
        ("never", True, False),
    ],
)
def test_worse_answers_train_as_the_policy_says(policy: Any, drifted: bool, trains: bool) -> None:
    told_so = FEW.model_copy(update={"accuracy_loss": policy})
    trigger = decide(now(labels=more(1)), told_so, Circumstances(drifted=drifted, accuracy=WORSE))
    assert trigger.train is trains
    assert "rated answers got worse: 61% of 140 sessions since 2026-11-03 were right, 82% before" in trigger.reason
    assert ("the traffic drifted" in trigger.reason) is drifted


def test_answers_that_hold_are_no_reason() -> None:
    assert not decide(now(labels=more(1)), FEW, Circumstances(accuracy=HELD)).train


def test_worse_answers_with_nothing_new_to_learn_from_make_no_adapter_twice() -> None:
    trigger = decide(now(), seen=Circumstances(accuracy=WORSE))
    assert not trigger.train
    assert "are those of the last decision; rated answers got worse" in trigger.reason


@pytest.mark.parametrize(("days", "trains"), [(29, False), (30, True)])
def test_what_changed_a_little_is_trained_on_after_a_while(days: int, trains: bool) -> None:
    policy = FEW.model_copy(update={"max_age_days": 30})
    trigger = decide(now(labels=more(1)), policy, Circumstances(hours=24 * days))
    assert trigger.train is trains
    assert ("the last decision is 30 days old" in trigger.reason) is trains
    assert not decide(now(), policy, Circumstances(hours=24 * days)).train


@pytest.mark.parametrize(("scheduled", "hours", "trains"), [(True, 5, False), (True, 12, True), (False, 5, True)])
def test_a_scheduled_run_waits_for_the_cooldown_and_a_person_does_not(scheduled: bool, hours: float, trains: bool) -> None:
    seen = Circumstances(scheduled=scheduled, hours=hours)
    trigger = decide(now(labels=more(1)), TriggerConfig(cooldown_hours=12), seen)
    assert trigger.train is trains
    assert ("the last decision is 5 hours old; waits 7 more" in trigger.reason) is not trains


def test_a_backfill_trains_on_partitions_that_the_last_decision_did_not_have() -> None:
    one, two = (Partition(id=f"partition-{n}", name=f"2024-0{n}", documents=(), others=0) for n in (1, 2))
    night, first, both = now(), now(partitions=[one]), now(partitions=[two, one])

    assert should_train(first, night, ALWAYS, QUIET).reason == "1 partition to learn from"
    assert should_train(both, first, ALWAYS, QUIET).reason == "2 partitions to learn from"
    assert not should_train(both, now(partitions=[one, two]), ALWAYS, QUIET).train
    after = should_train(night, first, ALWAYS, QUIET)  # the night after a backfill has nothing new to learn from
    assert not after.train
    assert after.reason.startswith("the last decision was on a backfill; training takes 1 new labels")
    assert len({night.id, first.id, both.id}) == 3


def test_data_that_was_deleted_is_reason_to_train_where_anything_changed_and_otherwise_not() -> None:
    last, deleted = now(feedback=HumanFeedback(ratings=(RATED,))), Circumstances(deleted=True)
    policy = TriggerConfig(new_labels=9)
    assert not should_train(now(), last, policy, Circumstances()).train
    gone = should_train(now(), last, policy, deleted)
    assert (gone.train, gone.reason) == (True, "data of a person was deleted")
    assert not should_train(last, last, policy, deleted).train
