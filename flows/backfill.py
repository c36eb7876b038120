"""The same loop over a given corpus; the champion moves only when that is asked for."""

from prefect import flow
from prefect.states import State

from csift.config import LoopConfig
from flows.nightly import nightly
from tasks.results import RESULT_STORAGE


@flow(name="backfill", persist_result=True, result_storage=RESULT_STORAGE, result_serializer="json")
def backfill(config: LoopConfig, promote: bool = False) -> State:
    """One turn of the loop over `config.corpus`, with promotion off unless `promote`."""
    gate = config.gate.model_copy(update={"promote": promote})
    return nightly(config.model_copy(update={"gate": gate}), trigger="backfill", return_state=True)
