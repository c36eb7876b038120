"""How often a drift check is wrong, and what it sees, beside Evidently's own methods on the same windows.

    python bench/drift.py --data DIR [--repeats N] [--seed N] [--quick]

Rows are chunks of 450 characters of CUAD's contracts, embedded by MiniLM; a window has n of them, drawn from documents that the
other window does not have. A document is a unit, as a session is of customers' questions. Drift is a share of the current window
that PubMedQA and TAT-QA give, a document of theirs a unit. False alarms and detection are shares of the repetitions in which the
test of csift.drift gives p < 0.05.

  shared     both windows draw from the same 20 contracts; foreign rows come of many documents, or of ten
  month      months without drift: a check of questions, retrieval and answers every day at the levels of csift.drift, and a look
             at rated answers every hour; the share of months with any alarm. The stated rate is the configuration's default
  seconds    10,000 rows, embedded before, each a unit, in two windows that differ and in two that do not
  peers      Evidently's embedding methods with their own defaults, and its classifier of texts, 20 repetitions, n up to 300
"""

import argparse
import json
import logging
import os
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "2")

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
logging.disable(logging.WARNING)
warnings.simplefilter("ignore")

SIZES, FOREIGN, LEVEL = (100, 300, 1000), (10, 25), 0.05
PEER_SIZES, PEER_REPEATS = (100, 300), 20
SHARED, FEW = 20, 10  # contracts that both windows draw from; foreign documents where they are few
DAYS, HOURS, MONTH_ROWS = 31, 24, 150

Window = NDArray[np.intp]  # rows of the corpus


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("CSIFT_BENCH_DATA"), help="the labelled data; see the docs")
    parser.add_argument("--repeats", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="words for embeddings, a few repetitions; the figures mean nothing")
    args = parser.parse_args()
    if args.data is None:
        parser.error("say where the labelled data is, with --data or CSIFT_BENCH_DATA")
    if args.quick:
        args.repeats = 4
    corpus = read(Path(args.data), args.quick)
    sizes = SIZES[:2] if args.quick else SIZES
    figures: dict[str, Any] = {
        "false_alarm": {str(n): alarms(corpus, n, 0, args.repeats, args.seed) for n in sizes},
        "detection": {
            str(percent): {str(n): alarms(corpus, n, percent, args.repeats, args.seed) for n in sizes} for percent in FOREIGN
        },
        "shared": shared(corpus, 20 if args.quick else 300, args.repeats, args.seed),
    }
    print(json.dumps(figures), flush=True)
    figures |= month(corpus, 2 if args.quick else args.repeats, args.seed)
    figures["seconds_10k"] = seconds(1000 if args.quick else 10_000, args.seed)
    print(json.dumps(figures), flush=True)
    figures["peers"] = peers(corpus, 1 if args.quick else PEER_REPEATS, args.seed)
    if args.quick:
        print("--quick: the figures mean nothing")
    print(json.dumps(figures))


@dataclass(frozen=True)
class Corpus:
    """Chunks with their embeddings, documents and where they are from."""

    texts: list[str]
    vectors: NDArray[np.float32]
    documents: NDArray[np.str_]
    own: NDArray[np.intp]  # rows of contracts
    foreign: NDArray[np.intp]


def read(folder: Path, quick: bool) -> Corpus:
    from csift.corpus import Document, chunk
    from csift.retrieval import minilm
    from csift.schemas import Chunking
    from csift.settings import settings

    def lines(name: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (folder / name).read_text().split("\n") if line]

    documents = {f"cuad {row['doc_id']}": row["text"] for row in lines("cuad/contracts.jsonl")}
    for name in ("pubmedqa", "tatqa"):
        documents |= {f"{name} {row.get('context_id', row.get('id'))}": row["context"] for row in lines(f"shifted/{name}.jsonl")}
    cutting = Chunking(size=450, overlap=0)
    chunks = [(id_, piece.text) for id_, text in documents.items() for piece in chunk(Document(id_, text), cutting)]
    texts, ids = [text for _, text in chunks], np.array([id_ for id_, _ in chunks])
    own = np.char.startswith(ids, "cuad ")
    vectors = _words(texts) if quick else minilm(settings().threads).embed(texts)
    return Corpus(texts, vectors, ids, np.flatnonzero(own), np.flatnonzero(~own))


