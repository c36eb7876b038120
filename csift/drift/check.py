"""One comparison of two windows, with Evidently's report of it."""

from typing import Literal, get_args

from csift.config import DriftConfig
from csift.drift import signals
from csift.drift.levels import daily_level
from csift.drift.page import Side, render_report
from csift.drift.signals import Compared
from csift.drift.twosample import Rows, two_sample_test
from csift.drift.windows import Window
from csift.hashing import content_id
from csift.interfaces import Embedder, ObjectStore, Retriever
from csift.schemas import DriftReport, DriftSignal

Name = Literal["questions", "retrieval", "answers"]
NO_INDEX = "no index to find chunks in yet"


def drift_id(reference: Window, current: Window, embedder: Embedder, index: str | None, config: DriftConfig) -> str:
    """The id of the report that these windows give over an index, named by what is in it; the same is compared once."""
    decides = [reference.hash, current.hash, embedder.id, index, config.false_alarms, config.seed]
    return content_id("drift", decides)


def check_drift(
    reference: Window,
    current: Window,
    embedder: Embedder,
    config: DriftConfig,
    store: ObjectStore,
    retriever: Retriever | None = None,
    index: str | None = None,
    prefix: str = "drift",
) -> DriftReport:
    """Compares what is asked, found and answered in the current window with the reference, and stores an Evidently report as
    `<prefix>/<id>.html`. A session that is in both windows counts twice.

    Args:
        retriever: what questions are put to; None leaves retrieval unmeasured.
        index: names what the retriever finds chunks in.

    Raises:
        ModelError: the embedder's values are not finite.
        StorageError: the report cannot be written.
    """
    before, now = (
        Side(name, window.sessions, window.questions, embedder.embed(window.questions))
        for name, window in (("reference", reference), ("current", current))
    )
    found, unmeasured = measure(reference, current, (before.vectors, now.vectors), config, retriever)
    report = _report(drift_id(reference, current, embedder, index, config), reference, current, config, found, unmeasured)
    html = render_report(report, before, now, embedder.id)
    return report.model_copy(update={"html_uri": store.put(f"{prefix}/{report.id}.html", html.encode())})


def uncompared(reference: Window, current: Window, embedder: Embedder, config: DriftConfig, why: str) -> DriftReport:
    """The report of windows that cannot be compared yet; there is no page of it."""
    id_ = drift_id(reference, current, embedder, None, config)
    return _report(id_, reference, current, config, (), dict.fromkeys(get_args(Name), why))


def _report(
    id_: str,
    reference: Window,
    current: Window,
    config: DriftConfig,
    signals: tuple[DriftSignal, ...],
    unmeasured: dict[str, str],
) -> DriftReport:
    return DriftReport(
        id=id_,
        reference_hash=reference.hash,
        current_hash=current.hash,
        reference_rows=len(reference.rows),
        current_rows=len(current.rows),
        false_alarms=config.false_alarms,
        signals=signals,
        unmeasured=unmeasured,
        html_uri="",
    )


def measure(
    reference: Window, current: Window, vectors: tuple[Rows, Rows], config: DriftConfig, retriever: Retriever | None
) -> tuple[tuple[DriftSignal, ...], dict[str, str]]:
    """The signals of two windows whose questions are embedded, at the levels of a daily check; and why others are not measured.

    Raises:
        ModelError: a vector is not finite.
    """
    compared: dict[Name, Compared | str] = {
        "questions": signals.questions(reference, current, vectors, config.seed),
        "retrieval": signals.retrieval(reference, current, retriever) if retriever else NO_INDEX,
        "answers": signals.answers(reference, current),
    }
    tested = tuple(_test(name, what, config) for name, what in compared.items() if isinstance(what, Compared))
    return tested, {name: why for name, why in compared.items() if isinstance(why, str)}


def _test(name: Name, what: Compared, config: DriftConfig) -> DriftSignal:
    level = daily_level(config.false_alarms, name)
    found = two_sample_test(what.reference, what.current, what.reference_units, what.current_units, level, config.seed)
    return DriftSignal(
        name=name,
        statistic=found.statistic,
        p_value=found.p_value,
        level=level,
        permutations=found.permutations,
        units=found.units,
        figures=what.figures,
    )
