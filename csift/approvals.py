"""People's approval of a promotion, where the gate's PROMOTE alone is not to move the champion: asked for with a deadline,
answered once, kept with the decision. The form in Prefect and `csift promote` go by these rules alike.

Nothing has to wait for an answer that never comes: past its deadline a decision moves no champion, whoever noticed or not.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from csift import registry
from csift.db.base import now
from csift.db.connection import Database
from csift.db.judging import DecisionRow
from csift.db.operations import CycleRow
from csift.exceptions import GateError
from csift.interfaces import ObjectStore
from csift.leases import Lease, cycle_lease, hold
from csift.reports.decision import publish_decision
from csift.reports.verdicts import approval_sentence
from csift.reports.wording import when
from csift.schemas import Approval, ApprovalAnswer, CycleState, PromotionDecision, System, Verdict


def ask(db: Database, store: ObjectStore, decision_id: str, hours: float, lease: Lease) -> tuple[PromotionDecision, Approval]:
    """Asks for approval of a PROMOTE decision within so many hours; returns how it stands then.

    What was asked already keeps its deadline, so that a run that was killed asks once, and its answer. Past the deadline it is
    asked anew.

    Raises:
        GateError: the verdict is another one, or the lease was lost.
    """
    decision = registry.load(db, PromotionDecision, decision_id)
    if decision.verdict is not Verdict.PROMOTE:
        raise GateError(f"decision {decision.id} is {decision.verdict}; only PROMOTE can be approved")
    asked = decision.approval
    if asked and (asked.answer or asked.open(now())):
        return decision, asked
    fresh = Approval(until=now() + timedelta(hours=hours))
    with db.session() as session:
        lease.check(session)
        decision = _keep(session, decision, fresh)
    publish_decision(store, decision)
    return decision, fresh


def find(db: Database, decision_id: str) -> tuple[PromotionDecision, Approval]:
    """A decision and what people were asked and said. Raises GateError: it does not exist, or nobody was asked."""
    decision = registry.load(db, PromotionDecision, decision_id)
    return decision, _require_asked(db, decision)


def answer(db: Database, store: ObjectStore, project: str, decision_id: str, said: ApprovalAnswer) -> PromotionDecision:
    """Keeps what a person said; a yes moves the champion in the same transaction, under the project's lease.

    The same answer again is nothing: a run that was killed after the first time.

    Raises:
        CycleRunning: a cycle of the project goes on; the message names its holder.
        GateError: there is no such decision of the project, it does not await approval at `said.at`, or the champion is another
            one than it was made against; then the answer is kept and nothing is moved.
    """
    if (found := registry.load(db, PromotionDecision, decision_id).evidence.project) != project:
        raise GateError(f"decision {decision_id} is of project {found}, not of {project}; see `csift status`")
    with hold(db, cycle_lease(project)) as lease, db.session() as session:
        lease.check(session)
        decision = registry.load(db, PromotionDecision, decision_id)
        if decision.approval is None or decision.approval.answer != said:
            decision = _settle(db, session, decision, said)
    publish_decision(store, decision)
    if decision.approval and decision.approval.overtaken_by:
        raise GateError(f"nothing was moved: {decision.id} was {approval_sentence(decision)}")
    return decision


def _settle(db: Database, session: Session, decision: PromotionDecision, said: ApprovalAnswer) -> PromotionDecision:
    approval, told = _require_open(db, decision, said.at), decision.evidence
    champion = _champion(db, told.project)
    overtaken = said.approved and not _made_against(db, decision, champion)
    if said.approved and not overtaken:
        registry.move_champion(session, told.project, "promotion", champion.id, told.challenger_system_id, decision.id)
    answered = Approval(until=approval.until, answer=said, overtaken_by=champion.id if overtaken else None)
    settled = _keep(session, decision, answered)
    _tell_cycles(session, settled, approval_sentence(settled))
    return settled


def awaiting(db: Database, project: str) -> tuple[PromotionDecision, ...]:
    """The decisions that may be approved at this moment, the newest first."""
    return tuple(
        decision
        for decision in _unanswered(db, project)
        if decision.approval and decision.approval.open(now()) and _made_against(db, decision, _champion(db, project))
    )


def close_expired(db: Database, project: str) -> None:
    """Says in their cycles that decisions were not approved in time. They can be no more, whether this was called or not."""
    for decision in _unanswered(db, project):
        if decision.approval and not decision.approval.open(now()):
            with db.session() as session:
                _tell_cycles(session, decision, f"nobody approved it until {when(decision.approval.until)}; the champion stays")


def _require_open(db: Database, decision: PromotionDecision, at: datetime) -> Approval:
    """Its approval, if it may be answered at this moment. Raises GateError with the reason why not."""
    approval = _require_asked(db, decision)
    if approval.answer:
        raise GateError(f"decision {decision.id} was answered already: {approval_sentence(decision)}")
    if not approval.open(at):
        again = "another [gate] approval_hours makes the next run ask again, and trains nothing twice"
        raise GateError(f"decision {decision.id} awaited approval until {when(approval.until)}, so the champion stays; {again}")
    return approval


def _require_asked(db: Database, decision: PromotionDecision) -> Approval:
    if decision.verdict is not Verdict.PROMOTE:
        raise GateError(f"decision {decision.id} is {decision.verdict}; only PROMOTE can await approval")
    if decision.approval is None:
        moves = [move for move in registry.champion_log(db, decision.evidence.project) if move.decision_id == decision.id]
        so = f"it moved the champion on {when(moves[0].at)}" if moves else "nobody was asked ([gate] promote, approval_hours)"
        raise GateError(f"decision {decision.id} does not await approval: {so}; see `csift status`")
    return decision.approval


def _champion(db: Database, project: str) -> System:
    found = registry.champion(db, project)
    if found is None:
        raise GateError(f"project {project} has no champion yet; run a cycle first")
    return found


def _made_against(db: Database, decision: PromotionDecision, champion: System) -> bool:
    """Whether this is the champion that the decision compared, over the corpus on which it did."""
    snapshot = registry.load(db, System, decision.evidence.challenger_system_id).snapshot_id
    return champion.on(snapshot).id == decision.evidence.champion_system_id


def _unanswered(db: Database, project: str) -> Sequence[PromotionDecision]:
    with db.session() as session:
        records = session.scalars(
            sa.select(DecisionRow.record)
            .where(DecisionRow.project == project, sa.func.jsonb_typeof(DecisionRow.record["approval"]) == "object")
            .order_by(DecisionRow.created_at.desc())
        )
        decisions = [PromotionDecision.model_validate(record) for record in records]
    return [decision for decision in decisions if decision.approval and decision.approval.answer is None]


def _keep(session: Session, decision: PromotionDecision, approval: Approval) -> PromotionDecision:
    kept = decision.model_copy(update={"approval": approval})
    session.execute(sa.update(DecisionRow).where(DecisionRow.id == decision.id).values(record=kept.model_dump(mode="json")))
    return kept


def _tell_cycles(session: Session, decision: PromotionDecision, sentence: str | None) -> None:
    """In the reason of the cycles that ended with this decision; one that was cut off keeps its own."""
    ended = (CycleRow.decision_id == decision.id, CycleRow.state == CycleState.COMPLETED)
    session.execute(sa.update(CycleRow).where(*ended).values(reason=f"{decision.reason}; {sentence}"))
