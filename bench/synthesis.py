"""What a teacher's pairs cost and what they are worth.

    python bench/synthesis.py [--data DIR] [--seed N] [--quick] [--no-gain]

Served teacher: an HTTP server of fixed latency in another process; the share of the allowed concurrency that csift uses, counted
in accepted pairs, and the booked answers that are asked for again after kill -9.

Local teacher: the bundled model, tuned on the bundled lessons and the human pairs, then asked about 20 contracts of DIR/cuad;
time includes tuning. A pair is grounded when its answer stands in its chunk, a duplicate when its question's cosine to an earlier
one about the same document is 0.92 or more, self-contained when the question alone finds its chunk among the first three of its
document. Among the pairs are people's own questions that they asked of several contracts, asked of the others (carried).

Gain: the same number of training steps on the human pairs of a few labelled contracts alone, and together with the teacher's
pairs; both answer people's questions about contracts that neither saw, scored by the reference judge. Questions are those whose
answer is a span (CUAD marks only clauses that are there, so a model that always says Yes is always right), shown with three
chunks of their contract, the one that holds the answer among them. The interval resamples questions.

--quick: the bundled catalogue, a tiny random model; its figures mean nothing.
"""

import argparse
import atexit
import json
import logging
import os
import random
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
logging.disable(logging.WARNING)

CONTRACTS, LABELLED = 20, 3
CANDIDATES = 680
STEPS = 60
HUMAN_WEIGHT = 4  # an epoch shows a human pair, and a person's question asked of another contract, as often as four others
HELD_OUT = 240
ANSWER = 120  # characters; longer answers are whole clauses
DUPLICATE = 0.92


@dataclass(frozen=True)
class Asked:
    """A person's question about a document, and its answer."""

    document_id: str
    question: str
    answer: str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("CSIFT_BENCH_DATA"), help="labelled data; holds cuad/")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="a tiny random model on the catalogue; within a minute")
    parser.add_argument("--no-gain", action="store_true", help="leaves the gain out, and its trainings")
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="csift-bench-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ["CSIFT_DATA_DIR"] = str(folder)
    from bench import served

    figures: dict[str, Any] = dict(served.efficiency(4, 4) if args.quick else served.efficiency(60, 6))
    figures |= served.repaid(8, 4) if args.quick else served.repaid(20, 6)
    data = None if args.quick or args.data is None else Path(args.data)
    if data is None:
        print("the bundled catalogue in place of contracts; name them with --data")
    figures |= Local(data, args.seed, folder, args.quick).measure(not args.no_gain)
    if args.quick:
        print("--quick: a tiny random model, the figures mean nothing")
    print(json.dumps({name: round(value, 4) if isinstance(value, float) else value for name, value in figures.items()}))


