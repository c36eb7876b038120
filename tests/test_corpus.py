"""Reading a folder, cutting documents into chunks, and keeping store and index at what the folder holds."""

import json
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from csift.corpus import Document, chunk, ingest, load_chunks, read_folder
from csift.db import Database
from csift.exceptions import CorpusError
from csift.retrieval import EMBED_BATCH, ChromaIndex
from csift.schemas import Chunk, Chunking

SMALL = Chunking(size=200, overlap=40)


def write(folder: Path, files: dict[str, str | bytes]) -> Path:
    """A corpus folder with these files."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


# --- reading --------------------------------------------------------------------------------------------------------------


def test_text_markdown_and_json_lines_are_read_from_nested_folders(tmp_path: Path) -> None:
    rows = [{"id": "a", "text": "first row"}, {"id": 7, "text": "second row"}]
    write(
        tmp_path,
        {
            "plain.txt": "\ufeffwith a mark\r\n\r\n\r\n\r\nand Windows lines  \r\n",
            "deep/er/notes.MD": "# Notes\n\nText.",
            "rows.jsonl": "\n".join(json.dumps(row) for row in rows) + "\n\n",
            "picture.png": b"\x89PNG\x00",
        },
    )
    documents = {document.id: document.text for document in read_folder(tmp_path)}
    assert documents == {
        "deep/er/notes.MD": "# Notes\n\nText.",
        "plain.txt": "with a mark\n\nand Windows lines",
        "rows.jsonl#7": "second row",
        "rows.jsonl#a": "first row",
    }


def test_a_json_line_may_hold_every_line_separator_of_unicode(tmp_path: Path) -> None:
    text = "one\u2028two\u0085three\u000bfour"
    write(tmp_path, {"rows.jsonl": json.dumps({"id": "a", "text": text}, ensure_ascii=False)})
    assert read_folder(tmp_path)[0].text == text


BAD_FILES: dict[str, tuple[dict[str, str | bytes], tuple[str, ...]]] = {
    "binary": ({"x.txt": b"MZ\x00\x01"}, ("x.txt", "binary", "convert")),
    "not UTF-8": ({"x.txt": "naïve".encode("latin-1")}, ("x.txt", "not UTF-8", "byte 2", "iconv")),
    "empty": ({"x.md": ""}, ("x.md", "empty", "fill it or remove it")),
    "only spaces": ({"x.md": " \n\t\n"}, ("x.md", "empty", "fill it or remove it")),
    "empty jsonl": ({"x.jsonl": "\n"}, ("x.jsonl", "empty", "fill it or remove it")),
    "not JSON": ({"x.jsonl": '{"id": "a", "text": "b"}\n{"id":'}, ("x.jsonl:2", "not a document", '{"id": ..., "text": ...}')),
    "no text": ({"x.jsonl": '{"id": "a"}'}, ("x.jsonl:1", "not a document")),
    "text is null": ({"x.jsonl": '{"id": "a", "text": null}'}, ("x.jsonl:1", "not a document")),
    "a list": ({"x.jsonl": "[1]"}, ("x.jsonl:1", "not a document")),
    "an empty row": ({"x.jsonl": '{"id": "a", "text": " "}'}, ("x.jsonl:1", "empty")),
    "NUL in JSON": ({"x.jsonl": r'{"id": "a", "text": "b\u0000"}'}, ("x.jsonl:1", "not text")),
    "half a pair": ({"x.jsonl": r'{"id": "a", "text": "\ud83d"}'}, ("x.jsonl:1", "not text")),
    "same id": ({"x.jsonl": '{"id": "a", "text": "b"}\n{"id": "a", "text": "c"}'}, ("x.jsonl#a", "give each its own")),
    "nothing to read": ({"x.pdf": b"%PDF"}, (".txt, .md, .jsonl",)),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_a_bad_file_is_named_with_what_to_do(case: str, tmp_path: Path) -> None:
    files, words = BAD_FILES[case]
    # A good file beside it does not hide it.
    good: dict[str, str | bytes] = {} if case == "nothing to read" else {"good.txt": "fine"}
    write(tmp_path, {**good, **files})
    with pytest.raises(CorpusError) as caught:
        read_folder(tmp_path)
    message = str(caught.value)
    assert str(tmp_path) in message
    assert all(word in message for word in words), message
    assert "\n" not in message


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.write_text("a file")], ids=["missing", "a file"])
def test_a_missing_folder_names_the_setting(make: Callable[[Path], Any], tmp_path: Path) -> None:
    make(tmp_path / "nowhere")
    with pytest.raises(CorpusError, match=r"no corpus folder .*nowhere.*correct corpus\.path"):
        read_folder(tmp_path / "nowhere")


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="no documents"):
        read_folder(tmp_path)


# --- chunking -------------------------------------------------------------------------------------------------------------

# Short enough never to be cut inside; with accents, numbers and the marks that end sentences.
word = st.text(st.sampled_from("abcdéñ#01239-,.!?:;"), min_size=1, max_size=12)
sentence = st.lists(word, min_size=1, max_size=30).map(" ".join)
paragraph = st.lists(sentence, min_size=1, max_size=4).map("\n".join)
heading = st.tuples(st.integers(1, 6), st.lists(word, min_size=1, max_size=4)).map(lambda h: f"{'#' * h[0]} {' '.join(h[1])}")
texts = st.lists(paragraph | heading, min_size=1, max_size=8).map("\n\n".join)
sizes = st.integers(100, 600).flatmap(lambda size: st.builds(Chunking, size=st.just(size), overlap=st.integers(0, size // 2)))


def body(piece: Chunk, text: str) -> str:
    """The passage without its titles: the longest end of it that the text holds, spaces apart."""
    flat = " ".join(text.split())
    parts = piece.text.split(" ")
    start = next(i for i in range(len(parts)) if " ".join(parts[i:]) in flat)
    return " ".join(parts[start:])


@settings(deadline=None, max_examples=150)
@given(texts, sizes)
def test_every_word_is_in_some_chunk_and_no_passage_is_too_long(text: str, chunking: Chunking) -> None:
    pieces = chunk(Document("d.md", text), chunking)
    held = {part.rstrip(":") for piece in pieces for part in piece.text.split()}
    marks = {"#" * n for n in range(1, 7)}
    assert {part.rstrip(":") for part in text.split()} - marks <= held
    titles = [line for line in text.split("\n") if line.startswith("#")]
    if not titles:
        assert all(len(piece.text) <= chunking.size for piece in pieces)
    # Titles take up to half of the room, and beyond that they come on top.
    longest = sum(len(title) + 3 for title in titles)
    assert all(len(piece.text) <= max(chunking.size, chunking.size // 2 + longest + 2) for piece in pieces)


@settings(deadline=None, max_examples=60)
@given(texts, sizes)
def test_the_same_document_gives_the_same_chunks_with_ids_of_their_own(text: str, chunking: Chunking) -> None:
    pieces = chunk(Document("d.md", text), chunking)
    assert pieces == chunk(Document("d.md", text), chunking)
    assert len({piece.id for piece in pieces}) == len(pieces)
    assert [piece.ordinal for piece in pieces] == list(range(len(pieces)))
    assert {piece.id for piece in pieces}.isdisjoint(piece.id for piece in chunk(Document("other.md", text), chunking))


def test_chunk_ids_are_the_same_on_every_machine() -> None:
    assert chunk(Document("d.md", "# Orrin\n\nIt weighs 1.9 kg."), SMALL) == [
        Chunk(id="chunk-5adc05755a2e32bc", document_id="d.md", ordinal=0, text="Orrin: It weighs 1.9 kg.")
    ]


@settings(deadline=None, max_examples=60)
@given(st.lists(paragraph, min_size=2, max_size=5), paragraph, st.data(), sizes)
def test_an_edit_leaves_the_chunks_of_other_sections_alone(
    bodies: list[str], edited: str, data: st.DataObject, chunking: Chunking
) -> None:
    place = data.draw(st.integers(0, len(bodies) - 1))
    assume(not any(line.startswith("#") for text in [*bodies, edited] for line in text.split("\n")))

    def sections(texts: Sequence[str]) -> list[Chunk]:
        return chunk(Document("d.md", "\n\n".join(f"# Part {i}\n\n{text}" for i, text in enumerate(texts))), chunking)

    before, after = sections(bodies), {piece.id for piece in sections([*bodies[:place], edited, *bodies[place + 1 :]])}
    elsewhere = {piece.id for piece in before if not piece.text.startswith(f"Part {place}: ")}
    assert elsewhere <= after


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(1, 5), min_size=4, max_size=30), st.integers(120, 300))
def test_neighbours_share_whole_sentences_up_to_the_overlap(lengths: list[int], size: int) -> None:
    sentences = [f"Sentence {i}{' long' * n} ends." for i, n in enumerate(lengths)]
    pieces = chunk(Document("d.txt", " ".join(sentences)), Chunking(size=size, overlap=size // 2))
    for before, after in pairwise(pieces):
        shared = [part for part in sentences if part in before.text and part in after.text]
        assert shared, (before.text, after.text)
        assert before.text.endswith(" ".join(shared))
        assert after.text.startswith(" ".join(shared))
        assert len(" ".join(shared)) <= size // 2


def test_without_overlap_nothing_is_said_twice() -> None:
    sentences = [f"Sentence {i} ends." for i in range(40)]
    pieces = chunk(Document("d.txt", " ".join(sentences)), Chunking(size=100, overlap=0))
    assert len(pieces) > 5
    assert " ".join(piece.text for piece in pieces) == " ".join(sentences)


def test_passages_open_with_the_titles_above_them() -> None:
    text = "# Orrin\n\nA station.\n\n## Safety\n\nHot tip.\n\n### Fuse\n\nT1.6 A.\n\n## Uses of C#\n\nNone.\n\n## Later ##"
    assert [piece.text for piece in chunk(Document("d.md", text), SMALL)] == [
        "Orrin: A station.",
        "Orrin > Safety: Hot tip.",
        "Orrin > Safety > Fuse: T1.6 A.",
        "Orrin > Uses of C#: None.",
        "Orrin: Later",
    ]


def test_a_word_longer_than_a_passage_is_cut() -> None:
    pieces = chunk(Document("d.txt", "x" * 450), SMALL)
    assert "".join(piece.text for piece in pieces) == "x" * 450
    assert max(len(piece.text) for piece in pieces) <= 200


def test_a_long_sentence_after_a_paragraph_does_not_overfill_its_passage() -> None:
    first, second = "Short end here. " + "a" * 100, "b" * 100 + " " + "c" * 95
    pieces = chunk(Document("d.txt", f"{first}\n\n{second}."), Chunking(size=200, overlap=100))
    assert max(len(piece.text) for piece in pieces) <= 200


# --- ingest ---------------------------------------------------------------------------------------------------------------


class Limited:
    """An embedder that dies after so many texts."""

    def __init__(self, inner: Any, limit: int) -> None:
        self.inner, self.limit = inner, limit
        self.id, self.dim = inner.id, inner.dim

    def embed(self, texts: Sequence[str]) -> Any:
        if len(self.inner.embedded) + len(texts) > self.limit:
            raise MemoryError("killed")
        return self.inner.embed(texts)


@pytest.fixture
def folder(tmp_path: Path, project: str) -> Path:
    """Three documents that no other test has."""
    names = ("anvil", "bellows", "crucible")
    return write(tmp_path / "corpus", {f"{name}.md": f"# {name}\n\nOf {project}. It is a {name}." for name in names})


def texts_of(index: ChromaIndex, embedder: Any, count: int = 10) -> set[str]:
    return {hit.text for hit in index.search(["It"], count)[0]}


def test_only_changed_documents_are_embedded_again_and_gone_ones_leave(
    db: Database, project: str, folder: Path, tmp_path: Path, words: Any
) -> None:
    index = ChromaIndex(tmp_path / "chroma", project, words)
    first = ingest(db, index, project, folder, SMALL)
    assert len(words.embedded) == 3
    assert [piece.document_id for piece in load_chunks(db, first)] == ["anvil.md", "bellows.md", "crucible.md"]

    words.embedded.clear()
    assert ingest(db, index, project, folder, SMALL) == first
    assert words.embedded == []

    write(folder, {"anvil.md": f"# anvil\n\nOf {project}. Heavier now."})
    (folder / "crucible.md").unlink()
    second = ingest(db, index, project, folder, SMALL)
    assert words.embedded == [f"anvil: Of {project}. Heavier now."]
    assert second.id != first.id
    assert texts_of(index, words) == {f"anvil: Of {project}. Heavier now.", f"bellows: Of {project}. It is a bellows."}
    # The first snapshot can still be read, word for word.
    assert load_chunks(db, first)[0].text == f"anvil: Of {project}. It is a anvil."


def test_only_changed_documents_are_cut_again(db: Database, project: str, folder: Path, tmp_path: Path, words: Any) -> None:
    index = ChromaIndex(tmp_path / "chroma", project, words)
    ingest(db, index, project, folder, SMALL)
    stored: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, parameters: Any, *other: Any) -> None:
        if statement.startswith("INSERT INTO chunks"):
            stored.extend(row["document_id"] for row in (parameters if isinstance(parameters, list) else [parameters]))

    sa.event.listen(db.engine, "before_cursor_execute", note)
    try:
        ingest(db, index, project, folder, SMALL)
        assert stored == []
        write(folder, {"anvil.md": f"# anvil\n\nOf {project}. Lighter now."})
        ingest(db, index, project, folder, SMALL)
        assert stored == ["anvil.md"]
    finally:
        sa.event.remove(db.engine, "before_cursor_execute", note)


def test_two_documents_may_exchange_their_texts(db: Database, project: str, tmp_path: Path, words: Any) -> None:
    index = ChromaIndex(tmp_path / "chroma", project, words)
    one, other = f"Anvils of {project}.", f"Bellows of {project}."
    for files in ({"a.txt": one, "b.txt": other}, {"a.txt": other, "b.txt": one}):
        snapshot = ingest(db, index, project, write(tmp_path / "corpus", dict(files)), SMALL)
        assert {piece.document_id: piece.text for piece in load_chunks(db, snapshot)} == files
        assert len(load_chunks(db, snapshot)) == len(index.search(["of"], 9)[0]) == 2


def test_other_chunk_sizes_cut_every_document_again(db: Database, project: str, folder: Path, tmp_path: Path, words: Any) -> None:
    write(folder, {"long.txt": " ".join(f"Sentence {i} of {project}." for i in range(20))})
    index = ChromaIndex(tmp_path / "chroma", project, words)
    narrow = ingest(db, index, project, folder, Chunking(size=100, overlap=0))
    wide = ingest(db, index, project, folder, Chunking(size=1000, overlap=0))
    assert narrow.id != wide.id
    assert len(load_chunks(db, wide)) == 4 < len(load_chunks(db, narrow))
    assert len(index.search(["Sentence"], 50)[0]) == 4


def test_a_bad_file_changes_nothing(db: Database, project: str, folder: Path, tmp_path: Path, words: Any) -> None:
    index = ChromaIndex(tmp_path / "chroma", project, words)
    snapshot = ingest(db, index, project, folder, SMALL)
    held = texts_of(index, words)
    write(folder, {"anvil.md": f"Of {project}, rewritten.", "new.txt": b"\xff\xfe\x00"})
    words.embedded.clear()
    with pytest.raises(CorpusError, match=r"new\.txt"):
        ingest(db, index, project, folder, SMALL)
    assert words.embedded == []
    assert texts_of(index, words) == held
    (folder / "new.txt").unlink()
    write(folder, {"anvil.md": f"# anvil\n\nOf {project}. It is a anvil."})
    assert ingest(db, index, project, folder, SMALL) == snapshot


def test_killed_half_way_the_next_call_finishes(db: Database, project: str, tmp_path: Path, words: Any) -> None:
    texts = [" ".join(f"{project}-{i}-{part}" for part in "abcdef") for i in range(EMBED_BATCH + 20)]  # far from each other
    folder = write(tmp_path / "corpus", {f"{i:03}.txt": text for i, text in enumerate(texts)})
    with pytest.raises(MemoryError):
        ingest(db, ChromaIndex(tmp_path / "chroma", project, Limited(words, EMBED_BATCH + 5)), project, folder, SMALL)
    assert len(words.embedded) == EMBED_BATCH

    words.embedded.clear()
    index = ChromaIndex(tmp_path / "chroma", project, words)
    snapshot = ingest(db, index, project, folder, SMALL)
    assert len(words.embedded) == 20
    assert [piece.text for piece in load_chunks(db, snapshot)] == texts
    assert [hits[0].text for hits in index.search(texts, 1)] == texts


def test_progress_counts_the_chunks_that_are_embedded(db: Database, project: str, tmp_path: Path, words: Any) -> None:
    folder = write(tmp_path / "corpus", {f"{i}.txt": f"Document {i} of {project}." for i in range(EMBED_BATCH + 6)})
    shown: list[tuple[str, int, int, str]] = []

    def progress(stage: str, done: int, total: int, note: str = "") -> None:
        shown.append((stage, done, total, note))

    ingest(db, ChromaIndex(tmp_path / "chroma", project, words), project, folder, SMALL, progress)
    assert [entry[:3] for entry in shown] == [
        ("ingest", 0, 70),
        ("ingest", EMBED_BATCH, EMBED_BATCH + 6),
        ("ingest", EMBED_BATCH + 6, EMBED_BATCH + 6),
    ]


def test_two_projects_share_no_index(db: Database, project: str, tmp_path: Path, words: Any) -> None:
    one = ChromaIndex(tmp_path / "chroma", project, words)
    other = ChromaIndex(tmp_path / "chroma", project + "-b", words)
    ingest(db, one, project, write(tmp_path / "a", {"a.txt": f"Anvils of {project}."}), SMALL)
    ingest(db, other, project + "-b", write(tmp_path / "b", {"b.txt": f"Bellows of {project}."}), SMALL)
    assert texts_of(one, words) == {f"Anvils of {project}."}
    assert np.allclose([hit.score for hit in other.search([f"Bellows of {project}."], 1)[0]], 1.0, atol=1e-5)
