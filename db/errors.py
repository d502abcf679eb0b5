"""Errors of the database side.

DatabaseError
├── DatabaseUnusable    retrying will not help until somebody acts: the message says what is wrong and the mend
│   └── BadAddress      the address itself cannot be used
├── DatabaseAway        the connection could not be made or was lost: retry
└── EmbeddedError       the PostgreSQL that we run ourselves could not be started
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import asyncpg

from push.errors import StoreError

__all__ = [
    "BadDatabaseUrl",
    "DatabaseError",
    "DatabaseMisconfigured",
    "DatabaseUnavailable",
    "EmbeddedPostgresError",
    "first_line",
    "loop_exception_handler",
    "wrap_driver_errors",
]


class DatabaseError(StoreError):
    """Base of all errors of this package; its text is one line for people."""


class DatabaseMisconfigured(DatabaseError):
    """Retrying will not help until somebody acts."""


class BadDatabaseUrl(DatabaseMisconfigured):
    """DATABASE_URL cannot be used, whatever is at the other end."""


class DatabaseUnavailable(DatabaseError):
    """The database cannot be reached right now."""


class EmbeddedPostgresError(DatabaseError):
    """The embedded PostgreSQL cannot be started."""


# Somebody has to change the address, the password, the rights or the schema (Appendix A of the PostgreSQL manual).
_MISCONFIGURED_ERRORS = (
    asyncpg.InvalidAuthorizationSpecificationError,  # class 28: wrong user or password, no pg_hba.conf entry
    asyncpg.InvalidCatalogNameError,  # 3D000: no such database
    asyncpg.InsufficientPrivilegeError,
    asyncpg.UndefinedTableError,
    asyncpg.UndefinedFunctionError,
    asyncpg.InvalidSchemaNameError,
    asyncpg.ReadOnlySQLTransactionError,
)

# A command that races a dying connection raises any of these; asyncpg's own InternalClientError and InterfaceError too.
_UNAVAILABLE_ERRORS = (
    OSError,
    asyncio.TimeoutError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)


def first_line(error: BaseException) -> str:
    """The error's first line, or its name when it has no text (``TimeoutError()``)."""
    text = str(error).strip().splitlines()
    return text[0] if text else type(error).__name__


def loop_exception_handler(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """For ``loop.set_exception_handler``. Of what the driver leaves behind nobody else knows, and nobody wants to know: the
    future of a connect that is cancelled or timed out (a drain, a database that does not answer; asyncpg/connect_utils.py), and
    the closing of a connection that has been replaced, which fails on a line that is dead (PoolConnectionHolder.acquire).
    """
    task = context.get("future")
    closing = isinstance(task, asyncio.Task) and getattr(task.get_coro(), "__qualname__", "") == "Connection.close"
    if not closing and str(context.get("exception")) != "unexpected connection_lost() call":
        loop.default_exception_handler(context)


@contextmanager
def wrap_driver_errors() -> Iterator[None]:
    """The seam: whatever the driver or the socket raises leaves as one of our errors."""
    try:
        yield
    except DatabaseError:
        raise
    except _UNAVAILABLE_ERRORS as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            # Giving a connection back may fail while the task is being cancelled; that must not undo the cancelling,
            # which comes once only.
            raise asyncio.CancelledError from error
        if isinstance(error, asyncpg.ClientConfigurationError):
            raise BadDatabaseUrl(f"DATABASE_URL is not usable: {first_line(error)}") from error
        if isinstance(error, _MISCONFIGURED_ERRORS):
            raise DatabaseMisconfigured(first_line(error)) from error
        raise DatabaseUnavailable(first_line(error)) from error
