"""How well a judge agrees with labels that people, or a stronger judge, gave."""

from datetime import datetime

from csift.schemas.base import Interval, Record
from csift.schemas.judging import JudgeItem


class LabelledAnswer(Record):
    """An answer with its recorded score (0 to 1), its verdict, or both. Answers of one group, as a rule one question, are
    resampled together."""

    item: JudgeItem
    group: str
    score: float | None
    correct: bool | None


class JudgeCalibration(Record):
    """A judge against a set of labels. `agreement` and `kappa` (Cohen's) are of its verdicts with the labels', `spearman` of its
    scores with theirs; None where it is undefined: all verdicts are one and the same, or all scores on one side. Only `judged`
    answers count; `failures` are those that the judge failed on.

    Intervals are of 95%, by resampling groups. `out_of_fold`: what was fitted in the judge had not seen the group it judged.
    """

    id: str
    judge_id: str
    judge_name: str
    labels_id: str
    groups: int
    judged: int
    failures: int
    agreement: Interval
    kappa: Interval | None
    spearman: Interval | None
    resamples: int
    seed: int
    out_of_fold: bool
    at: datetime
