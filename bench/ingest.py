"""Chunks a second into the index, against the plain loop; and what it costs to ingest again after one paragraph changed.

    python bench/ingest.py [--data DIR] [--quick] [--seed N]

Throughput: `ChromaIndex.sync` with csift's MiniLM against `SentenceTransformer.encode(batch_size=32)` in float32 and one
`collection.add`, on the same chunks with the same threads, models warm, each time into a new folder. The sides take turns; the
ratio is the median over the turns. Re-ingest: `csift.corpus.ingest` of all documents into an empty project, then again after one
paragraph of one document changed, in the same process; its share is the median over several documents. Quality: how near the
vectors are to the peer's, and how often the index finds the very chunk that the peer's vectors find by exact search.

--data is a folder with cuad/contracts.jsonl and cuad/qa.jsonl (or CSIFT_BENCH_DATA); without it the bundled catalogue is taken.
--quick takes a few documents and one turn.
"""

import argparse
import atexit
import json
import logging
import os
import random
import shutil
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the csift command sets it
ROOT = Path(__file__).resolve().parent.parent
WARM_UP = 64  # texts
logging.disable(logging.WARNING)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("CSIFT_BENCH_DATA"), help="folder of labelled data")
    parser.add_argument("--quick", action="store_true", help="a few documents, one turn; within a minute")
    parser.add_argument("--seed", type=int, default=0, help="draws the order of the documents")
    parser.add_argument("--turns", type=int, default=3, help="turns of the two sides")
    parser.add_argument("--chunks", type=int, default=2400, help="at most so many chunks in a turn")
    args = parser.parse_args()
    work = Path(tempfile.mkdtemp(prefix="csift-bench-"))
    atexit.register(shutil.rmtree, work, ignore_errors=True)  # registered first, so it runs last: Postgres stops before
    os.environ["CSIFT_DATA_DIR"] = str(work / "data")
    texts, questions = _labelled(Path(args.data) / "cuad") if args.data else _bundled()
    names = sorted(texts)
    random.Random(args.seed).shuffle(names)
    names = names[:6] if args.quick and args.data else names
    corpus = work / "corpus"
    corpus.mkdir()
    for name in names:
        (corpus / f"{name}.txt").write_text(texts[name])
    first, again, chunks = _ingests(corpus, names[:2] if args.quick else names[:5], work)
    place = {f"{name}.txt": number for number, name in enumerate(names)}
    drawn = sorted(chunks, key=lambda chunk: (place[chunk.document_id], chunk.ordinal))[: 240 if args.quick else args.chunks]
    asked = [question for name in names for question in questions.get(name, ())][:500]
    mine, peers, quality = _turns(drawn, asked, 1 if args.quick else args.turns, work)
    print(f"{len(chunks)} chunks: first ingest {first:.1f} s, again {sorted(round(s, 3) for s in again)} s")
    print(f"{len(drawn)} chunks a turn: csift {[round(s, 1) for s in mine]} s, peer {[round(s, 1) for s in peers]} s")
    figures = {
        "chunks_per_s": round(len(drawn) / median(mine), 1),
        "peer_chunks_per_s": round(len(drawn) / median(peers), 1),
        "ratio": round(median(peer / own for own, peer in zip(mine, peers, strict=True)), 2),
        "reingest_share": round(median(again) / first, 4),
    }
    print(json.dumps(figures | quality))


def _labelled(folder: Path) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Texts and questions by document; many documents share a question, so each carries its document's name."""
    contracts, labels = ([json.loads(line) for line in _lines(folder / f"{name}.jsonl")] for name in ("contracts", "qa"))
    questions: dict[str, list[str]] = {}
    for label in labels:
        questions.setdefault(label["doc_id"], []).append(f"{label['doc_id']}: {label['question']}")
    return {row["doc_id"]: row["text"] for row in contracts}, questions


