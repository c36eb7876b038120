"""Whether two questions ask the same: copies, reordered words, shared runs of words, and a fitted score for paraphrases.

The score is a logistic regression on five plain features of a pair (FEATURES). Its coefficients are in
resources/leak_scorer.json, written by `fit` from labelled pairs (`python bench/dataset.py --refit FILE`). What differs in a
number, date, unit, code, name or role is never the same, whatever the score (csift.firewall.marks).

Not covered: several eval questions folded into one; languages other than English; numbers that must be computed to be compared.
"""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from difflib import SequenceMatcher
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from csift.exceptions import ConfigError
from csift.firewall.marks import conflict, letter_key, marks, plain, unmatched_names, unmatched_quantities
from csift.hashing import sha256
from csift.interfaces import Embedder
from csift.textmatch import normalise, tokens

NGRAM = 8  # words in a row, Brown et al., Language Models are Few-Shot Learners, 2020, appendix C
RESOURCE = Path(__file__).parent.parent / "resources" / "leak_scorer.json"
FEATURES = ("cosine", "overlap", "unlike_overlap", "lone_names", "lone_quantities")
_WANTED_RECALL = 0.95  # of paraphrases, out of fold, at the threshold
_HARD_COSINE, _HARD_WEIGHT, _CHANGED_WEIGHT, _REORDERED_WEIGHT = 0.25, 0.03, 2.0, 0.5

Kind = Literal["copy", "reordered", "ngram", "paraphrase"]


@dataclass(frozen=True)
class Verdict:
    """On one pair: the kind of leak or None; the score in [0, 1]; what they differ in ("number", "name", "role") or ""."""

    kind: Kind | None
    score: float
    conflict: str = ""


@dataclass(frozen=True)
class LabelledPair:
    """Two questions; kind is copy, paraphrase or reordered (the same), or number_changed (a changed number or name: not)."""

    kind: Literal["copy", "paraphrase", "reordered", "number_changed"]
    a: str
    b: str


