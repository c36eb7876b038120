"""A panel of judges (Verga et al., Replacing Judges with Juries, 2024): several models are less biased than one, and show where
they disagree."""

from collections.abc import Sequence
from statistics import median

from csift.exceptions import TeacherError
from csift.hashing import content_id
from csift.interfaces import Judge
from csift.schemas import Failure, JudgeItem, Record, Score, ScorePart

TOO_FEW = "panel"  # kind of the Failure where fewer than a majority of the members answered


class Disagreement(Record):
    """How a panel's members agree. `items` were judged; `unanimous` is the share of them on which all who answered say the same
    (correct or not), `spread` the mean difference between highest and lowest value, `unanswered` the failures by member's id."""

    items: int
    unanimous: float
    spread: float
    unanswered: dict[str, int]


class PanelJudge:
    """The median of what the members say, correct from `correct_from` on; for an odd number of them that is the majority's
    verdict. `parts` are the members' values.

    A member's failure is its own; the panel fails where fewer than a majority of its members answered. A member whose service
    is away is a failure on every item; when all are, the first one's error is raised.
    """

    def __init__(self, members: Sequence[Judge], correct_from: float = 0.6) -> None:
        if len(members) < 2:
            raise ValueError("a panel has at least two members")
        self.members = tuple(members)
        self._correct_from = correct_from
        self.id = content_id("judge", ["panel", correct_from, [member.id for member in members]])

    def judge(self, items: Sequence[JudgeItem]) -> list[Score | Failure]:
        """One a item, same order; the members are asked one after another. Raises what they raise, as the class says."""
        errors: list[TeacherError] = []
        verdicts: list[list[Score | Failure]] = []
        for member in self.members:
            try:
                verdicts.append(member.judge(items))
            except TeacherError as error:
                errors.append(error)
                verdicts.append([Failure(kind="unavailable", message=str(error))] * len(items))
        if len(errors) == len(self.members):
            raise errors[0]
        return [self._joined(row) for row in zip(*verdicts, strict=True)]

    def _joined(self, row: Sequence[Score | Failure]) -> Score | Failure:
        said = [verdict for verdict in row if isinstance(verdict, Score)]
        if 2 * len(said) <= len(row):
            first = next(verdict for verdict in row if isinstance(verdict, Failure))
            told = f"{len(said)} of {len(row)} members answered; {first.kind}: {first.message}"
            return Failure(kind=TOO_FEW, message=told)
        value = median(verdict.value for verdict in said)
        correct = value >= self._correct_from
        against = sum(verdict.correct != correct for verdict in said)
        low, high = min(verdict.value for verdict in said), max(verdict.value for verdict in said)
        return Score(
            value=value,
            correct=correct,
            reason=f"{len(said)} of {len(row)} judges, {against} against; {low:.2f} to {high:.2f}",
            parts=tuple(_part(member, verdict) for member, verdict in zip(self.members, row, strict=True)),
        )


def _part(member: Judge, verdict: Score | Failure) -> ScorePart:
    if isinstance(verdict, Failure):
        return ScorePart(name=member.id, value=None, note=f"{verdict.kind}: {verdict.message}")
    return ScorePart(name=member.id, value=verdict.value, note=f"{'correct' if verdict.correct else 'wrong'}: {verdict.reason}")


def disagreement(scores: Sequence[Score]) -> Disagreement:
    """How the members of a panel agree over its scores. Raises ValueError when there are none, or they are not a panel's."""
    if not scores or not all(score.parts for score in scores):
        raise ValueError("no scores of a panel")
    unanswered: dict[str, int] = {}
    unanimous, spread = 0, 0.0
    for score in scores:
        values = [part.value for part in score.parts if part.value is not None]
        unanimous += len({part.note.partition(":")[0] for part in score.parts if part.value is not None}) == 1
        spread += max(values) - min(values)
        for part in score.parts:
            unanswered[part.name] = unanswered.get(part.name, 0) + (part.value is None)
    return Disagreement(items=len(scores), unanimous=unanimous / len(scores), spread=spread / len(scores), unanswered=unanswered)
