"""The log on standard error: lines to read, or one object of JSON a line for programs that collect them."""

from __future__ import annotations

import logging
import sys
from datetime import datetime, timezone
from typing import Any

import orjson

from service.observability import request_scope as telemetry
from service.settings import Settings

TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def set_up(settings: Settings) -> None:
    """Sends the log of the whole process to standard error, in the form and from the severity that are wanted."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if settings.log_format == "json" else logging.Formatter(TEXT))
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler], force=True)
    logging.getLogger("uvicorn").setLevel("WARNING")  # it tells of every start and stop
    logging.getLogger("PIL").setLevel("INFO")  # else it would tell what is in images
    logging.getLogger("python_multipart").setLevel("ERROR")  # of a damaged form the client is told


class JsonFormatter(logging.Formatter):
    """time (UTC), level, logger and message; request_id and trace_id within a request; what a record brings itself."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        scope = telemetry.current()
        if scope is not None:
            line |= {"request_id": scope.request_id, "trace_id": scope.span.trace_id or None}
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str).decode()
