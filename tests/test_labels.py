"""Labelled questions: what is refused, which split they fall into, and when they retire."""

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from csift.config import CorpusConfig, SourceConfig
from csift.db import Database
from csift.exceptions import CorpusError, LabelError
from csift.hashing import sha256
from csift.labels import document_splits, read_labels, register
from csift.schemas import (
    Chunking,
    CorpusSnapshot,
    DocumentRef,
    IngestReport,
    LabelSet,
    RetiredLabel,
    Source,
    SourceLabel,
    Split,
)

Row = dict[str, Any]


def row(id_: str, document: str, **other: Any) -> Row:
    """A labels line."""
    return {"id": id_, "question": f"What of {id_}?", "answer": "29 kg", "document": document, **other}


class Project:
    """A project whose labels and documents a test edits."""

    def __init__(self, db: Database, name: str, folder: Path) -> None:
        self.db, self.name, self.file = db, name, folder / "labels.jsonl"

    def register(
        self,
        rows: list[Row],
        documents: dict[str, str],
        of_corpus: tuple[SourceLabel, ...] = (),
        barred: tuple[str, ...] = (),
    ) -> LabelSet:
        """Registers the rows against a corpus of these documents (id → text), of which some are for retrieval only."""
        self.file.write_text("\n".join(json.dumps(row) for row in rows))
        refs = tuple(
            DocumentRef(document_id=id_, sha256=sha256(text), source="barred" if id_ in barred else "")
            for id_, text in documents.items()
        )
        sources = tuple(Source(name=name, location="/docs", licence="unstated", may_train=not name) for name in ("", "barred"))
        snapshot = CorpusSnapshot.of(self.name, refs, Chunking(size=450, overlap=60), sources)
        report = IngestReport(
            id="ingest-1", snapshot=snapshot, chunks=1, skipped=(), scrubber="none", scrubbed={}, near_duplicates=(),
            labels=of_corpus,
        )  # fmt: skip
        config = CorpusConfig(sources=(SourceConfig(location=str(self.file.parent)),), questions=(self.file,))
        return register(self.db, self.name, config, report)

    def splits(self) -> dict[str, Split]:
        """What is stored."""
        with self.db.session() as session:
            return document_splits(session, self.name)


@pytest.fixture
def labels(db: Database, project: str, tmp_path: Path) -> Project:
    """A fresh project."""
    return Project(db, project, tmp_path)


NUMBERS = itertools.count()
DOCUMENTS = {"a.md": "one", "b.md": "two", "c.md": "three"}


def ids(found: LabelSet, split: Split) -> list[str]:
    return [label.id for label in found.of_split(split)]


# --- reading --------------------------------------------------------------------------------------------------------------


def test_rows_are_read_with_their_defaults(tmp_path: Path) -> None:
    path = tmp_path / "q.jsonl"
    rows = [row("a", "a.md"), row("b", "a.md", answer=None), row("c", "a.md", answer="Yes", style="yes_no", split="eval")]
    path.write_text("\ufeff" + "\n\n".join(json.dumps(entry) for entry in rows) + "\n", "utf-8")
    assert [(r.id, r.answer, r.style, r.split) for r in read_labels((path,))] == [
        ("a", "29 kg", "factoid", None),
        ("b", None, "unanswerable", None),
        ("c", "Yes", "yes_no", "eval"),
    ]


def test_a_question_may_hold_every_line_separator_of_unicode(tmp_path: Path) -> None:
    path = tmp_path / "q.jsonl"
    path.write_text(json.dumps(row("a", "a.md", question="one\u2028two\u0085three?"), ensure_ascii=False), "utf-8")
    assert read_labels((path,))[0].question == "one\u2028two\u0085three?"


