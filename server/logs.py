"""How the process logs: one line per record to stderr, as text or as JSON.

A record may carry figures under `extra={"data": {...}}`; JSON lines have them as members of their own.
"""

from __future__ import annotations

import json
import logging
import sys
from typing import Any

from server.config import Settings
from server.wire.times import format_time

QUERIES = "streamgauge.queries"
"""The logger of answered queries."""
_TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class JsonLines(logging.Formatter):
    """Each record as one JSON object on one line: time, level, logger, message, its data, and the traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        line: dict[str, Any] = {
            "time": format_time(int(record.created * 1000)), "level": record.levelname.lower(), "logger": record.name,
            "message": record.getMessage(),
        }  # fmt: skip
        line |= {name: value for name, value in getattr(record, "data", {}).items() if name not in line}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            line["stack"] = record.stack_info
        return json.dumps(line, ensure_ascii=False, default=str)


def configure(settings: Settings) -> None:
    """Sets up logging as the settings say."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if settings.log_format == "json" else logging.Formatter(_TEXT))
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler], force=True)
    logging.getLogger(QUERIES).disabled = not settings.enable_query_logging
