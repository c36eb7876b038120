"""Labels written on a page go the way of those in files: into eval sets, pinned to their document, retired with it."""

import json
from pathlib import Path

import pytest
from champions import NoIndex
from pumps import configure, write_catalogue

from csift import evalsets, written_labels
from csift.config import CorpusConfig
from csift.corpus import ingest
from csift.db import Database
from csift.exceptions import LabelError
from csift.labels import register
from csift.schemas import LabelSet, WrittenLabel


@pytest.fixture
def corpus(project: str, tmp_path: Path) -> CorpusConfig:
    write_catalogue(tmp_path)
    return configure(tmp_path, project, Path("m")).corpus.model_copy(update={"scrub": ()})


def night(db: Database, project: str, corpus: CorpusConfig) -> LabelSet:
    return register(db, project, corpus, ingest(db, NoIndex(), project, corpus))


def write(db: Database, project: str, question: str = "What does the Birch weigh?", answer: str | None = "4 kg") -> WrittenLabel:
    style = "unanswerable" if answer is None else "factoid"
    return written_labels.write(db, project, question, answer, "birch.md", style, "ann")  # type: ignore[arg-type]


def test_a_written_label_is_judged_on_from_the_next_night(db: Database, project: str, corpus: CorpusConfig) -> None:
    first = evalsets.freeze(db, project, night(db, project, corpus), 4)
    label = write(db, project)
    second = evalsets.freeze(db, project, night(db, project, corpus), 4)
    assert {item.id for item in second.items} - {item.id for item in first.items} == {label.id}
    (item,) = [item for item in second.items if item.id == label.id]
    assert (item.question, item.answer, item.document_id) == (label.question, "4 kg", "birch.md")


def test_a_question_that_is_put_into_a_file_as_well_is_the_files(
    db: Database, project: str, corpus: CorpusConfig, tmp_path: Path
) -> None:
    night(db, project, corpus)
    written = write(db, project)
    row = {"id": "Birch-9", "question": "what does the birch weigh", "answer": "4 kg", "document": "birch.md"}
    with (tmp_path / "labels.jsonl").open("a") as file:
        file.write(json.dumps(row) + "\n")
    ids = {item.id for item in evalsets.freeze(db, project, night(db, project, corpus), 4).items}
    assert "Birch-9" in ids and written.id not in ids


@pytest.mark.parametrize("becomes", ["The Birch pump weighs 5 kg.", None])
def test_it_is_retired_when_its_document_changes_or_leaves(
    db: Database, project: str, corpus: CorpusConfig, tmp_path: Path, becomes: str | None
) -> None:
    night(db, project, corpus)
    label = write(db, project)
    page = tmp_path / "docs" / "birch.md"
    page.unlink() if becomes is None else page.write_text(becomes)
    after = night(db, project, corpus)
    reasons = {entry.label_id: entry.reason for entry in after.retired}
    assert reasons[label.id] == ("gone" if becomes is None else "changed")
    assert label.id not in {one.id for one in after.labels}


def test_only_held_out_documents_are_labelled(db: Database, project: str, corpus: CorpusConfig) -> None:
    assert written_labels.held_out(db, project) == {}
    night(db, project, corpus)
    assert {name: split for name, (split, _) in written_labels.held_out(db, project).items()} == {
        "birch.md": "eval", "damson.md": "eval", "fir.md": "eval"
    }  # fmt: skip
    with pytest.raises(LabelError, match="no document that is held out"):
        written_labels.write(db, project, "How heavy?", "3 kg", "alder.md", "factoid", "ann")


@pytest.mark.parametrize(
    ("question", "answer", "style", "says"),
    [
        (" ", "4 kg", "factoid", "need some text"),
        ("How heavy?", " ", "factoid", "need some text"),
        ("How heavy?", None, "factoid", "unanswerable"),
        ("How heavy?", "4 kg", "unanswerable", "unanswerable"),
        ("how heavy is the birch pump", "4 kg", "factoid", "asked of birch.md already"),
    ],
)
def test_what_would_spoil_an_eval_set_is_refused(
    db: Database, project: str, corpus: CorpusConfig, question: str, answer: str | None, style: str, says: str
) -> None:
    evalsets.freeze(db, project, night(db, project, corpus), 4)
    with pytest.raises(LabelError, match=says):
        written_labels.write(db, project, question, answer, "birch.md", style, "ann")  # type: ignore[arg-type]


def test_written_twice_it_is_one_and_withdrawn_it_is_gone(db: Database, project: str, corpus: CorpusConfig) -> None:
    night(db, project, corpus)
    label = write(db, project)
    assert write(db, project).id == label.id and len(written_labels.written(db, project)) == 1
    with pytest.raises(LabelError, match="that question is asked"):
        write(db, project, "what does the BIRCH weigh")
    written_labels.withdraw(db, "another", label.id)
    assert len(written_labels.written(db, project)) == 1
    written_labels.withdraw(db, project, label.id)
    assert label.id not in {one.id for one in night(db, project, corpus).labels}
