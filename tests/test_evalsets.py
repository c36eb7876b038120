"""Frozen eval sets from one edition of the corpus to the next."""

import pytest

from csift.db import Database
from csift.evalsets import freeze, newest, refresh
from csift.exceptions import LabelError
from csift.registry import load
from csift.schemas import EvalSet, Label, LabelSet, RetiredLabel, Split


def label(id_: str, document: str = "a.md", sha: str = "1", split: Split = "eval", answer: str | None = "29 kg") -> Label:
    """A label in use."""
    style = "unanswerable" if answer is None else "factoid"
    return Label(
        id=id_, question=f"{id_}?", answer=answer, document_id=document, style=style, split=split, document_sha256=sha
    )  # fmt: skip


def labels(*used: Label, retired: tuple[RetiredLabel, ...] = ()) -> LabelSet:
    """A label set."""
    return LabelSet(snapshot_id="corpus-1", labels=used, retired=retired)


def gone(id_: str, split: Split = "eval") -> RetiredLabel:
    """A retired label."""
    return RetiredLabel(label_id=id_, document_id="gone.md", split=split, reason="gone")


def test_only_eval_questions_are_frozen(db: Database, project: str) -> None:
    frozen = freeze(
        db, project, labels(label("q1"), label("q2", answer=None), label("t", split="train"), label("g", split="golden")), 2
    )
    assert [(item.id, item.answer, item.style) for item in frozen.items] == [
        ("q1", "29 kg", "factoid"),
        ("q2", None, "unanswerable"),
    ]
    assert frozen.previous_id is None
    assert not any(item.guarded for item in frozen.items)


def test_fewer_than_the_gate_can_use_are_refused(db: Database, project: str) -> None:
    with pytest.raises(LabelError, match=r"1 eval questions are in use and the gate needs 2.*gate\.min_items"):
        freeze(db, project, labels(label("q1"), label("t", split="train")), 2)


def test_the_same_items_are_the_same_set(db: Database, project: str) -> None:
    first = freeze(db, project, labels(label("q1"), label("q2")), 2)
    assert freeze(db, project, labels(label("q1"), label("q2"), label("t", split="train")), 2) == first
    assert freeze(db, project + "-b", labels(label("q1"), label("q2")), 2).id != first.id
    assert load(db, EvalSet, first.id) == first


def test_any_change_of_an_item_gives_another_set(db: Database, project: str) -> None:
    sets = [
        freeze(db, project, labels(label("q1"), other), 2)
        for other in (label("q2"), label("q2", answer="31 kg"), label("q2", sha="2"), label("q2", document="b.md"), label("q3"))
    ]
    assert len({evalset.id for evalset in sets}) == 5


def test_the_next_edition_guards_what_did_not_change_and_lists_what_retired(db: Database, project: str) -> None:
    first = freeze(db, project, labels(label("kept"), label("moved", "b.md"), label("old", "gone.md")), 2)
    retired = (gone("old"), gone("taught", split="train"))
    second = freeze(db, project, labels(label("kept"), label("moved", "b.md", sha="2"), label("new"), retired=retired), 2)
    assert second.previous_id == first.id
    assert {item.id: item.guarded for item in second.items} == {"kept": True, "moved": False, "new": False}
    assert [entry.label_id for entry in second.retired] == ["old"]


def test_the_set_before_is_the_last_one_frozen(db: Database, project: str) -> None:
    first = freeze(db, project, labels(label("q1"), label("q2")), 2)
    second = freeze(db, project, labels(label("q1"), label("q3")), 2)
    third = freeze(db, project, labels(label("q1"), label("q2"), label("q3")), 2)
    assert (second.previous_id, third.previous_id) == (first.id, second.id)
    assert {item.id: item.guarded for item in third.items} == {"q1": True, "q2": False, "q3": True}


# --- lives ------------------------------------------------------------------------------------------------------------


def test_sets_that_share_questions_are_of_one_life(db: Database, project: str) -> None:
    first = freeze(db, project, labels(label("q1"), label("q2")), 2)
    second = freeze(db, project, labels(label("q2"), label("q3")), 2)
    assert (first.life, second.life) == (1, 1)


def test_a_refresh_has_questions_that_no_decision_was_made_on_and_begins_a_life(db: Database, project: str) -> None:
    used = [label("q1"), label("q2")]
    freeze(db, project, labels(*used), 2)
    now = labels(*used, label("q3"), label("g1", split="golden"), label("t", split="train"))
    fresh = refresh(db, project, now, 2)
    assert [item.id for item in fresh.items] == ["g1", "q3"]
    assert (fresh.life, fresh.previous_id is not None, newest(db, project)) == (2, True, fresh)
    assert freeze(db, project, now, 2) == fresh  # what was opened stays, what was used stays out
    later = freeze(db, project, labels(*now.labels, label("q4"), label("g2", split="golden")), 2)
    assert [(item.id, item.guarded) for item in later.items] == [("g1", True), ("q3", True), ("q4", False)]
    assert later.life == 2


def test_a_refresh_without_fresh_questions_is_refused(db: Database, project: str) -> None:
    with pytest.raises(LabelError, match="has no eval set yet"):
        refresh(db, project, labels(label("q1"), label("q2")), 2)
    with pytest.raises(LabelError, match="has no eval set yet; run a cycle"):
        newest(db, project)
    freeze(db, project, labels(label("q1"), label("q2")), 2)
    with pytest.raises(LabelError, match=r"1 eval and golden questions .* were never decided on, and the gate needs 2"):
        refresh(db, project, labels(label("q1"), label("q2"), label("q3")), 2)


def test_a_question_twice_is_refused_with_the_ids(db: Database, project: str) -> None:
    twin = label("q2").model_copy(update={"question": " Q1 ?"})
    with pytest.raises(LabelError, match=r"2 eval questions are the same as another \(q1, q2\); keep one of each"):
        freeze(db, project, labels(label("q1"), twin), 2)
    other_document = twin.model_copy(update={"document_id": "b.md"})
    assert len(freeze(db, project, labels(label("q1"), other_document), 2).items) == 2
