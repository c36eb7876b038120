"""Between nights: do the champion's answers hold, and has the traffic changed? Alerts when not."""

from prefect import flow

from csift.config import LoopConfig
from csift.schemas import MonitorReport
from tasks.monitor import look
from tasks.results import RECORDS, RESULT_STORAGE


@flow(name="monitor", persist_result=True, result_storage=RESULT_STORAGE, result_serializer=RECORDS)
def monitor(config: LoopConfig) -> MonitorReport:
    """Rated answers at every look, drift once a day; trains nothing."""
    return look(config)
