"""Whether a judge can be believed: its agreement with labels, stored with the judge's id, and asked for by the gate.

A judge's id covers prompt, model, parser and settings, so whatever changes the judge leaves it without a calibration. That of the
reference judge as shipped comes with csift (resources/reference_judge_calibration.json).

Not covered: labels that are wrong themselves; how far a calibration on one kind of questions holds for another.
"""

import json
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.dialects.postgresql import insert

from csift.db.base import now
from csift.db.connection import Database
from csift.db.judging import JudgeCalibrationRow
from csift.exceptions import GateError, LabelError
from csift.hashing import content_id
from csift.interfaces import Judge
from csift.schemas import Failure, Interval, JudgeCalibration, LabelledAnswer, Score

CORRECT_FROM = 0.6  # the recorded score from which an answer without a recorded verdict counts as correct
RESAMPLES, SEED, LEVEL = 1_000, 0, 0.95
SHIPPED = Path(__file__).parent.parent / "resources" / "reference_judge_calibration.json"

Column = NDArray[np.float64]


class _Columns(NamedTuple):
    """One entry per answer that was judged; scores are nan where the label has none, groups are numbers."""

    said: Column
    labelled: Column
    value: Column
    score: Column
    group: Column


def calibrate(judge: Judge, name: str, labels: Sequence[LabelledAnswer], resamples: int = RESAMPLES) -> JudgeCalibration:
    """Has the judge score the labelled answers, and compares.

    Raises:
        LabelError, GateError: as `compare`.
        CsiftError: whatever the judge raises.
    """
    outcomes = judge.judge([label.item for label in labels])
    return compare(judge.id, name, labels, outcomes, resamples=resamples)


def compare(
    judge_id: str,
    name: str,
    labels: Sequence[LabelledAnswer],
    outcomes: Sequence[Score | Failure],
    *,
    resamples: int = RESAMPLES,
    seed: int = SEED,
    out_of_fold: bool = False,
    at: datetime | None = None,
) -> JudgeCalibration:
    """What the judge said of labelled answers, in the same order, against the labels. Their order does not matter.

    Intervals are percentiles over resamples of whole groups (cluster bootstrap: Field & Welsh, JRSS B 2007); resamples in which a
    figure is undefined are left out of its interval.

    Raises:
        LabelError: a label has neither score nor verdict, or there are fewer than two groups.
        GateError: the judge failed on every answer.
    """
    columns = _columns(name, labels, outcomes)
    draws = _resampled(columns.group, resamples, seed)
    agreement = _interval(columns, _agreement, draws)
    kappa, spearman = (
        _interval(columns, figure, draws) if np.isfinite(figure(columns)) else None for figure in (_kappa, _spearman)
    )
    about = {
        "judge_id": judge_id,
        "judge_name": name,
        "labels_id": labels_id(labels),
        "groups": len({label.group for label in labels}),
        "judged": len(columns.said),
        "failures": len(labels) - len(columns.said),
        "resamples": resamples,
        "seed": seed,
        "out_of_fold": out_of_fold,
    }
    figures = {"agreement": agreement, "kappa": kappa, "spearman": spearman}
    told = {key: figure and figure.model_dump() for key, figure in figures.items()}
    return JudgeCalibration.model_validate(
        {"id": content_id("calibration", [about, told]), "at": at or now(), **about, **figures}
    )


def labels_id(labels: Sequence[LabelledAnswer]) -> str:
    """The content hash of a label set, whatever the order of its rows."""
    return content_id("labels", sorted(label.model_dump_json() for label in labels))


def _columns(name: str, labels: Sequence[LabelledAnswer], outcomes: Sequence[Score | Failure]) -> _Columns:
    if any(label.score is None and label.correct is None for label in labels):
        raise LabelError("a judge is calibrated on answers with a recorded score or verdict, and one has neither; give it one")
    groups = sorted({label.group for label in labels})
    if len(groups) < 2:
        raise LabelError(f"a judge is calibrated on answers to at least two questions, not {len(groups)}; label more")
    judged = [(label, said) for label, said in zip(labels, outcomes, strict=True) if isinstance(said, Score)]
    if not judged:
        first = next(said.message for said in outcomes if isinstance(said, Failure))
        raise GateError(f"the judge {name} failed on all {len(labels)} labelled answers: {first}; mend it and calibrate again")
    place = {group: number for number, group in enumerate(groups)}
    return _Columns(
        said=np.array([float(said.correct) for _, said in judged]),
        labelled=np.array([float(_verdict(label)) for label, _ in judged]),
        value=np.array([said.value for _, said in judged]),
        score=np.array([np.nan if label.score is None else label.score for label, _ in judged]),
        group=np.array([float(place[label.group]) for label, _ in judged]),
    )


def _verdict(label: LabelledAnswer) -> bool:
    return label.correct if label.correct is not None else (label.score or 0.0) >= CORRECT_FROM