BAD_LINES = {
    "not JSON": ("{", "not JSON"),
    "no object": ("[1, 2]", "not a JSON object"),
    "no fields": ('{"id": "x"}', "lacks question, answer, document"),
    "no answer": ('{"id": "x", "question": "q?", "document": "a.md"}', "lacks answer"),
    "empty question": ('{"id": "x", "question": " ", "answer": "y", "document": "a.md"}', "empty question or answer"),
    "empty answer": ('{"id": "x", "question": "q?", "answer": "", "document": "a.md"}', "write null"),
    "odd style": ('{"id": "x", "question": "q?", "answer": "y", "document": "a.md", "style": "essay"}', "'essay'"),
    "odd split": ('{"id": "x", "question": "q?", "answer": "y", "document": "a.md", "split": "test"}', "'test'"),
    "NUL": (r'{"id": "x", "question": "q\u0000?", "answer": "y", "document": "a.md"}', "not text"),
    "half a pair": (r'{"id": "x", "question": "q?", "answer": "\udc00", "document": "a.md"}', "not text"),
}


@pytest.mark.parametrize("case", BAD_LINES)
def test_a_bad_line_is_named_with_what_to_do(case: str, tmp_path: Path) -> None:
    line, words = BAD_LINES[case]
    path = tmp_path / "q.jsonl"
    path.write_text(json.dumps(row("fine", "a.md")) + "\n" + line)
    with pytest.raises(LabelError) as caught:
        read_labels((path,))
    assert str(caught.value).startswith(f"{path}:2")
    assert words in str(caught.value)


def test_an_id_used_twice_names_both_lines(tmp_path: Path) -> None:
    one, other = tmp_path / "1.jsonl", tmp_path / "2.jsonl"
    one.write_text(json.dumps(row("x", "a.md")) + "\n" + json.dumps(row("x", "b.md")))
    with pytest.raises(LabelError, match=r"1\.jsonl:2: the id 'x' is used by .*1\.jsonl:1"):
        read_labels((one,))
    one.write_text(json.dumps(row("x", "a.md")))
    other.write_text(json.dumps(row("y", "a.md")) + "\n" + json.dumps(row("x", "b.md")))
    with pytest.raises(LabelError, match=r"2\.jsonl:2: the id 'x' is used by .*1\.jsonl:1"):
        read_labels((one, other))


@pytest.mark.parametrize(("content", "words"), [(None, "there is no labels file"), (b'{"id": "\xe9"}', "UTF-8")])
def test_a_file_that_cannot_be_read_is_named(content: bytes | None, words: str, tmp_path: Path) -> None:
    path = tmp_path / "q.jsonl"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(LabelError, match=words) as caught:
        read_labels((path,))
    assert str(path) in str(caught.value)


CSV = "Document;Question;Answer;Style;Split\r\na.md;How heavy?;29 kg;;eval\r\na.md;Which?;;;\r\nb.md;Is it red?;Yes;yes_no;\r\n"


def test_questions_may_stand_in_a_table(tmp_path: Path) -> None:
    path = tmp_path / "q.csv"
    path.write_text(CSV, "utf-8-sig")
    found = read_labels((path,))
    assert [(r.document_id, r.question, r.answer, r.style, r.split) for r in found] == [
        ("a.md", "How heavy?", "29 kg", "factoid", "eval"),
        ("a.md", "Which?", None, "unanswerable", None),
        ("b.md", "Is it red?", "Yes", "yes_no", None),
    ]
    # Without ids of their own they are known by document and question, wherever they stand.
    path.write_text(CSV.replace("a.md;How", "c.md;New?;new;;\r\na.md;How"))
    assert {row.id for row in found} < {row.id for row in read_labels((path,))}


BAD_TABLES = {
    "other columns": ("name,text\na,b\n", "q.csv needs the columns document, question and answer, and has only name, text"),
    "a document of text": ("document\nIt weighs 29 kg.\n", "has only document; rename"),
    "no question": ("document,question,answer\na.md,,b\n", "q.csv:2 has an empty question or answer"),
    "an open quote": ('document,question,answer\n"a,b,c\n', "q.csv is no CSV at line"),
    "asked twice": ("document,question,answer\na.md,b,c\na.md,b,d\n", "q.csv:3: the id"),
    "empty": ("", "q.csv is empty"),
}