def _bundled() -> tuple[dict[str, str], dict[str, list[str]]]:
    texts = {path.stem: path.read_text() for path in (ROOT / "examples" / "catalogue-1").glob("*.md")}
    questions: dict[str, list[str]] = {}
    for label in map(json.loads, _lines(ROOT / "examples" / "questions-1.jsonl")):
        questions.setdefault(Path(label["document"]).stem, []).append(label["question"])
    return texts, questions


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def _ingests(corpus: Path, changing: list[str], work: Path) -> tuple[float, list[float], list[Any]]:
    """Seconds of the first ingest and of those after a change each, and the chunks of the first."""
    from csift.corpus import load_chunks
    from csift.db import database
    from csift.retrieval import ChromaIndex, minilm
    from csift.settings import settings

    warm = work / "warm"
    warm.mkdir()
    (warm / "a.txt").write_text("A few words in Paris, so that everything is loaded once.")
    index = ChromaIndex(work / "index", "bench", minilm(settings().threads))
    _ingest(ChromaIndex(work / "index", "warm", index.embedder), "warm", warm)
    index.embedder.embed([f"{number} " * (number % WARM_UP) for number in range(WARM_UP)])
    first, report = _ingest(index, "bench", corpus)
    chunks = load_chunks(database(), report.snapshot)
    again = []
    for number, name in enumerate(changing):
        path = corpus / f"{name}.txt"
        _change_a_paragraph(path, number)
        seconds, report = _ingest(index, "bench", corpus)
        again.append(seconds)
    return first, again, chunks


def _ingest(index: Any, project: str, folder: Path) -> tuple[float, Any]:
    """Seconds and report of one ingest of a folder."""
    from csift.config import CorpusConfig, SourceConfig
    from csift.corpus import ingest
    from csift.db import database

    config = CorpusConfig(sources=(SourceConfig(location=str(folder)),))
    began = time.perf_counter()
    report = ingest(database(), index, project, config)
    return time.perf_counter() - began, report


def _change_a_paragraph(path: Path, number: int) -> None:
    """Another sentence in the paragraph in the middle of a text."""
    lines = path.read_text().split("\n")
    at = next((row for row in range(len(lines) // 2, len(lines)) if lines[row].strip()), 0)
    lines[at] += f" The parties agreed on amendment {number} of this paragraph."
    path.write_text("\n".join(lines))


def _turns(chunks: list[Any], questions: list[str], turns: int, work: Path) -> tuple[list[float], list[float], dict[str, float]]:
    """Seconds of each turn of csift and of the peer, and how alike their results are."""
    import numpy as np
    from sentence_transformers import SentenceTransformer

    from csift.models import minilm_folder
    from csift.retrieval import ChromaIndex, minilm
    from csift.settings import settings

    embedder = minilm(settings().threads)  # has set torch's threads for this process, hence for both sides
    peer = SentenceTransformer(str(minilm_folder()), device="cpu", local_files_only=True)
    peer.encode([chunk.text for chunk in chunks[:WARM_UP]], show_progress_bar=False)
    mine, peers = [], []
    for turn in range(turns):
        began = time.perf_counter()
        index = ChromaIndex(work / f"csift-{turn}", "turn", embedder)
        index.sync("turn", chunks)
        mine.append(time.perf_counter() - began)
        began = time.perf_counter()
        vectors = _peer(peer, chunks, work / f"peer-{turn}")
        peers.append(time.perf_counter() - began)
    cosines = np.sum(embedder.embed([chunk.text for chunk in chunks[:500]]) * vectors[:500], axis=1)
    nearest = np.argmax(peer.encode(questions, normalize_embeddings=True, show_progress_bar=False) @ vectors.T, axis=1)
    found = [hits[0].text for hits in index.search(questions, 1)]  # by text: contracts repeat each other word for word
    same = [text == chunks[row].text for text, row in zip(found, nearest, strict=True)]
    quality = {
        "mean_cosine": round(float(np.mean(cosines)), 6),
        "least_cosine": round(float(np.min(cosines)), 6),
        "same_top1_share": round(float(np.mean(same)), 4),
    }
    return mine, peers, quality


def _peer(model: Any, chunks: list[Any], folder: Path) -> Any:
    """The plain loop: sentence-transformers as it comes, then Chroma; gives the vectors."""
    import chromadb

    client = chromadb.PersistentClient(str(folder), chromadb.config.Settings(anonymized_telemetry=False))
    collection = client.create_collection("peer", embedding_function=None, configuration={"hnsw": {"space": "cosine"}})
    texts = [chunk.text for chunk in chunks]
    vectors = model.encode(texts, batch_size=32, normalize_embeddings=True, show_progress_bar=False)
    most = client.get_max_batch_size()
    for start in range(0, len(chunks), most):
        part = slice(start, start + most)
        collection.add(
            ids=[chunk.id for chunk in chunks[part]],
            embeddings=vectors[part],
            documents=texts[part],
            metadatas=[{"document_id": chunk.document_id} for chunk in chunks[part]],
        )
    return vectors


if __name__ == "__main__":
    main()
