"""The lines that our own programs log: for people, or as JSON with one set of names for all of them.

docs/operations.md lists the names. A call gives those of a request as `extra={"trace_id": …, "request_id": …}`.
"""

from __future__ import annotations

import json
import logging
import time
from typing import Literal, override

type LogFormat = Literal["text", "json"]

FIELDS = ("trace_id", "request_id", "model", "version", "variant", "status", "milliseconds")
"""What a line may say of a request, beside time, level, logger and message."""

PLAIN = "%(asctime)s [%(levelname)s] %(name)s %(message)s"


class TextLines(logging.Formatter):
    """Lines for people, each with what it says of a request at its end."""

    @override
    def formatMessage(self, record: logging.LogRecord) -> str:
        found = " ".join(f"{name}={value}" for name, value in find_fields(record).items())
        return f"{super().formatMessage(record)} [{found}]" if found else super().formatMessage(record)


class JsonLines(logging.Formatter):
    """One object a line; a traceback is in `error`."""

    @override
    def format(self, record: logging.LogRecord) -> str:
        seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, object] = {
            "time": f"{seconds}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **find_fields(record),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def make_formatter(lines: LogFormat, text: str = PLAIN, datefmt: str | None = None) -> logging.Formatter:
    """The formatter of a setting; `text` is the format of lines for people."""
    return JsonLines() if lines == "json" else TextLines(text, datefmt)


def find_fields(record: logging.LogRecord) -> dict[str, object]:
    """What a line says of a request; a name without a value is left out."""
    found = ((name, getattr(record, name, None)) for name in FIELDS)
    return {name: value for name, value in found if value is not None}