class Local:
    """The local teacher on one corpus."""

    def __init__(self, data: Path | None, seed: int, folder: Path, quick: bool) -> None:
        from csift.inference import LocalEngine
        from csift.models import resolve
        from csift.retrieval import minilm
        from csift.settings import settings
        from csift.storage import LocalStore

        self.seed, self.folder, self.quick = seed, folder, quick
        self.threads = settings().threads
        name = str(_tiny(folder, seed)) if quick else "smollm2-135m-instruct"
        self.base = resolve(name, folder)
        self.engine = LocalEngine(self.base, self.threads)
        self.store = LocalStore(folder / "artifacts")
        self.embedder = minilm(self.threads)
        texts, questions = _catalogue() if data is None else _contracts(data)
        order = sorted(texts)
        random.Random(seed).shuffle(order)
        count = 4 if quick else min(CONTRACTS, len(order) * 2 // 3)
        self.corpus, self.labelled = order[:count], order[: min(LABELLED, count)]
        self.chunks = {document: _cut(document, texts[document]) for document in order}
        self.questions = [asked for asked in questions if self._holders(asked)]

    def measure(self, with_gain: bool) -> dict[str, Any]:
        from csift.config import SynthesisConfig
        from csift.db import database
        from csift.ledger import Ledger
        from csift.llm import local_model
        from csift.synthesis import SpanWriter, synthesise

        chunks = [chunk for document in self.corpus for chunk in self.chunks[document]]
        human = [asked for asked in self.questions if asked.document_id in self.labelled]
        began = time.perf_counter()
        tuned = self._tune(human, chunks)
        tuning = time.perf_counter() - began
        writer = SpanWriter(local_model(self.engine, Ledger(database()), "teacher", tuned, "bench"), self.embedder)
        config = SynthesisConfig(candidates=16 if self.quick else CANDIDATES, rounds=2, seed=self.seed, max_topic_share=1.0)
        result = synthesise(writer, chunks, _labels(human), self.embedder, config, near_duplicate=DUPLICATE)
        seconds = time.perf_counter() - began
        print(
            f"local teacher: {len(result.examples)} of {result.candidates} candidates about {len(self.corpus)} documents "
            f"accepted in {seconds:.0f} s, {tuning:.0f} s of them tuning; refused {_reasons(result)}"
        )
        for example in result.examples[:5]:
            print(f"  {example.question} -> {example.answer}")
        figures: dict[str, Any] = {
            "accepted": len(result.examples),
            "seconds": seconds,
            "accepted_per_min": 60 * len(result.examples) / seconds,
            "carried": len({e.id for e in result.examples if e.question in {asked.question for asked in human}}),
            **self._quality(result.examples, chunks),
        }
        if with_gain:
            figures["gain"] = self._gain(human, result.examples)
        return figures

    def _tune(self, human: list[Asked], chunks: list[Any]) -> str:
        from csift.config import TeacherConfig
        from csift.synthesis import lesson_rows, lessons_for, lessons_hash, tuning
        from csift.training import TrainingRow

        lessons = lessons_for(_labels(human), chunks)
        rows = [TrainingRow(row.prompt, row.completion) for row in lesson_rows(lessons)]
        told = TeacherConfig(model=self.base.name, tune_steps=2 if self.quick else 60)
        return self._train(rows, lessons_hash(lessons), tuning(told, 1024))

    def _train(self, rows: list[Any], name: str, config: Any) -> str:
        """The folder of an adapter that was trained on the rows."""
        from csift.training import Run, TrainingData, train

        data = TrainingData(pairs=rows)
        adapter = train(Run(self.base, data, name, config, self.store, self.folder / "training", self.threads))
        return str(self.store.open_artifact(adapter.artifact))

    def _quality(self, examples: Any, chunks: list[Any]) -> dict[str, float]:
        import numpy as np

        from csift.retrieval import own_ranks
        from csift.synthesis.checks import contains

        if not examples:
            return {"grounded_share": 0.0, "duplicate_share": 0.0, "self_contained_share": 0.0}
        texts = {chunk.id: chunk.text for chunk in chunks}
        grounded = [contains(texts[example.gold_chunk_ids[0]], example.answer) for example in examples]
        vectors = self.embedder.embed([example.question for example in examples])
        about = np.array([example.document_id for example in examples])
        alike = (np.triu(vectors @ vectors.T, 1) * (about[:, None] == about[None, :])).max(axis=0) >= DUPLICATE
        golds = [example.gold_chunk_ids[0] for example in examples]
        ranks = own_ranks(self.embedder, [example.question for example in examples], golds, chunks)
        return {
            "grounded_share": float(np.mean(grounded)),
            "duplicate_share": float(np.mean(alike)),
            "self_contained_share": float(np.mean([rank <= 3 for rank in ranks])),
        }

    def _gain(self, human: list[Asked], examples: Any) -> dict[str, float]:
        import numpy as np

        asked = {question.question for question in human}
        written = [Asked(example.document_id, example.question, example.answer) for example in examples]
        carried = [pair for pair in written if pair.question in asked]
        others = [pair for pair in written if pair.question not in asked]
        held_out = [asked for asked in self.questions if asked.document_id not in self.corpus]
        random.Random(self.seed).shuffle(held_out)
        held_out = held_out[: 8 if self.quick else HELD_OUT]
        alone = self._scores(human, held_out, "human")
        together = self._scores([*[*human, *carried] * HUMAN_WEIGHT, *others], held_out, "human and synthetic")
        difference = np.array(together) - np.array(alone)
        draws = np.random.default_rng(self.seed).integers(0, len(difference), (10_000, len(difference)))
        low, high = np.percentile(difference[draws].mean(axis=1), [2.5, 97.5])
        print(f"gain on {len(held_out)} held-out questions: {difference.mean():+.3f} ({low:+.3f} to {high:+.3f})")
        return {"value": round(float(difference.mean()), 4), "low": round(float(low), 4), "high": round(float(high), 4)}

    def _scores(self, rows: list[Asked], held_out: list[Asked], name: str) -> list[float]:
        from csift.config import TrainingConfig
        from csift.hashing import content_id
        from csift.judges import ReferenceJudge
        from csift.prompts import answer_prompt
        from csift.schemas import Failure, GenerationParams, JudgeItem
        from csift.training import TrainingRow

        config = TrainingConfig(base_model=self.base.name, max_steps=2 if self.quick else STEPS, seed=self.seed)
        began = time.perf_counter()
        pairs = [TrainingRow(answer_prompt(asked.question, self._shown(asked)), asked.answer) for asked in rows]
        adapter = self._train(pairs, content_id("bench", [name, self.seed]), config)
        trained = time.perf_counter() - began
        prompts = [answer_prompt(asked.question, self._shown(asked)) for asked in held_out]
        answers = self.engine.generate(prompts, GenerationParams(max_new_tokens=48), adapter)
        items = [
            JudgeItem(question=asked.question, gold=asked.answer, answer=answer.text, contexts=())
            for asked, answer in zip(held_out, answers, strict=True)
        ]
        scores = [score.value for score in ReferenceJudge(self.embedder, 0.6).judge(items) if not isinstance(score, Failure)]
        print(
            f"{name}: {len(rows)} rows, {config.max_steps} steps in {trained:.0f} s, mean score {sum(scores) / len(scores):.3f}"
        )
        return scores

    def _shown(self, asked: Asked) -> list[str]:
        """The three chunks of its document that are nearest to the question, the last exchanged for one that holds the answer
        where none does."""
        chunks = [chunk.text for chunk in self.chunks[asked.document_id]]
        vectors = self.embedder.embed([asked.question, *chunks])
        order = sorted(range(len(chunks)), key=lambda i: -float(vectors[0] @ vectors[i + 1]))
        nearest, holders = [chunks[i] for i in order[:3]], self._holders(asked)
        return nearest if set(nearest) & set(holders) or not holders else [*nearest[:2], holders[0]]

    def _holders(self, asked: Asked) -> list[str]:
        from csift.synthesis.checks import contains

        return [chunk.text for chunk in self.chunks[asked.document_id] if contains(chunk.text, asked.answer)]


def _labels(human: list[Asked]) -> list[Any]:
    from csift.schemas import Label

    return [
        Label(
            id=str(number),
            question=asked.question,
            answer=asked.answer,
            document_id=asked.document_id,
            style="factoid",
            split="train",
            document_sha256="",
        )
        for number, asked in enumerate(human)
    ]


def _reasons(result: Any) -> dict[str, int]:
    from csift.synthesis import count_reasons

    return count_reasons(result.rejections)


def _cut(document: str, text: str) -> list[Any]:
    from csift.corpus import Document, chunk
    from csift.schemas import Chunking

    return chunk(Document(document, " ".join(text.split())), Chunking(size=450, overlap=60))


def _contracts(data: Path) -> tuple[dict[str, str], list[Asked]]:
    texts = {row["doc_id"]: row["text"] for row in _rows(data / "cuad" / "contracts.jsonl")}
    questions = []
    for row in _rows(data / "cuad" / "qa.jsonl"):
        law = row["category"] == "Governing Law"  # the marked span is the clause, the answer a state
        answer = row["normalized_answer"] if law else row["answer_text"]
        if row["normalized_answer"] not in ("Yes", "No") and row["category"] != "Parties" and 0 < len(answer) <= ANSWER:
            questions.append(Asked(row["doc_id"], row["question"], answer))
    return texts, questions


def _catalogue() -> tuple[dict[str, str], list[Asked]]:
    folder = ROOT / "examples" / "catalogue-1"
    texts = {path.name: path.read_text() for path in sorted(folder.glob("*.md"))}
    rows = _rows(ROOT / "examples" / "questions-1.jsonl")
    return texts, [Asked(row["document"], row["question"], row["answer"]) for row in rows if row["style"] == "factoid"]


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def _tiny(folder: Path, seed: int) -> Path:
    from bench.tiny import tiny_model

    return tiny_model(folder, seed)


if __name__ == "__main__":
    main()
