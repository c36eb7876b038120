"""How prose answers are compared: six similarities in [0, 1] of an answer and its gold answer, and a fitted mean of them.

The weights are non-negative and sum to 1, and there is no intercept: an answer with the gold's own words scores 1, one that
shares nothing with it scores 0, and no similarity that grows can lower the score. They are fitted to scores that a stronger judge
gave (`fit`), pulled towards equal weights, and ship in resources/reference_judge.json; `python bench/judge.py --refit` writes it.

Not covered: an answer that says the opposite in the same words; texts in which English words are not parted by spaces.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from difflib import SequenceMatcher
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from csift.exceptions import ConfigError
from csift.interfaces import Embedder
from csift.schemas import JudgeItem
from csift.textmatch import content_words, is_refusal, recall, tokens

FEATURES = ("aligned", "precision", "cosine", "gold_quoted", "answer_quoted", "relevance")
RESOURCE = Path(__file__).parent.parent / "resources" / "reference_judge.json"

PROSE_FROM = 20  # words from which a gold answer is compared as prose, its numbers being only part of the wording
RUN = 3  # words in a row that make a quotation; chance and set phrases rarely reach it
PULL = 0.1  # towards equal weights, in mean squared error; held-out figures hardly move between 0.01 and 0.3
_LEAST_RELEVANCE = 0.05  # of the gold to its question, so that the quotient stays finite


class Cosines(NamedTuple):
    """Similarities of embeddings, in [-1, 1]."""

    answer_gold: float = 0.0
    answer_question: float = 0.0
    gold_question: float = 0.0


@dataclass(frozen=True)
class Weights:
    """Weights of FEATURES, with the embedder and the number of scored answers and questions that they were fitted on."""

    values: tuple[float, ...]
    embedder: str
    answers: int
    questions: int

    def value(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        """float64 [n, 6] → float64 [n], in [0, 1]."""
        return np.clip(features @ np.array(self.values), 0.0, 1.0)


def is_prose(item: JudgeItem) -> bool:
    """Whether an answer is compared as prose: its gold is long, and it neither is empty nor refuses."""
    return (
        item.gold is not None
        and len(tokens(item.gold)) >= PROSE_FROM
        and bool(item.answer.strip())
        and not is_refusal(item.answer)
    )


def cosines(items: Sequence[JudgeItem], embedder: Embedder) -> list[Cosines]:
    """The similarities of each item, in the same order; all texts are embedded in one batch. Items without a gold have none,
    and questions are compared for prose only."""
    wanted = [() if item.gold is None else (item.answer, item.gold, *_question(item)) for item in items]
    texts = sorted({text for found in wanted for text in found})
    if not texts:
        return [Cosines()] * len(items)
    vectors = dict(zip(texts, embedder.embed(texts), strict=True))

    def of(found: tuple[str, ...]) -> Cosines:
        pairs = ((0, 1), (0, 2), (1, 2)) if len(found) == 3 else ((0, 1),) if found else ()
        return Cosines(*(float(vectors[found[a]] @ vectors[found[b]]) for a, b in pairs))

    return [of(found) for found in wanted]


def _question(item: JudgeItem) -> tuple[str, ...]:
    return (item.question,) if is_prose(item) else ()


def prose_features(answer: str, gold: str, similar: Cosines) -> NDArray[np.float64]:
    """FEATURES of one answer, float64 [6], all in [0, 1]; all 1 when the answer is the gold.

    The share of both texts' words that stand in runs which both have in the same order (Ratcliff & Metzener, Pattern Matching,
    Dr. Dobb's Journal, 1988); the share of the answer's content words that the gold has; the cosine; the shares of the gold's
    and of the answer's words in those of the runs that make a quotation (coverage by extractive fragments: Grusky et al.,
    Newsroom, NAACL 2018); and how much the answer is about the question (Es et al., RAGAS, EACL 2024), against how much the
    gold is.
    """
    given, wanted, carrying = tokens(answer), tokens(gold), content_words(answer)
    runs = [run.size for run in SequenceMatcher(None, wanted, given, autojunk=False).get_matching_blocks()]
    quoted = sum(size for size in runs if size >= RUN)
    found = (
        2 * sum(runs) / max(len(wanted) + len(given), 1),
        recall(carrying, content_words(gold)) if carrying else 0.0,
        similar.answer_gold,
        quoted / max(len(wanted), 1),
        quoted / max(len(given), 1),
        similar.answer_question / max(similar.gold_question, _LEAST_RELEVANCE),
    )
    return np.clip(np.array(found, dtype=np.float64), 0.0, 1.0)


# --- weights ----------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def shipped_weights() -> Weights:
    """The weights that csift ships. Raises ConfigError when the file is not one of weights."""
    return load_weights(RESOURCE)


def load_weights(path: Path) -> Weights:
    """Reads what save_weights wrote. Raises ConfigError when the file is not one of weights."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        values = tuple(float(record["values"][name]) for name in FEATURES)
        return Weights(values, record["embedder"], int(record["answers"]), int(record["questions"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{path} does not hold the reference judge's weights ({error}); write it with python bench/judge.py --refit DIR"
        ) from None


def save_weights(weights: Weights, path: Path) -> None:
    """Writes the weights as readable JSON."""
    record = asdict(weights) | {"values": dict(zip(FEATURES, weights.values, strict=True))}
    path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def fit(items: Sequence[JudgeItem], scores: Sequence[float], embedder: Embedder) -> Weights:
    """Weights by which the mean of the features meets the scores (0 to 1) best: least squares over the simplex, with PULL.

    Only answers that are compared as prose (`is_prose`) teach them; the others go by rules.

    Raises:
        ConfigError: there are no scored answers to long golds.
    """
    from scipy.optimize import nnls

    taught = [(item, score) for item, score in zip(items, scores, strict=True) if is_prose(item)]
    if not taught:
        raise ConfigError(
            f"cannot fit the reference judge: not one of {len(items)} scored answers has a gold answer of {PROSE_FROM} words and "
            "more; add some"
        )
    prose = [item for item, _ in taught]
    x = np.array(
        [prose_features(item.answer, item.gold or "", c) for item, c in zip(prose, cosines(prose, embedder), strict=True)]
    )
    y = np.array([score for _, score in taught])
    count = len(FEATURES)
    pull = np.sqrt(PULL * len(y))
    heavy = 1e4 * np.sqrt(len(y))  # holds the sum to 1 far tighter than the rounding below
    rows = np.vstack([x, pull * np.eye(count), np.full((1, count), heavy)])
    weights, _ = nnls(rows, np.concatenate([y, np.full(count, pull / count), [heavy]]))
    rounded = tuple(round(float(weight / weights.sum()), 3) for weight in weights)
    return Weights(rounded, embedder.id, len(y), len({item.question for item in prose}))
