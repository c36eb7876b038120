"""Log lines as JSON objects, one a line, for whatever collects them."""

import json
import logging
from datetime import UTC, datetime

from csift.telemetry.context import current

# By these Prefect writes so to standard error; the UI shows its log as before.
VARIABLES = {
    "PREFECT_LOGGING_FORMATTERS_JSON_CLASS": f"{__name__}.JsonLines",
    "PREFECT_LOGGING_HANDLERS_CONSOLE_FORMATTER": "json",
    "PREFECT_LOGGING_HANDLERS_DEBUG_FORMATTER": "json",
    "PREFECT_LOGGING_COLORS": "false",
    "PYTHONWARNINGS": "ignore",  # which are no log lines: Python writes them as text, most of them while libraries load
}
RUNS = {"flow_run_id": "run", "flow_run_name": "run_name", "task_run_name": "task"}  # as Prefect's run loggers name them


class JsonLines(logging.Formatter):
    """time (UTC, ISO 8601), level, logger, message; project, cycle, stage, run, run_name, task where they are known; error, the
    traceback."""

    def __init__(self, fmt: str | None = None, datefmt: str | None = None, style: str = "%") -> None:
        """The arguments are those that logging.config passes; a line has one format."""
        super().__init__()

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **current(),
            **{ours: str(record.__dict__[name]) for name, ours in RUNS.items() if record.__dict__.get(name)},
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)
