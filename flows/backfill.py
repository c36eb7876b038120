"""The same loop over a given corpus; the champion moves only when that is asked for."""

from prefect import flow
from prefect.states import State

from csift.config import LoopConfig
from csift.schemas import Cycle
from flows.nightly import one_cycle
from tasks.results import RECORDS, RESULT_STORAGE


@flow(name="backfill", persist_result=True, result_storage=RESULT_STORAGE, result_serializer=RECORDS)
def backfill(config: LoopConfig, promote: bool = False) -> Cycle | State:
    """One turn of the loop over `config.corpus`, with promotion off unless `promote`.

    Args:
        promote: Move the champion when the challenger is better.
    """
    gate = config.gate.model_copy(update={"promote": promote})
    return one_cycle(config.model_copy(update={"gate": gate}), "backfill")
