"""Chroma on disk and served, Bedrock Knowledge Bases, and the rank of a question's own chunk."""

import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from embedding_servers import BedrockServer, aws_environment, aws_refusal
from hypothesis import given
from hypothesis import strategies as st

from csift.exceptions import ConfigError, CorpusError, StorageError
from csift.hashing import content_id
from csift.retrieval import EMBED_BATCH, BedrockKnowledgeBase, ChromaIndex, own_ranks, rank_within
from csift.schemas import Chunk


def chunks(*texts: str) -> list[Chunk]:
    """One chunk a text, each of a document of its own."""
    return [Chunk(id=content_id("chunk", t), document_id=f"{i}.txt", ordinal=0, text=t) for i, t in enumerate(texts)]


def numbered(count: int) -> list[Chunk]:
    """Chunks whose vectors lie far apart."""
    return chunks(*(" ".join(f"{i}{letter}" for letter in "abcdef"[: 3 + i % 4]) for i in range(count)))


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


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


def test_another_embedder_gets_a_collection_of_its_own(tmp_path: Path, words: Any) -> None:
    ChromaIndex(tmp_path, "p", words).sync("s", chunks("red lamp", "blue anvil"))
    words.id = "other words"
    other = ChromaIndex(tmp_path, "p", words)
    with pytest.raises(StorageError, match="ingest a corpus first"):
        other.search(["lamp"], 1)
    other.sync("s", chunks("red lamp", "blue anvil"))
    assert other.search(["lamp"], 1)[0][0].text == "red lamp"


class Failing:
    """Fails at the batch that begins after `allowed` texts."""

    def __init__(self, embedder: Any, allowed: int) -> None:
        self.id, self.dim = embedder.id, embedder.dim
        self.embedder, self.left = embedder, allowed

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        self.left -= len(texts)
        if self.left < 0:
            raise KeyboardInterrupt
        return self.embedder.embed(texts)


def test_what_was_embedded_before_a_stop_is_not_embedded_again(tmp_path: Path, words: Any) -> None:
    many = numbered(2 * EMBED_BATCH + 3)
    with pytest.raises(KeyboardInterrupt):
        ChromaIndex(tmp_path, "p", Failing(words, 2 * EMBED_BATCH)).sync("s", many)
    shown: list[tuple[int, int]] = []
    words.embedded.clear()
    index = ChromaIndex(tmp_path, "p", words)
    index.sync("s", many, lambda stage, done, total, note="": shown.append((done, total)))
    assert len(words.embedded) == 3
    assert shown == [(0, 3), (3, 3)]
    assert {hits[0].text for hits in index.search([chunk.text for chunk in many], 1)} == {chunk.text for chunk in many}


def test_a_snapshot_that_is_there_is_not_embedded_again(tmp_path: Path, words: Any) -> None:
    index = ChromaIndex(tmp_path, "p", words)
    index.sync("s", chunks("red lamp", "blue anvil"))
    words.embedded.clear()
    index.sync("s", chunks("red lamp", "blue anvil"))
    assert words.embedded == []


def test_vectors_of_another_length_are_refused_by_name(tmp_path: Path, words: Any) -> None:
    index = ChromaIndex(tmp_path, "p", words)
    index.sync("s", chunks("red lamp"))
    words.dim = 8
    with pytest.raises(StorageError, match=r"the index in .* failed at add for t: .*dimension"):
        index.sync("t", chunks("red lamp", "blue anvil"))


