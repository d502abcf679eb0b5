"""Log lines: text for people, or JSON for machines, each with the connection that it is about.

No line holds a token, a password, or anything of an order.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime

__all__ = ["about", "connection_id", "set_up"]

# Of the connection that the running task serves; empty outside of any.
connection_id: ContextVar[str] = ContextVar("connection_id", default="")

# What a LogRecord has by itself; whatever else it carries was given as ``extra``.
_OWN = set(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


@contextmanager
def about(connection: str) -> Iterator[None]:
    """Lines from in here, and from tasks begun in here, are about this connection."""
    token = connection_id.set(connection)
    try:
        yield
    finally:
        connection_id.reset(token)


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record)
        details = " ".join(f"{name}={value}" for name, value in _details(record).items())
        return f"{line}  [{details}]" if details else line


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **_details(record),
        }
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields, ensure_ascii=False, default=str)


def _details(record: logging.LogRecord) -> dict[str, object]:
    connection = connection_id.get()
    extra = {name: value for name, value in record.__dict__.items() if name not in _OWN}
    return {"connection": connection, **extra} if connection else extra


class _Numbered(logging.Filter):
    """Adds the worker's number to each line."""

    def __init__(self, worker: int) -> None:
        super().__init__()
        self._worker = worker

    def filter(self, record: logging.LogRecord) -> bool:
        record.worker = self._worker
        return True


def set_up(level: str, form: str, worker: int | None = None) -> None:
    """Log to standard error from here on; ``worker``: which one this process is, where there are several."""
    handler = logging.StreamHandler()
    if worker is not None:
        handler.addFilter(_Numbered(worker))
    handler.setFormatter(_Json() if form == "json" else _Text("%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S"))
    logging.basicConfig(level=level, handlers=[handler])
    # It logs the subprotocols that it does not know: a token may be among them.
    logging.getLogger("aiohttp.websocket").setLevel(logging.ERROR)
