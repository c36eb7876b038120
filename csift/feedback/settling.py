"""Contradictions between raters, which a person settles; and what a project's feedback teaches after that."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from csift.config import FeedbackConfig
from csift.db.base import now
from csift.db.connection import Database
from csift.db.feedback import SettlementRow
from csift.exceptions import LabelError
from csift.feedback.critic import trusted_critiques
from csift.feedback.keeping import load
from csift.feedback.learning import learn
from csift.feedback.voices import by_question, contradictions, heard
from csift.schemas import Dispute, HumanFeedback, SettledAs


def disputes(db: Database, project: str) -> list[Dispute]:
    """Where raters contradict each other, in order of questions; those that somebody settled say how."""
    known = settlements(db, project)
    found = [dispute for asked in by_question(load(db, project)) for dispute in contradictions(asked)]
    return [dispute.model_copy(update={"settled": known.get(dispute.id)}) for dispute in found]


def settle(db: Database, project: str, dispute_id: str, verdict: SettledAs, by: str) -> Dispute:
    """Says who is right; said again, the last word holds.

    Args:
        verdict: good: those who call the answer good, or prefer it to the other; bad: those who say the opposite; neither: what
            was said is not used.
        by: who settles it.

    Raises:
        LabelError: there is no such dispute.
    """
    found = next((dispute for dispute in disputes(db, project) if dispute.id == dispute_id), None)
    if found is None:
        raise LabelError(f"there is no dispute {dispute_id} in {project}; `csift feedback disputes` lists them")
    row = {"project": project, "dispute_id": dispute_id, "verdict": verdict, "settled_by": by, "at": now()}
    statement = insert(SettlementRow).values(row)
    update = {name: statement.excluded[name] for name in ("verdict", "settled_by", "at")}
    with db.session() as session:
        session.execute(statement.on_conflict_do_update(index_elements=["project", "dispute_id"], set_=update))
    return found.model_copy(update={"settled": verdict})


def settlements(db: Database, project: str) -> dict[str, SettledAs]:
    """Dispute → who is right, of those that were settled."""
    query = sa.select(SettlementRow.dispute_id, SettlementRow.verdict).where(SettlementRow.project == project)
    with db.session() as session:
        return dict(session.execute(query).tuples().all())  # type: ignore[arg-type]


def lessons(db: Database, project: str, config: FeedbackConfig) -> HumanFeedback:
    """All that the feedback of a project teaches: each rater up to the cap, contradictions as they were settled, and the critic
    where it is configured and agrees with people.
    """
    said = heard(load(db, project), config.per_rater)
    return learn(said, settlements(db, project), trusted_critiques(db, project, config))
