"""The same loop over windows of a corpus, each taught once; the champion moves only when that is asked for."""

from prefect import flow
from prefect.states import State

from csift.backfill import BackfillRequest, over
from csift.config import LoopConfig
from csift.schemas import BackfillEstimate, Cycle
from flows.nightly import one_cycle
from tasks.backfill import estimate
from tasks.results import RECORDS, RESULT_STORAGE

EVERYTHING = BackfillRequest()


@flow(name="backfill", persist_result=True, result_storage=RESULT_STORAGE, result_serializer=RECORDS)
def backfill(config: LoopConfig, request: BackfillRequest = EVERYTHING) -> Cycle | BackfillEstimate | State:
    """One turn of the loop in which the teacher writes partition by partition; or, as a dry run, what that would take.

    Args:
        request: What is filled in, and whether the champion may move.
    """
    told = over(config, request)
    return estimate(told, request) if request.dry_run else one_cycle(told, "backfill", request)