# --- a Chroma server ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def chroma_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a real Chroma server, in a process of its own."""
    port = free_port()
    command = [str(Path(sys.executable).parent / "chroma"), "run", "--host", "127.0.0.1", "--port", str(port)]
    folder = tmp_path_factory.mktemp("chroma-server")
    process = subprocess.Popen([*command, "--path", str(folder)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout
    try:
        assert any("server listening" in line for line in process.stdout), "the Chroma server ended by itself"
        threading.Thread(target=process.stdout.read, daemon=True).start()  # what nobody reads would block it in the end
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def test_a_served_index_does_what_one_on_disk_does(chroma_server: str, tmp_path: Path, words: Any) -> None:
    many = numbered(EMBED_BATCH + 50)
    on_disk, served = ChromaIndex(tmp_path, "p", words), ChromaIndex(chroma_server, "p", words)
    for index in (on_disk, served):
        index.sync("s", many)
        index.sync("t", many[20:])
    words.embedded.clear()
    ChromaIndex(chroma_server, "p", words).sync("t", many[20:])
    assert words.embedded == []
    questions = [chunk.text for chunk in many[::10]]
    for one, other in zip(on_disk.search(questions, 3), served.search(questions, 3), strict=True):
        assert [hit.score for hit in one] == pytest.approx([hit.score for hit in other], abs=1e-5)
    assert served.search([many[30].text], 1)[0][0].chunk_id == many[30].id
    assert ChromaIndex(chroma_server, "q", words).id == served.id
    with pytest.raises(StorageError, match="ingest a corpus first"):
        ChromaIndex(chroma_server, "q", words).search(["text"], 1)


def test_a_chroma_server_that_is_not_there_is_named(words: Any) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(StorageError, match=rf"{url}: .*start it with `chroma run`") as raised:
        ChromaIndex(url, "p", words)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://host", "http://", "http://host:port", "https://[::1"])
def test_what_is_no_url_of_a_server_is_refused(url: str, words: Any) -> None:
    with pytest.raises(ConfigError, match=rf"{re.escape(repr(url))} is not the URL of a Chroma server.*CSIFT_CHROMA_URL"):
        ChromaIndex(url, "p", words)


# --- Bedrock Knowledge Bases ----------------------------------------------------------------------------------------------


def passage(text: str | None, uri: str = "s3://docs/lamps.pdf", **more: Any) -> dict[str, Any]:
    """A retrieval result of AWS."""
    content = {"type": "TEXT", "text": text} if text else {"type": "IMAGE", "byteContent": "aW1hZ2U="}
    return {"content": content, "location": {"type": "S3", "s3Location": {"uri": uri}}, **more}


@pytest.fixture
def bedrock(monkeypatch: pytest.MonkeyPatch) -> Iterator[BedrockServer]:
    """A server that speaks Bedrock's Retrieve, two results a page."""
    aws_environment(monkeypatch)
    with BedrockServer(page=2) as server:
        yield server


def knowledge_base(server: BedrockServer, id_: str = BedrockServer.knowledge_base) -> BedrockKnowledgeBase:
    """The retriever of that server."""
    return BedrockKnowledgeBase(id_, endpoint_url=server.url)


def test_a_knowledge_base_gives_the_best_chunks_over_all_pages(bedrock: BedrockServer) -> None:
    bedrock.passages = [passage("lamp " + " ".join("abcdefg"[:i])) for i in range(7)]
    retriever = knowledge_base(bedrock)
    hits, other = retriever.search(["lamp a b c d e f", "lamp"], 5)
    assert [hit.text for hit in hits] == [f"lamp {' '.join('abcdef'[:i])}" for i in (6, 5, 4, 3, 2)]
    assert [hit.score for hit in hits] == pytest.approx([0.07, 0.06, 0.05, 0.04, 0.03])
    assert len(other) == 5
    assert len(retriever.search(["lamp"], 20)[0]) == 7
    assert retriever.search([], 5) == []
    assert retriever.id == "bedrock-kb:KB12345678"


def test_a_hit_is_named_by_metadata_or_else_by_its_place(bedrock: BedrockServer) -> None:
    web = {"type": "WEB", "webLocation": {"url": "https://example.org/lamps"}}
    bedrock.passages = [
        passage("one", metadata={"document_id": "lamps.md", "chunk_id": "chunk-1", "x-amz-bedrock-kb-chunk-id": "kb-1"}),
        passage("one two", metadata={"x-amz-bedrock-kb-chunk-id": "kb-2"}),
        passage("one two three") | {"location": web},
    ]
    third, second, first = knowledge_base(bedrock).search(["one two three"], 3)[0]
    assert (first.document_id, first.chunk_id) == ("lamps.md", "chunk-1")
    assert (second.document_id, second.chunk_id) == ("s3://docs/lamps.pdf", "kb-2")
    assert third.document_id == "https://example.org/lamps"
    assert third.chunk_id == knowledge_base(bedrock).search(["three"], 1)[0][0].chunk_id


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ([], "is empty; sync its data source"),
        ([passage(None)], "gave a IMAGE result without text"),
        ([{"content": {"text": "lamp"}}], "without a document"),
    ],
)
def test_what_is_no_text_of_a_document_is_an_error(bedrock: BedrockServer, found: list[dict[str, Any]], message: str) -> None:
    bedrock.passages = found
    with pytest.raises(StorageError, match=message):
        knowledge_base(bedrock).search(["lamp"], 3)