@pytest.mark.parametrize("case", BAD_TABLES)
def test_a_bad_table_is_named_with_what_to_do(case: str, tmp_path: Path) -> None:
    text, words = BAD_TABLES[case]
    (tmp_path / "q.csv").write_text(text)
    with pytest.raises(LabelError) as caught:
        read_labels((tmp_path / "q.csv",))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


# --- labels of the corpus -------------------------------------------------------------------------------------------------


def of_corpus(id_: str, document: str, answer: str | None = "29 kg") -> SourceLabel:
    return SourceLabel(id=id_, document_id=document, question=f"What of {id_}?", answer=answer)


def test_labels_that_came_with_the_corpus_stand_beside_the_others(labels: Project) -> None:
    extra = (of_corpus("c1", "a.md"), of_corpus("c2", "b.md", None))
    found = labels.register([row("a1", "a.md", split="eval"), row("b1", "b.md", split="train")], DOCUMENTS, extra)
    assert [(label.id, label.split, label.style) for label in found.labels] == [
        ("a1", "eval", "factoid"),
        ("b1", "train", "factoid"),
        ("c1", "eval", "factoid"),
        ("c2", "train", "unanswerable"),
    ]
    again = labels.register([row("a1", "a.md"), row("b1", "b.md")], {**DOCUMENTS, "a.md": "changed"}, extra)
    assert {entry.label_id for entry in again.retired} == {"a1", "c1"}


def test_an_id_of_the_corpus_may_not_be_used_again(labels: Project) -> None:
    with pytest.raises(LabelError, match=r"labels\.jsonl:1: the id 'c1' belongs to a question of the corpus itself"):
        labels.register([row("c1", "a.md")], DOCUMENTS, (of_corpus("c1", "a.md"),))


def test_labels_are_scrubbed_as_the_documents_are(labels: Project) -> None:
    asked = row("a1", "a.md", question="Who is ada@private.example?", answer="ada@private.example")
    (label,) = labels.register([asked], DOCUMENTS).labels
    assert (label.question, label.answer) == ("Who is <EMAIL_ADDRESS>?", "<EMAIL_ADDRESS>")
    asked["answer"] = None
    (label,) = labels.register([asked], DOCUMENTS).labels
    assert (label.question, label.answer) == ("Who is <EMAIL_ADDRESS>?", None)


# --- documents that are for retrieval only --------------------------------------------------------------------------------


def test_what_may_not_be_trained_on_is_evaluated_on(labels: Project) -> None:
    documents = {f"{i}.md": str(i) for i in range(40)}
    barred = tuple(f"{i}.md" for i in range(20))
    found = labels.register([row(f"q{i}", f"{i}.md") for i in range(40)], documents, barred=barred)
    splits = {label.document_id: label.split for label in found.labels}
    assert {splits[document] for document in barred} == {"eval", "golden"}
    assert "train" in splits.values()


def test_it_has_no_split_before_its_first_label(labels: Project) -> None:
    labels.register([row("a1", "a.md", split="eval")], DOCUMENTS, barred=("b.md",))
    assert labels.splits() == {"a.md": "eval", "c.md": "train"}


def test_a_label_to_train_on_it_is_refused(labels: Project) -> None:
    with pytest.raises(
        LabelError, match=r"jsonl:1: b\.md is for retrieval only and cannot be trained on; correct split or may_train"
    ):
        labels.register([row("b1", "b.md", split="train")], DOCUMENTS, barred=("b.md",))


