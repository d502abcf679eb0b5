"""Log lines: text or JSON, one each, with the id of the connection that they are about.

With JSON, everything that a server prints is JSON from the start on: see ``output_line`` and ``log_uncaught``.

No line may hold a token, a password or data of an order. Characters that are not printable are escaped, since texts of clients
may hold line breaks, which forge lines, and control sequences of a terminal.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from types import TracebackType

__all__ = ["FailureLog", "bind_connection", "choose_format", "configure", "connection_id", "log_uncaught", "output_line"]

# The id of the connection that the current task serves; empty in all other tasks.
connection_id: ContextVar[str] = ContextVar("connection_id", default="")

log = logging.getLogger("orderwire")

# The format of this process: "text" or "json".
_format = "text"

# Attributes of every LogRecord. All others were given as ``extra``.
_LOG_RECORD_ATTRIBUTES = set(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}

# A failure that goes on is logged again after this.
REPEAT_SECONDS = 600.0
MAX_CAUSES = 100


@contextmanager
def bind_connection(new_id: str) -> Iterator[None]:
    """Log lines of the block, and of tasks that it creates, get this connection id."""
    token = connection_id.set(new_id)
    try:
        yield
    finally:
        connection_id.reset(token)


class _TextFormatter(logging.Formatter):
    """A record is one line; the traceback of an error follows it, indented, so that its text cannot pass for a line."""

    def format(self, record: logging.LogRecord) -> str:
        line = f"{self.formatTime(record, '%H:%M:%S')} {record.levelname} {record.getMessage()}"
        details = " ".join(f"{name}={value}" for name, value in _extra_fields(record).items())
        lines = [f"{line}  [{details}]" if details else line]
        if record.exc_info:
            lines += [f"    {line}" for line in self.formatException(record.exc_info).split("\n")]
        return "\n".join(map(_escape, lines))


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields = {
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **_extra_fields(record),
        }
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return _UNPRINTABLE.sub(_json_escape, json.dumps(fields, ensure_ascii=False, default=str))


# ``str.isprintable`` decides; this finds most lines without one in one step.
_UNPRINTABLE = re.compile(r"[^ -~]")


def _escape(text: str) -> str:
    """Escape what is not printable as Python does it in ``repr``."""
    return _UNPRINTABLE.sub(
        lambda match: match[0] if match[0].isprintable() else match[0].encode("unicode_escape", "backslashreplace").decode(),
        text,
    )


def _json_escape(match: re.Match[str]) -> str:
    """What is not printable, as in JSON with ASCII only (RFC 8259 section 7)."""
    return match[0] if match[0].isprintable() else json.dumps(match[0])[1:-1]


def _extra_fields(record: logging.LogRecord) -> dict[str, object]:
    connection = connection_id.get()
    extra = {name: value for name, value in record.__dict__.items() if name not in _LOG_RECORD_ATTRIBUTES}
    return {"connection_id": connection, **extra} if connection else extra


class _WorkerFilter(logging.Filter):
    """Adds the field ``worker_id`` to each line."""

    def __init__(self, worker_id: int) -> None:
        super().__init__()
        self._worker_id = worker_id

    def filter(self, record: logging.LogRecord) -> bool:
        record.worker_id = self._worker_id
        return True


def choose_format(log_format: str) -> None:
    """The format of ``output_line`` and ``log_uncaught``. ``configure`` calls it, too late for an error in a setting."""
    global _format
    _format = log_format


def output_line(line: str, level: int = logging.INFO) -> str:
    """A line that tells of the program's progress, in the format of the log. What a command was asked to print has none."""
    if _format != "json":
        return line
    return _JsonFormatter().format(logging.LogRecord(log.name, level, "", 0, line, None, None))


def log_uncaught(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    """In place of ``sys.excepthook``: an exception that ends the process is one line where lines are JSON."""
    if _format == "json" and not issubclass(kind, KeyboardInterrupt):
        log.critical("unexpected error", exc_info=(kind, error, traceback))
    else:
        sys.__excepthook__(kind, error, traceback)


class FailureLog:
    """Warns of something that is tried again and again: of each cause once, and again every REPEAT_SECONDS with a count.

    Texts that differ in numbers only are one cause. ``recovered`` forgets them all.
    """

    def __init__(self, logger: logging.Logger, clock: Callable[[], float] = time.monotonic) -> None:
        self._logger = logger
        self._clock = clock
        # By cause: when it was logged last, and how often it has come since.
        self._causes: dict[str, tuple[float, int]] = {}

    def report(self, text: str, cause: str | None = None) -> None:
        """It has failed again; the text says why. ``cause``: what texts of one cause have in common, if it is not the text."""
        cause, now = re.sub("[0-9]+", "0", cause or text), self._clock()
        logged_at, count = self._causes.get(cause, (None, 0))
        if logged_at is not None and now - logged_at < REPEAT_SECONDS:
            self._causes[cause] = logged_at, count + 1
            return
        if logged_at is None:
            self._logger.warning("%s", text)
        else:
            self._logger.warning("%s (%d times more in the last %d minutes)", text, count + 1, round((now - logged_at) / 60))
        if len(self._causes) >= MAX_CAUSES:
            self._causes.clear()
        self._causes[cause] = now, 0

    def recovered(self, text: str | None = None) -> None:
        """It works again. Logs ``text`` if a failure had been logged."""
        if self._causes and text is not None:
            self._logger.info("%s", text)
        self._causes.clear()


def _is_of_use(record: logging.LogRecord) -> bool:
    """False for what asyncio says when a TLS connection of nats-py ends: its protocol is meant for connections without TLS."""
    return not record.getMessage().startswith("returning true from eof_received()")


def configure(level: str, log_format: str, worker_id: int | None = None) -> None:
    """Log to standard error. ``worker_id``: the number of this process, where several serve."""
    choose_format(log_format)
    handler = logging.StreamHandler()
    if worker_id is not None:
        handler.addFilter(_WorkerFilter(worker_id))
    handler.setFormatter(_JsonFormatter() if log_format == "json" else _TextFormatter())
    logging.basicConfig(level=level, handlers=[handler])
    # aiohttp's WebSocketResponse warns of subprotocols that it does not know and names them: one may be a token. No module here
    # uses it (docs/adr/010); the level stays, so that one that does cannot log a token.
    logging.getLogger("aiohttp.websocket").setLevel(logging.ERROR)
    logging.getLogger("asyncio").addFilter(_is_of_use)
