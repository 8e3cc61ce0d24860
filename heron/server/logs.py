"""The log: a line for each thing that happens, as text or as JSON, with the id of the request that it belongs to.

What users ask and are answered, and their keys, are in no line of any level.
"""

from __future__ import annotations

import logging
import sys
import time
from contextvars import ContextVar
from typing import Any

import msgspec

from heron.errors import RequestError

#: The id of the request that is being served, "" outside of one.
request_id: ContextVar[str] = ContextVar("request_id", default="")

#: How much is said -> what of it reaches the log.
LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
FORMATS = ("plain", "json")


def configure(level: str, form: str) -> None:
    """Write to stderr from now on what is at least of this level. uvicorn speaks of itself; only its warnings are passed on.

    Raises RequestError for a level or a form that there is not.
    """
    if level not in LEVELS or form not in FORMATS:
        raise RequestError(f"logs are of level {', '.join(LEVELS)} and format {', '.join(FORMATS)}; not of {level!r} and {form!r}")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if form == "json" else _Plain())
    for name, least in (("heron", LEVELS[level]), ("uvicorn", max(LEVELS[level], logging.WARNING))):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(least)


def event(logger: logging.Logger, level: int, message: str, **fields: Any) -> None:
    """A line with fields of its own."""
    logger.log(level, message, extra={"fields": fields})


class _Formatter(logging.Formatter):
    def parts(self, record: logging.LogRecord) -> dict[str, Any]:
        parts = {"time": _time(record.created), "level": record.levelname.lower(), "message": record.getMessage()}
        parts |= getattr(record, "fields", {})
        if current := request_id.get():
            parts["request_id"] = current
        if record.exc_info:
            parts["exception"] = self.formatException(record.exc_info)
        return parts


class _Json(_Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return msgspec.json.encode(self.parts(record)).decode()


class _Plain(_Formatter):
    def format(self, record: logging.LogRecord) -> str:
        parts = self.parts(record)
        begin = [parts.pop("time"), f"{parts.pop('level'):7}", parts.pop("message")]
        exception = parts.pop("exception", None)
        line = " ".join([*begin, *(f"{name}={value}" for name, value in parts.items())])
        # A line is a line, whatever a client put into it.
        line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)
        return line if exception is None else f"{line}\n{exception}"


def _time(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{int(seconds % 1 * 1000):03}Z"