def test_what_was_trained_on_and_may_be_no_longer_leaves_the_training_split(labels: Project) -> None:
    rows = [row("a1", "a.md", split="eval"), row("b1", "b.md", split="train")]
    labels.register(rows, DOCUMENTS)
    rows[1].pop("split")
    found = labels.register(rows, DOCUMENTS, barred=("b.md",))
    assert [label.id for label in found.labels] == ["a1"]
    assert [entry.label_id for entry in found.retired] == ["b1"]


# --- splits ---------------------------------------------------------------------------------------------------------------


def test_a_document_has_one_split_and_keeps_it(labels: Project) -> None:
    first = labels.register([row("a1", "a.md", split="train"), row("b1", "b.md", split="eval")], DOCUMENTS)
    assert (ids(first, "train"), ids(first, "eval")) == (["a1"], ["b1"])
    # c.md has no label, so it is trained on; d.md is new; a2 names no split and takes its document's.
    documents = {**DOCUMENTS, "d.md": "four"}
    rows = [row("a1", "a.md"), row("a2", "a.md"), row("b1", "b.md"), row("d1", "d.md", split="golden")]
    second = labels.register(rows, documents)
    assert (ids(second, "train"), ids(second, "eval"), ids(second, "golden")) == (["a1", "a2"], ["b1"], ["d1"])
    assert labels.splits() == {"a.md": "train", "b.md": "eval", "c.md": "train", "d.md": "golden"}


@pytest.mark.parametrize("document", ["a.md", "c.md"])
def test_a_document_that_was_trained_on_never_becomes_an_eval_one(labels: Project, document: str) -> None:
    labels.register([row("a1", "a.md", split="train")], DOCUMENTS)
    with pytest.raises(LabelError, match=rf"jsonl:2: {document} belongs to the train split and cannot be eval"):
        labels.register([row("a1", "a.md"), row("x", document, split="eval")], DOCUMENTS)


def test_a_document_in_two_splits_is_refused_and_nothing_is_kept(labels: Project) -> None:
    with pytest.raises(LabelError, match=r"a\.md belongs to the eval split and cannot be train"):
        labels.register([row("a1", "a.md", split="eval"), row("a2", "a.md", split="train")], DOCUMENTS)
    assert labels.splits() == {}
    fixed = labels.register([row("a1", "a.md", split="train"), row("a2", "a.md", split="train")], DOCUMENTS)
    assert ids(fixed, "train") == ["a1", "a2"]


def test_a_row_that_names_a_split_decides_for_the_rows_before_it(labels: Project) -> None:
    documents = {f"{i}.md": str(i) for i in range(12)}
    rows = [entry for name in documents for entry in (row(f"{name}-1", name), row(f"{name}-2", name, split="golden"))]
    assert len(ids(labels.register(rows, documents), "golden")) == 24


