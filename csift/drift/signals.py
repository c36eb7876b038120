"""What is compared of two windows: one list of features a signal, or why it cannot be."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from csift.drift.twosample import Rows, random_features
from csift.drift.windows import MIN_ROWS, MIN_SESSIONS, Window
from csift.interfaces import Retriever
from csift.schemas import DriftFigure
from csift.textmatch import is_refusal

POOR = 0.05  # share of the reference's questions whose best chunk counts as no good one


@dataclass(frozen=True)
class Compared:
    """Features float32 [n, d] of both windows with the session of each row, and what people are told of them."""

    reference: Rows
    current: Rows
    reference_units: Sequence[str]
    current_units: Sequence[str]
    figures: tuple[DriftFigure, ...] = ()


def questions(reference: Window, current: Window, vectors: tuple[Rows, Rows], seed: int) -> Compared:
    """What is asked, by meaning: embeddings under an RBF kernel."""
    one, two = random_features(*vectors, seed)
    return Compared(one, two, reference.sessions, current.sessions)


def retrieval(reference: Window, current: Window, retriever: Retriever) -> Compared:
    """How well the best chunk fits that was found, or would be now: its score, and whether nineteen in twenty of the reference's
    questions have a better one."""
    before, now = (_best_scores(retriever, window) for window in (reference, current))
    least = float(np.quantile(before, POOR))
    columns = [[scores, (scores < least).astype(np.float64)] for scores in (before, now)]
    labels = ("score of the best chunk", "share of questions without a good chunk")
    return _of_columns(labels, columns[0], columns[1], reference.sessions, current.sessions)


def answers(reference: Window, current: Window) -> Compared | str:
    """How long answers are, and how many of them refuse."""
    told = [[row for row in window.rows if row.answer is not None] for window in (reference, current)]
    if any(len(rows) < MIN_ROWS or len({row.session for row in rows}) < MIN_SESSIONS for rows in told):
        return "fewer than 20 rows of a window have an `answer`"
    texts = [[row.answer or "" for row in rows] for rows in told]
    columns = [
        [np.array([np.log1p(len(text.split())) for text in side]), np.array([float(is_refusal(text)) for text in side])]
        for side in texts
    ]
    labels = ("words an answer (logarithm)", "share of answers that refuse")
    return _of_columns(labels, columns[0], columns[1], *([row.session for row in rows] for rows in told))


def _best_scores(retriever: Retriever, window: Window) -> NDArray[np.float64]:
    asked = [row.question for row in window.rows if row.score is None]
    searched = iter(retriever.search(asked, 1) if asked else ())
    found = (next(searched) if row.score is None else row.score for row in window.rows)
    return np.array([one if isinstance(one, float) else one[0].score if one else 0.0 for one in found])


def _of_columns(
    labels: Sequence[str],
    before: Sequence[NDArray[np.float64]],
    now: Sequence[NDArray[np.float64]],
    before_units: Sequence[str],
    now_units: Sequence[str],
) -> Compared:
    """Each column with the same weight: by its standard deviation over both windows."""
    sides = np.stack(before, axis=1), np.stack(now, axis=1)
    both = np.concatenate(sides)
    spread = both.std(axis=0)
    one, two = (((side - both.mean(axis=0)) / np.where(spread > 0, spread, 1)).astype(np.float32) for side in sides)
    figures = tuple(
        DriftFigure(label=label, reference=float(a.mean()), current=float(b.mean()))
        for label, a, b in zip(labels, before, now, strict=True)
    )
    return Compared(one, two, before_units, now_units, figures)
