"""Ask a person to approve a promotion, by a form in Prefect or `csift promote`, and do what the form was answered."""

from datetime import datetime
from math import ceil
from typing import Any, Literal

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound
from prefect.input import RunInput
from prefect.logging import get_run_logger
from prefect.runtime import flow_run
from pydantic import Field

from csift import alerts, approvals, cycles
from csift.db import database
from csift.db.base import now
from csift.exceptions import CycleRunning
from csift.leases import Lease
from csift.reports.decision import page_key
from csift.reports.verdicts import approval_sentence, numbers_sentence
from csift.reports.wording import when
from csift.schemas import Approval, ApprovalAnswer, PromotionDecision
from tasks.collaborators import link, store
from tasks.events import send
from tasks.retrying import RETRIES

DEPLOYMENT = "approve/approve"
A_DAY = 24 * 60  # minutes; for so long an answer waits for a cycle that goes on


class Answer(RunInput):
    """The form of a suspended run. Nothing is chosen beforehand; one that is not filled in is refused by the server."""

    answer: Literal["promote", "keep the champion"] = Field(title="Answer", description="promote: the champion is replaced")
    name: str = Field(pattern=r"\S", max_length=200, title="Your name", description="Kept with the decision")
    note: str = Field("", max_length=2000, title="Note", description="Why, for those who read the decision later")


def form(asked: PromotionDecision, approval: Approval) -> type[Answer]:
    """The form about one decision: above the fields its numbers and the link to its page."""
    page = page_of(asked)
    return Answer.with_initial_data(
        description=(
            f"**{asked.evidence.project}: shall {asked.evidence.challenger_system_id} become the champion?** "
            f"{numbers_sentence(asked)}\n\nAll that the decision rests on: [{page}]({link(page)})\n\n"
            f"Without an answer until {when(approval.until)} the champion stays."
        )
    )


def page_of(decision: PromotionDecision) -> str:
    """Where the decision's page is in the store."""
    return store().uri(page_key(decision.id))


def asked_for(decision_id: str) -> tuple[PromotionDecision, Approval]:
    """A decision and what people were asked and said. Raises GateError: it does not exist, or nobody was asked."""
    return approvals.find(database(), decision_id)


def seconds_left(approval: Approval) -> int:
    """Until the deadline; one when it is over, as Prefect takes none for ever."""
    return max(1, ceil((approval.until - now()).total_seconds()))


@task(name="ask for approval", cache_policy=NO_CACHE, **RETRIES)
def ask(cycle_id: str, decision: PromotionDecision, hours: float, lease: Lease) -> str:
    """Asks, tells people, and starts the run that shows the form. Returns the cycle's reason."""
    db = database()
    with cycles.stage(db, cycle_id, "approval") as made:
        asked, approval = approvals.ask(db, store(), decision.id, hours, lease)
        if approval.open(now()):
            send(alerts.approval_asked(asked, approval.until, page_of(asked)))
            _start_form(asked, approval)
        made.append(asked.id)
    return f"{asked.reason}; {approval_sentence(asked)}"


def _start_form(asked: PromotionDecision, approval: Approval) -> None:
    """One run a deadline, however often it is called."""
    try:
        run_deployment(
            DEPLOYMENT,
            parameters={"decision": asked.id},
            flow_run_name=f"approve {asked.id}",
            idempotency_key=f"{asked.id} until {approval.until.isoformat()}",
            timeout=0,
            as_subflow=False,  # Prefect suspends no subflow
        )
    except ObjectNotFound:  # `csift run` has a server of its own, without deployments
        get_run_logger().info("this Prefect server has no deployment %s, so no form; csift promote %s", DEPLOYMENT, asked.id)


def _cycle_goes_on(task: Any, run: Any, state: Any) -> bool:
    return isinstance(state.result(raise_on_failure=False), CycleRunning)


@task(name="settle", cache_policy=NO_CACHE, retries=A_DAY, retry_delay_seconds=60, retry_condition_fn=_cycle_goes_on)
def settle(asked: PromotionDecision, answer: Answer) -> PromotionDecision:
    """Does what was answered. Raises GateError when somebody else was faster, or the champion is another one by now."""
    db, project = database(), asked.evidence.project
    approved = answer.answer == "promote"
    said = ApprovalAnswer(approved=approved, by=answer.name.strip(), note=answer.note.strip(), at=_answered_at())
    settled = approvals.answer(db, store(), project, asked.id, said)
    if approved:
        send(alerts.promotion_made(project, settled, page_of(settled)))
    return settled


def _answered_at() -> datetime:
    """When the server took the answer; a worker may take up the run much later."""
    with get_client(sync_client=True) as client:
        states = client.read_flow_run_states(flow_run.id)
    return max(state.timestamp for state in states if state.name == "Resuming")