def test_splits_are_drawn_by_document_the_same_on_every_machine(db: Database, tmp_path: Path) -> None:
    documents = {f"{i:03}.md": str(i) for i in range(200)}
    rows = [row(f"{name}-{n}", name) for name in documents for n in (1, 2)]
    found = Project(db, "a-fixed-name", tmp_path).register(rows, documents)
    assert [len(ids(found, split)) for split in ("train", "eval", "golden")] == [242, 116, 42]
    evaluated = {label.document_id for label in found.of_split("eval")}
    assert evaluated.isdisjoint(label.document_id for label in found.of_split("train"))


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_no_document_is_ever_in_two_splits(db: Database, project: str, tmp_path: Path, data: st.DataObject) -> None:
    name = f"{project}-{next(NUMBERS)}"  # hypothesis may run one case twice, and projects remember
    documents = {f"{i}.md": "text" for i in range(6)}
    entries = data.draw(
        st.lists(st.tuples(st.sampled_from(sorted(documents)), st.sampled_from([None, "train", "eval", "golden"])), max_size=12)
    )
    seen: dict[str, str] = {}
    for cut in (len(entries) // 2, len(entries)):
        rows = [row(str(i), document, split=split) for i, (document, split) in enumerate(entries[:cut])]
        labels = Project(db, name, tmp_path)
        try:
            found = labels.register(rows, documents)
        except LabelError:
            assert labels.splits() == seen
            return
        now: dict[str, str] = {}
        for label in found.labels:
            assert now.setdefault(label.document_id, label.split) == label.split
        assert seen.items() <= labels.splits().items()
        assert now.items() <= labels.splits().items()
        seen = dict(labels.splits())


def test_a_corpus_of_one_document_is_refused(labels: Project) -> None:
    with pytest.raises(CorpusError, match="one document, which cannot be split"):
        labels.register([row("a1", "a.md")], {"a.md": "one"})
    assert labels.splits() == {}


# --- the corpus moves on --------------------------------------------------------------------------------------------------


def test_a_label_of_an_unknown_document_is_refused_and_nothing_is_kept(labels: Project) -> None:
    rows = [row("a1", "a.md", split="eval"), row("x", "typo.md")]
    with pytest.raises(LabelError, match=r"labels\.jsonl:2: label 'x' is about 'typo\.md', which is not in the corpus"):
        labels.register(rows, DOCUMENTS)
    assert labels.splits() == {}
    # a1 was not pinned either: it may be seen with another text first.
    assert ids(labels.register(rows[:1], {**DOCUMENTS, "a.md": "rewritten"}), "eval") == ["a1"]


def test_a_label_moved_to_an_unknown_document_is_refused(labels: Project) -> None:
    labels.register([row("a1", "a.md")], DOCUMENTS)
    with pytest.raises(LabelError, match=r"typo\.md"):
        labels.register([row("a1", "typo.md")], DOCUMENTS)


def test_labels_of_a_changed_document_retire_until_they_are_edited(labels: Project) -> None:
    rows = [row("a1", "a.md", split="eval"), row("a2", "a.md"), row("b1", "b.md", split="train")]
    labels.register(rows, DOCUMENTS)
    changed = {**DOCUMENTS, "a.md": "one, second edition"}
    found = labels.register(rows, changed)
    assert [label.id for label in found.labels] == ["b1"]
    assert found.retired == (
        RetiredLabel(label_id="a1", document_id="a.md", split="eval", reason="changed"),
        RetiredLabel(label_id="a2", document_id="a.md", split="eval", reason="changed"),
    )

    relabelled = [row("a1", "a.md", answer="31 kg"), *rows[1:]]
    found = labels.register(relabelled, changed)
    assert {label.id: label.document_sha256 for label in found.labels}["a1"] == sha256("one, second edition")
    assert [entry.label_id for entry in found.retired] == ["a2"]
    # It is pinned to what it was relabelled for.
    again = labels.register(relabelled, {**changed, "a.md": "one, third edition"})
    assert [entry.label_id for entry in again.retired] == ["a1", "a2"]
    assert ids(labels.register(relabelled, changed), "eval") == ["a1"]


def test_labels_of_a_gone_document_retire_and_come_back_with_it(labels: Project) -> None:
    rows = [row("a1", "a.md", split="eval"), row("b1", "b.md", split="train")]
    labels.register(rows, DOCUMENTS)
    without = {id_: text for id_, text in DOCUMENTS.items() if id_ != "a.md"}
    found = labels.register(rows, without)
    assert found.retired == (RetiredLabel(label_id="a1", document_id="a.md", split="eval", reason="gone"),)
    assert ids(found, "eval") == []
    assert ids(labels.register(rows, DOCUMENTS), "eval") == ["a1"]


def test_projects_do_not_see_each_other(labels: Project, db: Database, tmp_path: Path) -> None:
    labels.register([row("a1", "a.md", split="train")], DOCUMENTS)
    other = Project(db, labels.name + "-b", tmp_path)
    assert ids(other.register([row("a1", "a.md", split="eval")], {**DOCUMENTS, "a.md": "else"}), "eval") == ["a1"]
