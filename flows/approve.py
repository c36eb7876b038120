"""A person's word on a promotion: the run waits suspended, with a form, and holds nothing meanwhile."""

from prefect import flow
from prefect.flow_runs import suspend_flow_run
from prefect.states import Completed, State

from csift.reports.verdicts import approval_sentence
from tasks.approval import asked_for, form, seconds_left, settle
from tasks.results import RECORDS, RESULT_STORAGE


@flow(name="approve", persist_result=True, result_storage=RESULT_STORAGE, result_serializer=RECORDS)
def approve(decision: str) -> State:
    """Suspends until a person answers; a yes moves the champion. Prefect fails it at the deadline: the champion stays.

    Args:
        decision: Id of a PROMOTE decision that awaits approval.
    """
    asked, approval = asked_for(decision)
    if approval.answer is None:
        answer = suspend_flow_run(wait_for_input=form(asked, approval), timeout=seconds_left(approval))
        asked = settle(asked, answer)
    return Completed(message=approval_sentence(asked), data=asked)