def _resampled(group: Column, resamples: int, seed: int) -> list[NDArray[np.int64]]:
    """Row numbers of each resample: as many groups as there are, drawn with replacement, with all their rows."""
    members = [np.flatnonzero(group == number) for number in np.unique(group)]
    drawn = np.random.default_rng(seed).integers(0, len(members), size=(resamples, len(members)))
    return [np.concatenate([members[number] for number in row]) for row in drawn]


def _interval(columns: _Columns, figure: Callable[[_Columns], float], draws: list[NDArray[np.int64]]) -> Interval:
    """The figure with its interval, rounded so that no order of the rows shows in it."""
    found = np.array([figure(_Columns(*(column[rows] for column in columns))) for rows in draws])
    low, high = np.quantile(found[np.isfinite(found)], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(value=round(figure(columns), 6), low=round(float(low), 6), high=round(float(high), 6))


def _agreement(columns: _Columns) -> float:
    return float((columns.said == columns.labelled).mean())


def _kappa(columns: _Columns) -> float:
    """Cohen's kappa (Educational and Psychological Measurement, 1960); nan when judge and labels all give one same verdict."""
    chance = columns.said.mean() * columns.labelled.mean() + (1 - columns.said.mean()) * (1 - columns.labelled.mean())
    return float((_agreement(columns) - chance) / (1 - chance)) if chance < 1 else float("nan")


def _spearman(columns: _Columns) -> float:
    """Rank correlation over the answers whose label has a score; nan when all scores on one side are alike."""
    from scipy.stats import spearmanr

    scored = ~np.isnan(columns.score)
    value, score = columns.value[scored], columns.score[scored]
    if len(np.unique(value)) < 2 or len(np.unique(score)) < 2:
        return float("nan")
    return float(spearmanr(value, score).statistic)


# --- stored -----------------------------------------------------------------------------------------------------------


def save(db: Database, calibration: JudgeCalibration) -> JudgeCalibration:
    """Stores a calibration; one made again with the same outcome is stored once, with the newer time."""
    row = {
        "id": calibration.id,
        "record": calibration.model_dump(mode="json"),
        "judge_id": calibration.judge_id,
        "judge_name": calibration.judge_name,
        "created_at": calibration.at,
    }
    statement = insert(JudgeCalibrationRow).values(row)
    update = {"record": statement.excluded.record, "created_at": statement.excluded.created_at}
    with db.session() as session:
        session.execute(statement.on_conflict_do_update(index_elements=[JudgeCalibrationRow.id], set_=update))
    return calibration


def stored(db: Database) -> list[JudgeCalibration]:
    """All stored calibrations, the newest first."""
    with db.session() as session:
        records = session.scalars(sa.select(JudgeCalibrationRow.record).order_by(JudgeCalibrationRow.created_at.desc()))
        return [JudgeCalibration.model_validate(record) for record in records]


@lru_cache(maxsize=1)
def shipped() -> tuple[JudgeCalibration, ...]:
    """The calibrations that come with csift: of the reference judge with its default settings, one for each number format that
    the bundled embedder runs in."""
    return tuple(JudgeCalibration.model_validate(record) for record in json.loads(SHIPPED.read_text(encoding="utf-8")))


def newest(db: Database, judge_id: str) -> JudgeCalibration | None:
    """The newest stored calibration of exactly this judge, else the shipped one, else None."""
    known = [*stored(db), *shipped()]
    return next((calibration for calibration in known if calibration.judge_id == judge_id), None)


def require_calibrated(db: Database, judge_id: str, judge_name: str, min_agreement: float) -> JudgeCalibration:
    """The newest calibration of this judge, which a promotion may rest on.

    Raises:
        GateError: there is none, only of what the judge was before its prompt, model, parser or settings changed, or the judge
            agrees with its labels in a smaller share than `min_agreement`.
    """
    found = newest(db, judge_id)
    if found is None:
        raise GateError(_uncalibrated(db, judge_id, judge_name))
    agreement = found.agreement.value
    if agreement < min_agreement:
        raise GateError(
            f"the judge {judge_name} ({judge_id}) agrees with {100 * agreement:.1f}% of {found.judged} labelled answers, and the "
            f"gate asks for {100 * min_agreement:.1f}%; improve the judge or its labels and run `csift judge calibrate` again"
        )
    return found


def _uncalibrated(db: Database, judge_id: str, judge_name: str) -> str:
    told = "run `csift judge calibrate --labels FILE.jsonl` with answers that people judged (docs/judges.md)"
    before = next((one for one in (*stored(db), *shipped()) if one.judge_name == judge_name), None)
    if before is None:
        return f"the judge {judge_name} ({judge_id}) has never been calibrated, so nothing is promoted on its word; {told}"
    return (
        f"the judge {judge_name} is now {judge_id}, and its newest calibration ({before.at:%Y-%m-%d %H:%M} UTC) is of "
        f"{before.judge_id}: its prompt, model, parser or settings changed since; {told}"
    )
