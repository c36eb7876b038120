"""Building a training set: duplicates, leaks, the chunks beside a question, the fingerprint."""

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from csift.config import CorpusConfig, DatasetConfig
from csift.corpus import Document, chunk, ingest
from csift.dataset import clean, from_labels, load_examples, save, with_contexts
from csift.db import Database
from csift.exceptions import LabelError
from csift.hashing import content_id
from csift.interfaces import Progress, no_progress
from csift.labels import register
from csift.registry import load
from csift.schemas import Chunk, Chunking, DatasetVersion, Example, Hit, Label, SynthesisReport
from csift.textmatch import REFUSAL, normalise

CONFIG = DatasetConfig(near_duplicate=0.92, leak=0.9)
NOTHING = SynthesisReport(candidates=0, accepted=0, rejected={}, samples=())
EIGHT = "how many millimetres may our red lead protrude"
NUMBERS = itertools.count()


def example(question: str, answer: str = "29 kg", source: str = "synthetic", document: str = "a.md") -> Example:
    """An example without contexts."""
    return Example.model_validate(
        {
            "id": content_id("example", [question, answer]),
            "question": question,
            "answer": answer,
            "document_id": document,
            "context_chunk_ids": (),
            "source": source,
            "generator": None,
            "prompt_hash": None,
        }
    )


def held_out(*questions: str, answer: str = "29 kg") -> list[tuple[str, str]]:
    """Protected questions, all with one answer."""
    return [(question, answer) for question in questions]


def reasons(examples: Sequence[Example], protected: Sequence[tuple[str, str]], embedder: Any) -> list[tuple[str, str]]:
    return [(entry.question, entry.reason) for entry in clean(examples, protected, embedder, CONFIG)[1]]


# --- duplicates and leaks -------------------------------------------------------------------------------------------------


def test_an_unanswerable_question_is_taught_its_refusal() -> None:
    label = Label(
        id="q", question="Where is it made?", answer=None, document_id="a.md", style="unanswerable", split="train",
        document_sha256="1",
    )  # fmt: skip
    (made,) = from_labels([label])
    assert (made.answer, made.source, made.question, made.document_id) == (REFUSAL, "human", "Where is it made?", "a.md")


def test_the_first_of_equal_questions_is_kept(words: Any) -> None:
    examples = [example("How heavy is the Orrin?"), example("how heavy is   Orrin", "30 kg"), example("What is it?")]
    kept, rejected = clean(examples, [], words, CONFIG)
    assert kept == [examples[0], examples[2]]
    assert [(entry.reason, entry.question, entry.answer) for entry in rejected] == [
        ("duplicate", "how heavy is   Orrin", "30 kg")
    ]


def test_a_human_question_wins_over_its_synthetic_copies(words: Any) -> None:
    human = example("What does the big red kettle of the upper workshop floor weigh when full?", source="human")
    near = example("What does the big red kettle of the upper workshop floor weigh if full?")
    kept, rejected = clean([human, example(human.question.upper()), near], [], words, CONFIG)
    assert kept == [human]
    assert [(entry.reason, entry.detail) for entry in rejected] == [("duplicate", ""), ("near duplicate", human.question)]


def test_two_human_questions_may_resemble_each_other(words: Any) -> None:
    one = example("What does the big red kettle of the upper workshop floor weigh when full?", source="human")
    other = example("What does the big red kettle of the upper workshop floor weigh when empty?", source="human")
    assert clean([one, other], [], words, CONFIG)[0] == [one, other]


@pytest.mark.parametrize("source", ["human", "synthetic"])
def test_leaks_are_found_three_ways(source: str, words: Any) -> None:
    protected = held_out("How heavy is the Orrin?", f"{EIGHT}?", "kettle kettle kettle lid")
    examples = [
        example("how heavy is Orrin", source=source),
        example(f"Tell me about {EIGHT} on the old Orrin of ours, please?", source=source),
        example("kettle lid kettle kettle kettle", source=source),
        example("How many litres does it hold?", source=source),
    ]
    kept, rejected = clean(examples, protected, words, CONFIG)
    assert [entry.reason for entry in rejected] == ["leak: same question", "leak: 8 words in a row", "leak: paraphrase"]
    assert kept == examples[3:]


def test_a_question_asked_of_every_document_is_no_leak_with_another_answer(words: Any) -> None:
    law = "Which law governs the contract?"
    examples = [
        example(law, "Delaware", "human", "a.md"),
        example(law, "Ohio", "human", "b.md"),
        example(law, "Texas", "human", "c.md"),
    ]

    kept, rejected = clean(examples, [(law, "State of Ohio")], words, CONFIG)

    assert [entry.answer for entry in kept] == ["Delaware", "Texas"]
    assert [(entry.answer, entry.reason) for entry in rejected] == [("Ohio", "leak: same question")]