@dataclass(frozen=True)
class Scorer:
    """Coefficients for FEATURES, fitted on the cosines of one embedder; a pair scores 1 / (1 + exp(-(intercept + w·x)))."""

    embedder: str
    weights: tuple[float, ...]
    intercept: float
    threshold: float

    def score(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        """float64 [n, 5] → float64 [n], in [0, 1]."""
        return 1 / (1 + np.exp(-(self.intercept + features @ np.array(self.weights))))

    def least_cosine(self) -> float:
        """Below this cosine no pair reaches the threshold, whatever its other features; to 0.01, at least 0."""
        grid = np.arange(0.0, 1.0, 0.01)
        ends = [np.array([grid, grid * 0 + overlap, overlap * (1 - grid), grid * 0, grid * 0]).T for overlap in (0.0, 1.0)]
        reached = np.flatnonzero(np.maximum(*(self.score(end) for end in ends)) >= self.threshold)
        return float(grid[max(reached[0] - 1, 0)]) if len(reached) else 1.0


@lru_cache(maxsize=1)
def bundled_scorer() -> Scorer:
    """The scorer that csift ships."""
    return load_scorer(RESOURCE)


def load_scorer(path: Path) -> Scorer:
    """Reads what save_scorer wrote. Raises ConfigError when the file is not a scorer."""
    try:
        record = json.loads(path.read_text())
        weights = tuple(float(record["weights"][name]) for name in FEATURES)
        return Scorer(record["embedder"], weights, float(record["intercept"]), float(record["threshold"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path} is not a leak scorer ({error}); write it with python bench/dataset.py --refit FILE") from None


def save_scorer(scorer: Scorer, path: Path, note: str) -> None:
    """Writes the coefficients as readable JSON, with a note on how they were fitted."""
    record = asdict(scorer) | {"weights": dict(zip(FEATURES, scorer.weights, strict=True)), "note": note}
    path.write_text(json.dumps(record, indent=2) + "\n")


def decide(pairs: Sequence[tuple[str, str]], embedder: Embedder, scorer: Scorer) -> list[Verdict]:
    """Judges pairs of questions; (a, b) and (b, a) get the same verdict.

    Raises:
        ConfigError: the scorer was fitted on another embedder.
    """
    check_fits(scorer, embedder)
    texts = list(dict.fromkeys(plain(text) for pair in pairs for text in pair))
    place = {text: i for i, text in enumerate(texts)}
    vectors = embedder.embed(texts)
    cosines = [float(vectors[place[plain(a)]] @ vectors[place[plain(b)]]) for a, b in pairs]
    return [verdict(a, b, cosine, scorer) for (a, b), cosine in zip(pairs, cosines, strict=True)]


def check_fits(scorer: Scorer, embedder: Embedder) -> None:
    """Raises ConfigError when the scorer was fitted on another embedder's cosines."""
    if not embedder.id.startswith(scorer.embedder):  # the precision may follow: it moves no cosine by more than 0.01
        raise ConfigError(
            f"the leak scorer was fitted on the cosines of {scorer.embedder}, not of {embedder.id}; pass that embedder or refit "
            "with csift.firewall.fit"
        )


def verdict(a: str, b: str, cosine: float, scorer: Scorer) -> Verdict:
    """Judges one pair, given the cosine of their embeddings."""
    if letter_key(a) == letter_key(b):
        return Verdict("copy", 1.0)
    if differs := conflict(marks(a), marks(b)):
        return Verdict(None, 0.0, differs)
    if normalise(plain(a)) == normalise(plain(b)):
        return Verdict("copy", 1.0)
    if bag(a) == bag(b):
        return Verdict("reordered", 1.0)
    score = float(scorer.score(_features(a, b, cosine)[None])[0])
    if _shares_run(a, b):
        return Verdict("ngram", max(score, scorer.threshold))
    return Verdict("paraphrase" if score >= scorer.threshold else None, score)


@lru_cache(maxsize=65536)
def bag(text: str) -> tuple[str, ...]:
    """The words of a question, sorted."""
    return tuple(sorted(tokens(plain(text))))


@lru_cache(maxsize=65536)
def ngrams(text: str) -> frozenset[tuple[str, ...]]:
    """Every run of eight words."""
    words = tokens(plain(text))
    return frozenset(tuple(words[i : i + NGRAM]) for i in range(len(words) - NGRAM + 1))


def _shares_run(a: str, b: str) -> bool:
    """Eight or more words in a row, and at least half of the shorter question: not a phrase that many questions end on."""
    if not ngrams(a) & ngrams(b):
        return False
    one, other = tokens(plain(a)), tokens(plain(b))
    run = SequenceMatcher(None, one, other, autojunk=False).find_longest_match()
    return 2 * run.size >= min(len(one), len(other))


def _features(a: str, b: str, cosine: float) -> NDArray[np.float64]:
    """Cosine; Jaccard overlap of the words; overlap times (1 - cosine), high where few words differ but matter; share of the
    names and (up to 2) number of the quantities that only one of the two has."""
    one, other, mine, its = marks(a), marks(b), set(bag(a)), set(bag(b))
    overlap = len(mine & its) / len(mine | its) if mine | its else 1.0
    lone = len(unmatched_names(one, other)) + len(unmatched_names(other, one))
    names = len(one.names | other.names)
    quantities = len(unmatched_quantities(one, other)) + len(unmatched_quantities(other, one))
    return np.array([cosine, overlap, overlap * (1 - cosine), lone / names if names else 0.0, min(quantities, 2)])


# --- fitting ----------------------------------------------------------------------------------------------------------------


def fit(pairs: Sequence[LabelledPair], embedder: Embedder) -> Scorer:
    """Logistic regression on labelled pairs and on hard negatives among their questions; those differing in a mark stay out.

    Hard negatives are questions of different sources with a cosine of at least 0.25. The threshold is the highest at which 95% of
    the paraphrases are found, each scored by a model that was fitted without its source question.

    Raises:
        ConfigError: there are no paraphrases, or nothing that is no leak, to fit on.
    """
    rows = [pair for pair in pairs if pair.kind != "copy"]
    sources = source_questions(pairs)
    labels, weights, features, folds, paraphrases = [], [], [], [], []
    for pair, weight, cosine in _fitting_pairs(rows, sources, embedder):
        if conflict(marks(pair.a), marks(pair.b)):
            continue
        labels.append(pair.kind != "number_changed")
        weights.append(weight)
        features.append(_features(pair.a, pair.b, cosine))
        folds.append(_part(sources[pair.a], 1))
        paraphrases.append(pair.kind == "paraphrase")
    x, y, w, fold = np.array(features), np.array(labels), np.array(weights), np.array(folds)
    if not any(paraphrases) or y.all():
        raise ConfigError(
            "cannot fit the leak scorer: it takes paraphrases and number_changed pairs; add some to the labelled pairs"
        )
    scores = np.zeros(len(y))
    for held_out in (0, 1):
        part = fold != held_out
        weights_, intercept = _regress(x[part], y[part], w[part])
        scores[~part] = 1 / (1 + np.exp(-(x[~part] @ weights_ + intercept)))
    threshold = float(np.quantile(scores[np.array(paraphrases)], 1 - _WANTED_RECALL, method="lower"))
    weights_, intercept = _regress(x, y, w)
    name = re.sub(r"-(?:bfloat16|float32)$", "", embedder.id)
    return Scorer(name, tuple(round(float(v), 3) for v in weights_), round(intercept, 3), round(threshold, 3))


def _fitting_pairs(
    rows: Sequence[LabelledPair], sources: dict[str, str], embedder: Embedder
) -> Iterable[tuple[LabelledPair, float, float]]:
    texts = sorted({text for row in rows for text in (row.a, row.b)})
    place = {text: i for i, text in enumerate(texts)}
    vectors = embedder.embed([plain(text) for text in texts])
    cosines = vectors @ vectors.T
    kinds = {"paraphrase": 1.0, "reordered": _REORDERED_WEIGHT, "number_changed": _CHANGED_WEIGHT}
    for row in rows:
        yield row, kinds[row.kind], float(cosines[place[row.a], place[row.b]])
    for i, j in zip(*np.nonzero(np.triu(cosines, 1) >= _HARD_COSINE), strict=True):
        one, other = sources[texts[i]], sources[texts[j]]
        if one != other and _part(one, 1) == _part(other, 1):  # both are held out, or neither
            yield LabelledPair("number_changed", texts[i], texts[j]), _HARD_WEIGHT, float(cosines[i, j])


def source_questions(pairs: Sequence[LabelledPair]) -> dict[str, str]:
    """Each question → one that stands for all those it is paired with, directly or through others: what is held out together."""
    parent: dict[str, str] = {}

    def find(text: str) -> str:
        while parent.setdefault(text, text) != text:
            text = parent[text]
        return text

    for pair in pairs:
        first, second = sorted((find(pair.a), find(pair.b)))
        parent[second] = first
    return {text: find(text) for text in list(parent)}


def half(source: str) -> int:
    """Which half, 0 or 1, of the labelled pairs a source question belongs to."""
    return _part(source, 0)


def _part(source: str, bit: int) -> int:
    return int(sha256(source)[:8], 16) >> bit & 1


def _regress(x: NDArray[np.float64], y: NDArray[np.bool_], weights: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    from sklearn.linear_model import LogisticRegression

    mean, scale = x.mean(axis=0), x.std(axis=0) + 1e-9
    model = LogisticRegression().fit((x - mean) / scale, y, sample_weight=weights)
    slopes = model.coef_[0] / scale
    return slopes, float(model.intercept_[0] - slopes @ mean)