def _words(texts: Sequence[str]) -> NDArray[np.float32]:
    from sklearn.feature_extraction.text import HashingVectorizer

    return HashingVectorizer(n_features=64, alternate_sign=False).transform(texts).toarray().astype(np.float32)  # type: ignore[no-any-return]


def disjoint(corpus: Corpus, n: int, percent: int, rng: np.random.Generator) -> tuple[Window, Window]:
    """n rows of half of the contracts and n of the other half, a share of the latter replaced with foreign ones."""
    names = rng.permutation(np.unique(corpus.documents[corpus.own]))
    first = np.isin(corpus.documents[corpus.own], names[: len(names) // 2])
    one, two = corpus.own[first], corpus.own[~first]
    other = n * percent // 100
    picked = rng.choice(two, min(n - other, len(two)), replace=False)
    return rng.choice(one, min(n, len(one)), replace=False), np.concatenate([picked, rng.choice(corpus.foreign, other, False)])


def alarms(corpus: Corpus, n: int, percent: int, repeats: int, seed: int) -> float:
    """The share of repetitions that the product's test calls drift."""
    drawn = (disjoint(corpus, n, percent, np.random.default_rng([seed, trial])) for trial in range(repeats))
    return share(_p_value(corpus, *windows, seed=trial) < LEVEL for trial, windows in enumerate(drawn))


def _p_value(corpus: Corpus, reference: Window, current: Window, seed: int, level: float = LEVEL) -> float:
    from csift.drift import random_features, two_sample_test

    sides = random_features(corpus.vectors[reference], corpus.vectors[current], seed)
    before, after = (corpus.documents[side].tolist() for side in (reference, current))
    return two_sample_test(*sides, before, after, level, seed).p_value


def share(found: Any) -> float:
    told = list(found)
    return round(sum(told) / len(told), 4)


def shared(corpus: Corpus, least: int, repeats: int, seed: int) -> dict[str, dict[str, float]]:
    """Windows whose rows are halves of the same contracts."""
    names, counts = np.unique(corpus.documents[corpus.own], return_counts=True)
    large = names[counts >= min(30, least)]

    def draw(percent: int, few: bool, rng: np.random.Generator) -> tuple[Window, Window]:
        rows = rng.permutation(corpus.own[np.isin(corpus.documents[corpus.own], rng.choice(large, SHARED, replace=False))])
        reference, current = rows[: len(rows) // 2], rows[len(rows) // 2 :]
        source = corpus.foreign
        if few:
            named = np.unique(corpus.documents[source])
            source = source[np.isin(corpus.documents[source], rng.choice(named, FEW, replace=False))]
        other = min(len(current) * percent // 100, len(source))
        return reference, np.concatenate([current[other:], rng.choice(source, other, replace=False)])

    def flagged(percent: int, few: bool) -> float:
        drawn = (draw(percent, few, np.random.default_rng([seed, trial])) for trial in range(repeats))
        return share(_p_value(corpus, *windows, seed=trial) < LEVEL for trial, windows in enumerate(drawn))

    return {
        "0": {"many documents": flagged(0, False)},
        **{str(p): {"many documents": flagged(p, False), "ten documents": flagged(p, True)} for p in FOREIGN},
    }


def month(corpus: Corpus, months: int, seed: int) -> dict[str, Any]:
    """Every day's check by the product's own function, on windows of a population that does not change."""
    from csift.config import DriftConfig
    from csift.drift import TrafficRow, measure, monthly_level, watch_accuracy
    from csift.drift import Window as Traffic

    config = DriftConfig(reference=Path("-"), current=Path("-"))
    place = {text: row for row, text in enumerate(corpus.texts)}

    def embedded(window: Traffic) -> NDArray[np.float32]:
        return corpus.vectors[[place[question] for question in window.questions]]

    def traffic(rng: np.random.Generator, start: datetime, rows: int, hours: float) -> Traffic:
        """A question is a session; its answer has a random length, refuses in a tenth and is right in eight tenths."""

        def row(number: int, question: int) -> TrafficRow:
            answer = "The excerpts do not say." if rng.random() < 0.1 else "word " * int(rng.integers(1, 30))
            at = start + timedelta(hours=hours * number)
            return TrafficRow(f"{start}-{number}", corpus.texts[question], answer, bool(rng.random() < 0.8), at)

        return Traffic(tuple(row(number, question) for number, question in enumerate(rng.choice(corpus.own, rows))))

    drifted = regressed = either = 0
    first = datetime(2026, 10, 1, tzinfo=UTC)
    for number in range(months):
        rng = np.random.default_rng([seed, number, 1])
        reference = traffic(rng, first - timedelta(days=90), 2 * MONTH_ROWS, 1)
        found = False
        for day in range(DAYS):
            current = traffic(rng, first + timedelta(days=day), MONTH_ROWS, 0.1)
            signals, _ = measure(reference, current, (embedded(reference), embedded(current)), config, Scores(rng))
            found = found or any(signal.drifted for signal in signals)
        rated = traffic(rng, first, DAYS * HOURS, 1)
        watch = watch_accuracy(reference.rows, rated.rows, monthly_level(config.false_alarms, "accuracy"))
        worse = watch is not None and watch.regressed  # its evidence is the most of the month, so of every hour's look
        drifted, regressed, either = drifted + found, regressed + worse, either + (found or worse)
    return {
        "month_false_alarm": round(either / months, 4),
        "month_by_signal": {"drift": round(drifted / months, 4), "accuracy": round(regressed / months, 4)},
        "month_stated": config.false_alarms,
    }


class Scores:
    """A retriever whose best scores are drawn anew for every question."""

    id = "scores"

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng

    def search(self, questions: Sequence[str], k: int) -> list[list[Any]]:
        from csift.schemas import Hit

        drawn = self.rng.beta(5, 3, len(questions))
        return [[Hit(chunk_id="c", document_id="d", text="", score=float(score))] for score in drawn]


def seconds(rows: int, seed: int) -> float:
    """The longer of two checks at a day's level, of windows that differ and of windows that do not."""
    from csift.drift import daily_level, random_features, two_sample_test

    rng = np.random.default_rng(seed)
    units = [str(number) for number in range(rows // 2)]
    took = []
    for shift in (0.0, 0.2):
        sides = [rng.standard_normal((rows // 2, 384)).astype(np.float32) for _ in range(2)]
        sides[1][:, 0] += shift
        one, two = (side / np.linalg.norm(side, axis=1, keepdims=True) for side in sides)
        began = time.perf_counter()
        two_sample_test(*random_features(one, two, seed), units, units, daily_level(0.1, "questions"), seed)
        took.append(time.perf_counter() - began)
    return round(max(took), 2)


def peers(corpus: Corpus, repeats: int, seed: int) -> dict[str, Any]:
    """Evidently's methods on the same windows: shares of repetitions in which they say drift."""
    from evidently.legacy.metrics.data_drift import embedding_drift_methods as methods

    columns = [f"c{number}" for number in range(corpus.vectors.shape[1])]

    def frame(rows: Window) -> Any:
        import pandas as pd

        return pd.DataFrame(corpus.vectors[rows], columns=columns)

    def by_embedding(method: Callable[..., Any]) -> Callable[[Window, Window], bool]:
        return lambda reference, current: bool(method(frame(current), frame(reference))[1])

    asked: dict[str, Callable[[Window, Window], bool]] = {
        "model": by_embedding(methods.model()),
        "mmd": by_embedding(methods.mmd()),
        "ratio": by_embedding(methods.ratio()),
        "distance": by_embedding(methods.distance()),
        "text classifier": lambda reference, current: _texts_drift(corpus, reference, current),
    }

    def flagged(ask: Callable[[Window, Window], bool], n: int, percent: int) -> float:
        drawn = (disjoint(corpus, n, percent, np.random.default_rng([seed, trial])) for trial in range(repeats))
        return share(ask(*windows) for windows in drawn)

    return {
        name: {
            "false_alarm": {str(n): flagged(ask, n, 0) for n in PEER_SIZES},
            "detection": {str(percent): {str(n): flagged(ask, n, percent) for n in PEER_SIZES} for percent in FOREIGN},
        }
        for name, ask in asked.items()
    }


def _texts_drift(corpus: Corpus, reference: Window, current: Window) -> bool:
    import pandas as pd
    from evidently.legacy.calculations.stattests import get_stattest
    from evidently.legacy.core import ColumnType

    one, two = (pd.Series([corpus.texts[row] for row in rows]) for rows in (reference, current))
    test = get_stattest(one, two, ColumnType.Text, None)
    return bool(test(one, two, ColumnType.Text, None).drifted)


if __name__ == "__main__":
    main()