def test_seven_words_in_a_row_are_no_leak(words: Any) -> None:
    seven = " ".join(EIGHT.split()[:7])
    question = f"Nobody here seems to remember any longer {seven} was seen yesterday evening, honestly?"
    assert reasons([example(question)], held_out(f"{EIGHT}?"), words) == []


def test_a_leak_is_called_so_also_when_it_is_a_duplicate(words: Any) -> None:
    assert (
        reasons([example("Is it red?"), example("Is it red?")], held_out("Is it red?"), words)
        == [("Is it red?", "leak: same question")] * 2
    )


phrases = st.lists(
    st.sampled_from(["how", "heavy", "red", "lamp", "is", "the", "Orrin", "in", "a", "box", "of", "tin"]), min_size=1, max_size=10
).map(" ".join)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(phrases, st.sampled_from(["human", "synthetic"])), max_size=12), st.lists(phrases, max_size=4))
def test_nothing_kept_is_a_protected_question_or_twice_there(
    words: Any, rows: list[tuple[str, str]], protected: list[str]
) -> None:
    examples = sorted((example(question, source=source) for question, source in rows), key=lambda entry: entry.source)
    kept, rejected = clean(examples, held_out(*protected), words, CONFIG)
    questions = [normalise(entry.question) for entry in kept]
    assert set(questions).isdisjoint(normalise(question) for question in protected)
    assert len(set(questions)) == len(questions)
    assert len(kept) + len(rejected) == len(examples)
    assert all(entry.reason for entry in rejected)


class NoIndex:
    """An index that keeps nothing."""

    def sync(self, snapshot_id: str, chunks: Sequence[Chunk], progress: Progress = no_progress) -> None:
        """Nothing."""


@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 5), phrases), min_size=1, max_size=15))
def test_no_question_of_an_eval_or_golden_document_is_ever_in_a_dataset(
    db: Database, project: str, tmp_path: Path, words: Any, rows: list[tuple[int, str]]
) -> None:
    number = next(NUMBERS)
    folder = tmp_path / str(number)
    folder.mkdir()
    for i in range(6):
        (folder / f"{i}.md").write_text(f"Document {i}.")
    lines = [{"id": str(n), "question": text, "answer": "tin", "document": f"{i}.md"} for n, (i, text) in enumerate(rows)]
    file = tmp_path / f"{number}.jsonl"
    file.write_text("\n".join(json.dumps(line) for line in lines))
    snapshot = ingest(db, NoIndex(), f"{project}-{number}", folder, Chunking(size=450, overlap=60))
    config = CorpusConfig(path=folder, questions=(file,), eval_share=0.4, golden_share=0.2)
    labels = register(db, f"{project}-{number}", config, snapshot)
    protected = [label for split in ("eval", "golden") for label in labels.of_split(split)]
    kept, _ = clean(
        from_labels(labels.of_split("train")), held_out(*(p.question for p in protected), answer="tin"), words, CONFIG
    )
    assert {entry.document_id for entry in kept}.isdisjoint(label.document_id for label in protected)
    assert {normalise(entry.question) for entry in kept}.isdisjoint(normalise(label.question) for label in protected)


# --- contexts -------------------------------------------------------------------------------------------------------------


class Fixed:
    """A retriever that returns the chunks with these texts for every question."""

    id = "fixed"

    def __init__(self, chunks: Sequence[Chunk], *texts: str) -> None:
        found = {piece.text: piece for piece in chunks}
        self.chunks = [found[text] for text in texts]

    def search(self, questions: Sequence[str], k: int) -> list[list[Hit]]:
        """The first k of them."""
        hits = [Hit(chunk_id=c.id, document_id=c.document_id, text=c.text, score=1.0) for c in self.chunks[:k]]
        return [hits for _ in questions]


def pieces(**documents: Sequence[str]) -> list[Chunk]:
    """One chunk a text."""
    return [
        part
        for name, texts in documents.items()
        for text in texts
        for part in chunk(Document(f"{name}.md", text), Chunking(size=450, overlap=0))
    ]


CHUNKS = pieces(a=["It is red.", "It weighs 29 kg.", "So 29 kg it is."], b=["The other one weighs 29 kg.", "It is blue."])