def test_a_result_without_a_score_is_an_error(bedrock: BedrockServer) -> None:
    bedrock.passages, bedrock.scored = [passage("lamp")], False
    with pytest.raises(StorageError, match="gave a TEXT result without a score"):
        knowledge_base(bedrock).search(["lamp"], 3)


@pytest.mark.parametrize(
    ("id_", "k", "message"),
    [
        ("KB00000000", 3, r"ResourceNotFoundException: Knowledge base KB00000000 does not exist; correct the id"),
        ("my-lamps-kb", 3, r"ValidationException: .*my-lamps-kb.*; correct what it names"),
        (BedrockServer.knowledge_base, 101, r"ValidationException: .*numberOfResults = 101: at most 100; correct"),
    ],
)
def test_what_aws_does_not_know_or_allow_is_told(bedrock: BedrockServer, id_: str, k: int, message: str) -> None:
    bedrock.passages = [passage("lamp")]
    with pytest.raises(StorageError, match=message) as raised:
        knowledge_base(bedrock, id_).search(["lamp"], k)
    assert "\n" not in str(raised.value)


def test_no_access_is_told_and_throttling_is_waited_for(bedrock: BedrockServer) -> None:
    bedrock.passages = [passage("lamp")]
    bedrock.refuse(aws_refusal(403, "AccessDeniedException", "not authorized to perform: bedrock:Retrieve"))
    with pytest.raises(StorageError, match=r"AccessDeniedException: not authorized to perform: bedrock:Retrieve; grant"):
        knowledge_base(bedrock).search(["lamp"], 1)
    bedrock.refuse(aws_refusal(429, "ThrottlingException", "Too many requests"))
    assert knowledge_base(bedrock).search(["lamp"], 1)[0][0].text == "lamp"


# --- the rank of a question's own chunk -----------------------------------------------------------------------------------


def of_document(document: str, *texts: str) -> list[Chunk]:
    """Chunks of one document."""
    return [Chunk(id=content_id("chunk", [document, t]), document_id=document, ordinal=i, text=t) for i, t in enumerate(texts)]


def test_a_question_is_ranked_among_the_chunks_of_its_own_document(words: Any) -> None:
    lamps = of_document("lamps", "the red lamp has a cord", "the blue lamp has a shade", "prices")
    anvils = of_document("anvils", "red lamp cord", "an anvil")
    kettles = of_document("kettles", "kettle")
    gold = [lamps[0].id, lamps[1].id, anvils[1].id]
    assert own_ranks(words, ["red lamp cord", "red lamp cord", "anvil"], gold, [*kettles, *anvils, *lamps]) == [1, 2, 1]
    assert "kettle" not in words.embedded
    assert own_ranks(words, [], [], lamps) == []


def test_a_chunk_that_is_gone_is_named(words: Any) -> None:
    with pytest.raises(CorpusError, match="chunk chunk-gone of a question is not in the corpus"):
        own_ranks(words, ["a question"], ["chunk-gone"], of_document("lamps", "a lamp"))


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(-3, 3)), min_size=1, max_size=8), st.data())
def test_ranks_are_those_of_a_sorted_list(rows: list[tuple[str, int]], data: st.DataObject) -> None:
    gold = data.draw(st.integers(0, len(rows) - 1))
    groups, scores = [group for group, _ in rows], np.array([[score, 0.0] for _, score in rows], dtype=np.float32)
    rivals = sorted((-score, row) for row, (group, score) in enumerate(rows) if group == groups[gold])
    expected = 1 + rivals.index((-rows[gold][1], gold))
    assert rank_within(np.array([[1.0, 0.0]], dtype=np.float32), [gold], scores, groups) == [expected]
