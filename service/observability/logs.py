"""The log on standard error: plain text, or one JSON object per line for programs that collect logs."""

from __future__ import annotations

import logging
import sys
import time
from datetime import datetime, timezone
from typing import Any

import orjson

from service.observability.request_scope import current, current_trace_id
from service.settings import Settings

TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def set_up(settings: Settings) -> None:
    """Sends the log of the whole process to standard error, in the format and from the level of the settings."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if settings.log_format == "json" else TextFormatter(TEXT))
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler], force=True)
    logging.getLogger("uvicorn").setLevel("WARNING")  # it reports every start and stop
    logging.getLogger("grpc._cython.cygrpc").addFilter(_is_no_lost_client)  # with a traceback each
    logging.getLogger("PIL").setLevel("INFO")  # its DEBUG level would log the contents of images
    logging.getLogger("python_multipart").setLevel(
        "ERROR"
    )  # an invalid form is an error of the client, who gets an answer


def _is_no_lost_client(record: logging.LogRecord) -> bool:
    """Whether it is no record of a call whose client has gone away before its answer."""
    return not record.getMessage().startswith("ExecuteBatchError raised in core")


class TextFormatter(logging.Formatter):
    """One line of plain text, its time written as in the JSON format."""

    converter = staticmethod(time.gmtime)
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03d+00:00"


class JsonFormatter(logging.Formatter):
    """time (UTC), level, logger and message; within a request its request_id and trace_id; the record's own fields."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        scope = current()
        if scope is not None:
            line |= {"request_id": scope.request_id, "trace_id": current_trace_id()}
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str).decode()