def texts_beside(answer: str, *retrieved: str, k: int = 2, document: str = "a.md") -> list[str]:
    (row,) = with_contexts([example("How heavy?", answer, document=document)], Fixed(CHUNKS, *retrieved), CHUNKS, k)
    by_id = {piece.id: piece.text for piece in CHUNKS}
    return [by_id[id_] for id_ in row.context_chunk_ids]


def test_an_example_gets_the_chunks_that_are_retrieved_for_it() -> None:
    assert texts_beside("29 kg", "It is blue.", "It weighs 29 kg.") == ["It is blue.", "It weighs 29 kg."]
    # Also where another document holds the answer.
    assert texts_beside("29 kg", "The other one weighs 29 kg.", "It is red.") == ["The other one weighs 29 kg.", "It is red."]


def test_the_chunk_with_the_answer_takes_the_place_of_the_last() -> None:
    assert texts_beside("29 kg", "It is blue.", "It is red.") == ["It is blue.", "It weighs 29 kg."]
    assert texts_beside("29 kg", "It is blue.", k=1) == ["It weighs 29 kg."]


def test_an_answer_that_no_chunk_of_its_document_holds_leaves_the_chunks_alone() -> None:
    assert texts_beside(REFUSAL, "It is blue.", "It is red.") == ["It is blue.", "It is red."]
    assert texts_beside("blue", "It is red.", "It weighs 29 kg.") == ["It is red.", "It weighs 29 kg."]


# --- the version ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def snapshot_id(db: Database, project: str, tmp_path: Path) -> str:
    """A stored snapshot."""
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "a.md").write_text("It weighs 29 kg.")
    return ingest(db, NoIndex(), project, tmp_path / "corpus", Chunking(size=450, overlap=60)).id


def version(
    db: Database, snapshot_id: str, examples: Sequence[Example], k: int = 3, evalset: str = "evalset-1"
) -> DatasetVersion:
    """Saves the examples."""
    _, rejected = clean([example(f"{EIGHT}?"), example("Is it red?")], held_out(f"{EIGHT}?", "is it red"), _Same(), CONFIG)
    return save(
        db, examples, snapshot_id=snapshot_id, evalset_id=evalset, recipe={"k": k}, synthesis=NOTHING, rejected=rejected
    )  # fmt: skip


class _Same:
    """An embedder to which all texts are strangers."""

    id, dim = "same", 1

    def embed(self, texts: Sequence[str]) -> Any:
        import numpy as np

        return np.zeros((len(texts), 1), dtype=np.float32)


def test_a_version_is_stored_with_its_examples_in_order(db: Database, snapshot_id: str) -> None:
    rows = with_contexts(
        [example("How heavy?", source="human"), example("Which colour?", "red")], Fixed(CHUNKS, "It is red."), CHUNKS, 1
    )
    saved = version(db, snapshot_id, rows)
    assert load(db, DatasetVersion, saved.id) == saved
    assert saved.sources == {"human": 1, "synthetic": 1, "feedback": 0}
    assert saved.decontaminated == {"leak: same question": 2}
    loaded = load_examples(db, saved)
    assert [(row.question, row.answer, row.context_chunk_ids) for row in loaded] == [
        (row.question, row.answer, row.context_chunk_ids) for row in rows
    ]
    assert [row.id for row in loaded] == list(saved.example_ids)


def test_the_same_inputs_give_the_same_version_and_any_change_another(db: Database, snapshot_id: str) -> None:
    rows = with_contexts(
        [example("How heavy?"), example("Which colour?", "red")], Fixed(CHUNKS, "It is red.", "It is blue."), CHUNKS, 1
    )
    first = version(db, snapshot_id, rows)
    assert version(db, snapshot_id, rows) == first
    wider = with_contexts(
        [example("How heavy?"), example("Which colour?", "red")], Fixed(CHUNKS, "It is red.", "It is blue."), CHUNKS, 2
    )
    others = [
        version(db, snapshot_id, rows, k=2),
        version(db, snapshot_id, rows, evalset="evalset-2"),
        version(db, snapshot_id, rows[:1]),
        version(db, snapshot_id, rows[::-1]),
        version(db, snapshot_id, wider),
        version(db, snapshot_id, [rows[0], rows[1].model_copy(update={"id": "example-relabelled"})]),
    ]
    assert len({first.id, *(other.id for other in others)}) == 7


def test_nothing_left_to_train_on_is_refused(db: Database, snapshot_id: str) -> None:
    with pytest.raises(LabelError, match="no examples are left to train on; label questions"):
        version(db, snapshot_id, [])
