"""The index on disk, and the bundled embedder."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from csift.exceptions import StorageError
from csift.hashing import content_id
from csift.retrieval import ChromaIndex, MiniLM
from csift.schemas import Chunk


def chunks(*texts: str) -> list[Chunk]:
    """One chunk a text, each of a document of its own."""
    return [Chunk(id=content_id("chunk", t), document_id=f"{i}.txt", ordinal=0, text=t) for i, t in enumerate(texts)]


def test_the_nearest_chunk_comes_first_with_its_cosine(tmp_path: Path, words: Any) -> None:
    index = ChromaIndex(tmp_path, "p", words)
    index.sync("s", chunks("red lamp", "red kettle lid", "blue anvil"))
    first, second = index.search(["red lamp", "anvil"], 2)
    assert [hit.text for hit in first] == ["red lamp", "red kettle lid"]
    assert first[0].score == pytest.approx(1.0, abs=1e-5)
    assert first[1].score == pytest.approx(1 / 6**0.5, abs=1e-5)
    assert (second[0].text, second[0].document_id, second[0].chunk_id) == (
        "blue anvil",
        "2.txt",
        content_id("chunk", "blue anvil"),
    )


def test_equal_scores_come_in_order_of_their_ids(tmp_path: Path, words: Any) -> None:
    index = ChromaIndex(tmp_path, "p", words)
    index.sync("s", chunks("lamp one", "lamp two", "lamp six", "lamp ten"))
    found = index.search(["lamp"], 4)[0]
    assert [hit.chunk_id for hit in found] == sorted(hit.chunk_id for hit in found)


def test_fewer_chunks_than_asked_for_are_all_returned(tmp_path: Path, words: Any) -> None:
    index = ChromaIndex(tmp_path, "p", words)
    index.sync("s", chunks("red lamp", "blue anvil"))
    assert len(index.search(["lamp"], 20)[0]) == 2


def test_sync_embeds_what_is_missing_and_removes_what_is_gone(tmp_path: Path, words: Any) -> None:
    index = ChromaIndex(tmp_path, "p", words)
    index.sync("s", chunks("red lamp", "blue anvil"))
    words.embedded.clear()
    index.sync("t", chunks("blue anvil", "green vice"))
    assert words.embedded == ["green vice"]
    assert {hit.text for hit in index.search(["lamp"], 5)[0]} == {"blue anvil", "green vice"}


def test_the_index_outlives_its_process(tmp_path: Path, words: Any) -> None:
    import chromadb

    ChromaIndex(tmp_path, "p", words).sync("s", chunks("red lamp", "blue anvil"))
    chromadb.api.client.SharedSystemClient.clear_system_cache()  # as if this were another process
    assert ChromaIndex(tmp_path, "p", words).search(["lamp"], 1)[0][0].text == "red lamp"


def test_an_empty_index_says_what_to_do(tmp_path: Path, words: Any) -> None:
    with pytest.raises(StorageError, match="ingest a corpus first"):
        ChromaIndex(tmp_path, "p", words).search(["lamp"], 1)


def test_a_folder_that_cannot_hold_an_index_is_named(tmp_path: Path, words: Any) -> None:
    (tmp_path / "chroma").write_text("a file")
    with pytest.raises(StorageError, match=r"cannot open the index in .*chroma"):
        ChromaIndex(tmp_path / "chroma", "p", words)


def test_a_damaged_index_is_named(tmp_path: Path, words: Any) -> None:
    (tmp_path / "chroma.sqlite3").write_bytes(b"no database" * 100)
    with pytest.raises(StorageError, match="cannot open the index"):
        ChromaIndex(tmp_path, "p", words)


def test_the_bundled_embedder_puts_a_paraphrase_near_and_gives_unit_vectors() -> None:
    question, paraphrase, other = MiniLM(1).embed(
        ["How heavy is the compressor?", "What does the compressor weigh?", "Is there a discount for students?"]
    )
    assert question.dtype == np.float32
    assert question.shape == (MiniLM.dim,)
    assert np.linalg.norm(question) == pytest.approx(1.0, abs=1e-5)
    assert question @ paraphrase > 0.7 > 0.3 > question @ other


def test_no_text_loads_no_model() -> None:
    embedder = MiniLM(1)
    assert embedder.embed([]).shape == (0, MiniLM.dim)
    assert "_model" not in vars(embedder)
