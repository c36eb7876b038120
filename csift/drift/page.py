"""The Evidently report of a drift check: csift's verdicts on top, then what helps a person see what changed.

An Evidently stattest sees one column; csift's test needs embeddings and sessions, so each signal is an Evidently Metric with an
Evidently test on its p-value. Columns are compared without verdicts of their own: Evidently's would take questions of
one session for independent.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from csift.schemas import DriftReport, DriftSignal

if TYPE_CHECKING:
    import pandas as pd

CHARACTERS, WORDS = "length in characters", "length in words"
NEAREST = "similarity to the nearest reference question"
LISTED = 15  # questions in the table
PLOTTED = 1000  # questions of each window on the map
SIMILARITY_ROWS = 1024  # rows of the similarity matrix held at once


@dataclass(frozen=True)
class Side:
    """One window as the report shows it: vectors float32 [n, dim] of unit length."""

    name: str
    sessions: Sequence[str]
    questions: Sequence[str]
    vectors: NDArray[np.float32]


def render_report(report: DriftReport, reference: Side, current: Side, embedder_id: str) -> str:
    """The report as one self-contained HTML document."""
    from evidently import DataDefinition, Dataset, Report
    from evidently.metrics import MeanValue
    from evidently.tests import gte

    columns = [NEAREST, CHARACTERS, WORDS]
    definition = DataDefinition(text_columns=["question"], numerical_columns=columns)
    before, now = _frame(reference, reference), _frame(current, reference)
    seen = [_map(reference, current), _least_similar(now)]
    metrics = [
        _drift_metric()(
            signal=signal.name,
            p_value=signal.p_value,
            widgets=[widget.dict() for widget in [*_verdict(signal), *(seen if signal.name == "questions" else [])]],
            tests=[gte(signal.level, alias=f"Drift of {signal.name} when p is below {signal.level:.2g}")],
        )
        for signal in report.signals
    ]
    # How it was decided stands with the first of them.
    metrics[0].widgets.insert(len(_verdict(report.signals[0])), _method(report, embedder_id).dict())
    snapshot = Report([*metrics, *(MeanValue(column=column) for column in columns)]).run(
        Dataset.from_pandas(now, data_definition=definition), Dataset.from_pandas(before, data_definition=definition)
    )
    return snapshot.get_html_str(as_iframe=False)


def _shown(question: str) -> str:
    """The question without "<": Evidently puts texts into a script element as they are, which `</script>` would end."""
    return question.replace("<", "‹")


def _frame(side: Side, reference: Side) -> "pd.DataFrame":
    """The columns that the report compares, a row for each question."""
    import pandas as pd

    return pd.DataFrame(
        {
            "question": [_shown(question) for question in side.questions],
            CHARACTERS: [len(question) for question in side.questions],
            WORDS: [len(question.split()) for question in side.questions],
            NEAREST: _nearest(side, reference),
        }
    )


def _nearest(side: Side, reference: Side) -> NDArray[np.float64]:
    """Cosine similarity of each question to the most similar one that the reference has from another session."""
    of_reference, best = np.asarray(reference.sessions), []
    for start in range(0, len(side.questions), SIMILARITY_ROWS):
        part = slice(start, start + SIMILARITY_ROWS)
        similarity = side.vectors[part] @ reference.vectors.T
        similarity[np.asarray(side.sessions[part])[:, None] == of_reference[None, :]] = -1
        best.append(similarity.max(axis=1))
    # Rounded: Evidently's histogram fails on values that differ by less than a float's noise.
    return np.concatenate(best).astype(np.float64).round(3)


TITLES = {
    "questions": "What customers ask",
    "retrieval": "How well the corpus fits what they ask",
    "answers": "What they are told",
}


def _verdict(signal: DriftSignal) -> list[Any]:
    """The figures of one test."""
    from evidently.legacy.renderers.html_widgets import CounterData, counter, table_data

    counters = [
        CounterData("verdict", "DRIFT" if signal.drifted else "NO DRIFT"),
        CounterData("p-value", f"{signal.p_value:.2g}"),
        CounterData("level", f"{signal.level:.2g}"),
        CounterData("MMD²", f"{signal.statistic:.5f}"),
        CounterData("sessions", f"{signal.units:,}"),
    ]
    shown = [counter(title=TITLES[signal.name], counters=counters)]
    if signal.figures:
        rows = [[figure.label, f"{figure.reference:.3f}", f"{figure.current:.3f}"] for figure in signal.figures]
        shown.append(table_data(title="", column_names=["mean of", "reference", "current"], data=rows))
    return shown


def _method(report: DriftReport, embedder_id: str) -> Any:
    """How the verdicts came about, and what could not be looked at."""
    from evidently.legacy.renderers.html_widgets import text_widget

    text = (
        f"{report.reference_rows} reference questions are compared with {report.current_rows} current ones by a kernel "
        f"two-sample test (MMD; the questions' embeddings are those of {embedder_id}, under an RBF kernel of median bandwidth). "
        "Whole sessions are permuted; a session counts once, however many questions it has. If nothing had changed, a difference "
        "as large would appear with probability p. A signal drifted when p is below its level, and the levels are such "
        f"that a month of daily checks has a chance of at most {report.false_alarms:.0%} of any false alarm, together with the "
        "watch over rated answers. Similarities below are cosines, to reference questions of other sessions only."
    )
    if any(1 / math.comb(signal.units, signal.units // 2) >= signal.level for signal in report.signals):
        text += "\n\n**There are too few sessions for this check to find any drift, however large.**"
    for name, why in report.unmeasured.items():
        text += f"\n\nNot measured, {name}: {why}."
    return text_widget(title=f"How this was decided ({report.id})", text=text)


def _map(reference: Side, current: Side) -> Any:
    """Both windows on the two directions in which their embeddings vary most."""
    import plotly.graph_objects as go
    from evidently.legacy.options import ColorOptions
    from evidently.legacy.renderers.html_widgets import plotly_figure

    rng = np.random.default_rng(0)
    sides = reference, current
    drawn = [np.sort(rng.permutation(len(side.questions))[:PLOTTED]) for side in sides]
    pooled = np.concatenate([side.vectors[rows] for side, rows in zip(sides, drawn, strict=True)])
    centred = pooled - pooled.mean(axis=0)
    _, spread, directions = np.linalg.svd(centred, full_matrices=False)
    share = spread[:2] ** 2 / max(float((spread**2).sum()), 1e-12)  # 0 where all questions are the same
    points = np.split(centred @ directions[:2].T, [len(drawn[0])])
    colours = ColorOptions().get_reference_data_color(), ColorOptions().get_current_data_color()
    figure = go.Figure()
    for side, rows, xy, colour in zip(sides, drawn, points, colours, strict=True):
        texts = [_shown(side.questions[row]) for row in rows]
        marker = {"color": colour, "size": 7, "opacity": 0.6}
        x, y = xy.T.tolist()
        figure.add_scatter(name=side.name, x=x, y=y, mode="markers", text=texts, hoverinfo="name+text", marker=marker)
    figure.update_layout(
        xaxis_title=f"first principal component ({share[0]:.0%} of the variance)",
        yaxis_title=f"second ({share[1]:.0%})",
        height=460,
    )
    return plotly_figure(title="The questions by meaning: near is alike (point at one to read it)", figure=figure)


def _least_similar(current: "pd.DataFrame") -> Any:
    """The current questions that are farthest from all of the reference."""
    from evidently.legacy.renderers.html_widgets import table_data

    rows = current.nsmallest(LISTED, NEAREST)
    return table_data(
        title="Current questions least like the reference's",
        column_names=["question", NEAREST],
        data=[[question, f"{value:.2f}"] for question, value in zip(rows["question"], rows[NEAREST], strict=True)],
    )


@cache
def _drift_metric() -> type:
    """The Evidently Metric that carries csift's verdict; made on first use, since Evidently takes seconds to import."""
    from evidently.core.metric_types import SingleValue, SingleValueCalculation, SingleValueMetric
    from evidently.legacy.model.widget import BaseWidgetInfo

    class SessionDrift(SingleValueMetric):
        signal: str
        p_value: float
        widgets: list[dict]

    class SessionDriftCalculation(SingleValueCalculation[SessionDrift]):
        def calculate(self, context: Any, current_data: Any, reference_data: Any) -> SingleValue:
            result = self.result(self.metric.p_value)
            result.widget = [BaseWidgetInfo(**widget) for widget in self.metric.widgets]
            return result

        def display_name(self) -> str:
            return f"p-value of the drift of {self.metric.signal}"

    return SessionDrift
