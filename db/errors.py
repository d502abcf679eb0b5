"""The errors of `db/`, and the translation of the driver's errors into them.

StoreError                          push/errors.py: what `push/` knows of them
└── DatabaseError                   base; its text is one line for the operator
    ├── DatabaseMisconfigured       an operator must act; the text says what is wrong and how to fix it. Do not retry
    │   └── BadDatabaseUrl          DATABASE_URL itself is wrong
    ├── DatabaseUnavailable         no connection could be opened, or it was lost. Retry
    └── EmbeddedPostgresError       the embedded PostgreSQL could not be started
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
    """Base of the errors of this package. The text is one line for the operator."""


class DatabaseMisconfigured(DatabaseError):
    """An operator must change the address, the password, the privileges or the schema: a retry gives the same error."""


class BadDatabaseUrl(DatabaseMisconfigured):
    """The driver cannot parse DATABASE_URL, or it has an invalid option."""


class DatabaseUnavailable(DatabaseError):
    """The connection failed or the query timed out. A retry may succeed."""


class EmbeddedPostgresError(DatabaseError):
    """The embedded PostgreSQL cannot be started, or its directory is damaged."""


# SQLSTATEs that need an operator (PostgreSQL manual, Appendix A).
_MISCONFIGURED_ERRORS = (
    asyncpg.InvalidAuthorizationSpecificationError,  # class 28: wrong user or password, no pg_hba.conf entry
    asyncpg.InvalidCatalogNameError,  # 3D000: no such database
    asyncpg.InsufficientPrivilegeError,
    asyncpg.UndefinedTableError,
    asyncpg.UndefinedFunctionError,
    asyncpg.InvalidSchemaNameError,
    asyncpg.ReadOnlySQLTransactionError,
)

# A query on a connection that is being lost raises any of these, asyncpg's InterfaceError and InternalClientError included.
_UNAVAILABLE_ERRORS = (
    OSError,
    asyncio.TimeoutError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)


def first_line(error: BaseException) -> str:
    """The first line of the error's text; its class name if it has no text (``TimeoutError()``)."""
    text = str(error).strip().splitlines()
    return text[0] if text else type(error).__name__


def loop_exception_handler(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """For ``loop.set_exception_handler``. Ignores two errors in tasks and futures of the driver that no code of ours awaits.

    * The future of a connect that was cancelled or timed out (asyncpg/connect_utils.py).
    * ``asyncpg.Connection.close`` of a pooled connection that was replaced: it fails if the connection is dead
      (PoolConnectionHolder.acquire).

    Passes everything else to the loop's default handler.
    """
    task = context.get("future")
    closing = isinstance(task, asyncio.Task) and getattr(task.get_coro(), "__qualname__", "") == "Connection.close"
    if not closing and str(context.get("exception")) != "unexpected connection_lost() call":
        loop.default_exception_handler(context)


@contextmanager
def wrap_driver_errors() -> Iterator[None]:
    """Translate each error of the driver or the socket that the block raises into a DatabaseError."""
    try:
        yield
    except DatabaseError:
        raise
    except _UNAVAILABLE_ERRORS as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            # The release of a connection may fail while the task is being cancelled. A cancellation is delivered only once:
            # another error would replace it, and the task would go on.
            raise asyncio.CancelledError from error
        if isinstance(error, asyncpg.ClientConfigurationError):
            raise BadDatabaseUrl(f"DATABASE_URL is not usable: {first_line(error)}") from error
        if isinstance(error, _MISCONFIGURED_ERRORS):
            raise DatabaseMisconfigured(first_line(error)) from error
        raise DatabaseUnavailable(first_line(error)) from error
