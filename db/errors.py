"""The errors of `db/`, and the translation of the driver's errors into them.

StoreError                          push/errors.py: what `push/` knows of them
└── DatabaseError                   base; its text is one line for the operator
    ├── DatabaseMisconfigured       an operator must act; the text says what is wrong and how to fix it. Do not retry
    │   ├── BadDatabaseUrl          DATABASE_URL itself is wrong
    │   │   └── PoolerInTransactionMode  it is the address of a pooler that shares sessions
    │   ├── SchemaMissing           the schema orderwire, or a part of it, is not there
    │   └── PrivilegeMissing        the role lacks one
    ├── DatabaseUnavailable         no connection could be opened, or it was lost. Retry
    │   ├── DatabaseTimeout         a query took too long; the connection was good
    │   └── UnreadableData          PostgreSQL cannot compute what is stored there; the connection is good
    └── EmbeddedPostgresError       the embedded PostgreSQL could not be started
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
import ssl
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import asyncpg

from database_url import DatabaseUrl
from push.errors import StoreError

__all__ = [
    "BadDatabaseUrl",
    "DatabaseError",
    "DatabaseMisconfigured",
    "DatabaseTimeout",
    "DatabaseUnavailable",
    "EmbeddedPostgresError",
    "PoolerInTransactionMode",
    "PrivilegeMissing",
    "SchemaMissing",
    "UnreadableData",
    "cause_of",
    "first_line",
    "ignore_driver_leftovers",
    "name_server",
    "role_of",
    "with_server_name",
    "wrap_driver_errors",
]


class DatabaseError(StoreError):
    """Base of the errors of this package. The text is one line for the operator."""

    # Whether the pool could open no connection. The listener reports that, since it gets none either.
    without_connection = False


class DatabaseMisconfigured(DatabaseError):
    """An operator must change the address, the password, the privileges or the schema: a retry gives the same error."""


class BadDatabaseUrl(DatabaseMisconfigured):
    """DATABASE_URL cannot be parsed, names a file that cannot be read, or has an option that the server rejects."""

    public_text = "the address of the database is not usable: the server's log says why"


class PoolerInTransactionMode(BadDatabaseUrl):
    """The address is that of a pooler which gives each transaction to any session: LISTEN, settings and locks need their own.

    ``server`` is the address for people.
    """

    public_text = "the database's address leads to a connection pooler in transaction mode, which cannot be used"

    def __init__(self, server: str = "PostgreSQL") -> None:
        super().__init__(
            f"{server} is behind a connection pooler in transaction mode (such as PgBouncer), which loses notifications and "
            "lets other programs have our sessions: use the address of PostgreSQL itself, or of a pooler in session mode"
        )


class SchemaMissing(DatabaseMisconfigured):
    """The schema orderwire is gone, or older than this version."""

    public_text = "the schema orderwire is not in the database, or is not up to date: python server.py migrate"


class PrivilegeMissing(DatabaseMisconfigured):
    """The role may not read what it has to."""

    public_text = "the server's role lacks a privilege in the database: its log and python server.py doctor say which"


class DatabaseUnavailable(DatabaseError):
    """The connection failed or the query timed out. A retry may succeed."""


class DatabaseTimeout(DatabaseUnavailable):
    """A query on a good connection took too long."""

    public_text = "the database took longer than DATABASE_TIMEOUT_SECONDS for this"


class UnreadableData(DatabaseUnavailable):
    """A query fails because of what is stored: a value that is too large or invalid, or a damaged row."""


class EmbeddedPostgresError(DatabaseError):
    """The embedded PostgreSQL cannot be started, or its directory is damaged."""


# Errors that need an operator: SQLSTATEs (PostgreSQL manual, Appendix A), and a certificate that is not trusted. Not 3D000, no
# such database: it may be created any moment, as a server may be started.
_MISCONFIGURED_ERRORS = (
    asyncpg.InvalidAuthorizationSpecificationError,  # class 28: wrong user or password, no pg_hba.conf entry
    asyncpg.InsufficientPrivilegeError,
    asyncpg.UndefinedTableError,
    asyncpg.UndefinedFunctionError,
    asyncpg.InvalidSchemaNameError,
    asyncpg.ReadOnlySQLTransactionError,
    ssl.SSLCertVerificationError,
)

# Classes of SQLSTATEs of UnreadableData: data exception, program limit exceeded, internal error.
_DATA_ERROR_CLASSES = ("22", "54", "XX")

# Of those that need an operator, the ones that a missing or old schema gives.
_MISSING_ERRORS = (asyncpg.UndefinedTableError, asyncpg.UndefinedFunctionError, asyncpg.InvalidSchemaNameError)

# Errors of a connection that could not be opened: PostgreSQL has answered, and there is no sign of PostgreSQL.
_REFUSED_ERRORS = (
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.CannotConnectNowError,  # 57P03: it is starting up or shutting down
    asyncpg.ObjectNotInPrerequisiteStateError,  # 55000: the database accepts no connections
    asyncpg.TooManyConnectionsError,
)
_UNREACHABLE_ERRORS = (OSError, asyncpg.PostgresConnectionError)

# A query on a connection that is being lost raises any of these, asyncpg's InterfaceError and InternalClientError included.
_UNAVAILABLE_ERRORS = (
    OSError,
    asyncio.TimeoutError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)

# What any client may read of an error: no names. The first that fits; else the ``public_text`` of the error's class.
_PUBLIC_TEXTS: tuple[tuple[type[BaseException], str, str], ...] = (
    (asyncpg.InvalidPasswordError, "", "the database refuses the server's password"),
    (asyncpg.InvalidAuthorizationSpecificationError, "not permitted to log in", "the server's role may not log in (NOLOGIN)"),
    (asyncpg.InvalidAuthorizationSpecificationError, "", "the database refuses the server's login"),
    (asyncpg.InvalidCatalogNameError, "", "the database does not exist"),
    (asyncpg.ObjectNotInPrerequisiteStateError, "not currently accepting connections", "the database accepts no connections"),
    (asyncpg.TooManyConnectionsError, "", "the database has no free connection for the server"),
    (asyncpg.CannotConnectNowError, "", "the database is starting up or shutting down"),
    (asyncpg.ReadOnlySQLTransactionError, "", "the database is read-only"),
    (ssl.SSLError, "", "the TLS connection to the database fails"),
    (ConnectionError, "rejected SSL upgrade", "the database does not offer TLS"),
)


def first_line(error: BaseException) -> str:
    """The first line of the error's text; its class name if it has no text (``TimeoutError()``)."""
    text = str(error).strip().splitlines()
    return text[0] if text else type(error).__name__


def cause_of(error: BaseException) -> str:
    """What the texts of one cause have in common. Of a schema that is gone PostgreSQL misses now this, now that; a connection
    that breaks is noticed now here, now there.
    """
    if isinstance(error, SchemaMissing):
        return error.public_text
    innermost: BaseException = error
    while innermost.__cause__ is not None:
        innermost = innermost.__cause__
        if isinstance(innermost, SchemaMissing):
            return innermost.public_text
    is_refused = isinstance(innermost, ConnectionRefusedError) or _is_without_tls(innermost)
    # The driver says InternalClientError where the connection is closed between two of its steps.
    broken = (ConnectionError, asyncpg.ConnectionDoesNotExistError, asyncpg.InterfaceError, asyncpg.InternalClientError)
    return "the connection breaks" if isinstance(innermost, broken) and not is_refused else str(error)


def ignore_driver_leftovers(loop: asyncio.AbstractEventLoop) -> None:
    """Have the loop ignore two errors in tasks and futures of the driver that no code of ours awaits.

    * The future of a connect that was cancelled or timed out (asyncpg/connect_utils.py).
    * ``asyncpg.Connection.close`` of a pooled connection that was replaced: it fails if the connection is dead
      (PoolConnectionHolder.acquire).

    The exception handler that the loop has now gets everything else: the loop may belong to a program that has mounted the
    application. Not undone at the end, since asyncio reports such an error when the future is garbage-collected.
    """
    current = loop.get_exception_handler()
    if not isinstance(current, _LeftoverFilter):
        loop.set_exception_handler(_LeftoverFilter(current))


class _LeftoverFilter:
    """An exception handler of a loop that passes on what is not from the driver; None for the loop's default handler."""

    def __init__(self, next_handler: Callable[[asyncio.AbstractEventLoop, dict[str, Any]], object] | None) -> None:
        self._next_handler = next_handler

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        task = context.get("future")
        closing = isinstance(task, asyncio.Task) and getattr(task.get_coro(), "__qualname__", "") == "Connection.close"
        if closing or str(context.get("exception")) == "unexpected connection_lost() call":
            return
        if self._next_handler is None:
            loop.default_exception_handler(context)
        else:
            self._next_handler(loop, context)


def role_of(connection: Any) -> str | None:
    """The role that this connection of the driver has logged in as."""
    role: str | None = getattr(connection.get_settings(), "session_authorization", None)
    return role


@contextmanager
def wrap_driver_errors(role: str | None = None, time_limit: str | None = None) -> Iterator[None]:
    """Translate each error of the driver or the socket that the block raises into a DatabaseError.

    ``role`` is that of a connection which serves: if it lacks a privilege, the text says how to grant it. ``time_limit``, for
    people, is that of the queries in the block, on a connection that is open.
    """
    try:
        yield
    except DatabaseError:
        raise
    except (*_UNAVAILABLE_ERRORS, AttributeError) as error:
        if isinstance(error, AttributeError) and not _is_of_terminated_connection(error):
            raise
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            # The release of a connection may fail while the task is being cancelled. A cancellation is delivered only once:
            # another error would replace it, and the task would go on.
            raise asyncio.CancelledError from error
        raise _translated(error, role, time_limit) from error


def _is_of_terminated_connection(error: AttributeError) -> bool:
    """Whether another task has terminated the connection between two steps of the driver, which goes on without a protocol."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return error.obj is None and frames[-1].f_globals.get("__name__", "").startswith("asyncpg.")


def _translated(error: BaseException, role: str | None, time_limit: str | None) -> DatabaseError:
    translated = _classified(error, role, time_limit)
    if _may_not_connect(error):
        translated.public_text = "the database refuses the server's login"
    for kind, part, public_text in _PUBLIC_TEXTS:
        if isinstance(error, kind) and part in str(error):
            translated.public_text = public_text
            break
    return translated


def _classified(error: BaseException, role: str | None, time_limit: str | None) -> DatabaseError:
    text = first_line(error)
    if isinstance(error, asyncpg.InternalClientError | AttributeError):
        text = "the connection is lost"  # the driver tells of its state machine
    if isinstance(error, asyncpg.ClientConfigurationError):
        return BadDatabaseUrl(f"DATABASE_URL is not usable: {text}")
    if isinstance(error, _MISCONFIGURED_ERRORS) or _is_without_tls(error):
        return _misconfigured(error, role)
    if isinstance(error, TimeoutError) and time_limit is not None:
        return DatabaseTimeout(f"a query took longer than {time_limit}")
    if isinstance(error, asyncpg.QueryCanceledError):
        return DatabaseTimeout(text)
    if isinstance(error, asyncpg.PostgresError) and (error.sqlstate or "").startswith(_DATA_ERROR_CLASSES):
        return UnreadableData(text)
    return DatabaseUnavailable(text)


def _may_not_connect(error: BaseException) -> bool:
    """Whether the role lacks CONNECT. Its SQLSTATE is that of every missing privilege."""
    return isinstance(error, asyncpg.InsufficientPrivilegeError) and "CONNECT" in (getattr(error, "detail", None) or "")


def _is_without_tls(error: BaseException) -> bool:
    """Whether sslmode wants TLS, and the server has answered that it has none. The driver has no class of its own for it."""
    return isinstance(error, ConnectionError) and "rejected SSL upgrade" in str(error)


def _misconfigured(error: BaseException, role: str | None) -> DatabaseMisconfigured:
    """With the first line of the error's text, and the way out where it is about the schema."""
    text = first_line(error)
    if isinstance(error, _MISSING_ERRORS) and "orderwire" in text:
        return SchemaMissing(f"the schema orderwire is gone or not up to date: python server.py migrate ({text})")
    if isinstance(error, asyncpg.InsufficientPrivilegeError) and (role is not None or "orderwire" in text):
        name = "this role" if role is None else f"the role {role}"
        argument = "…" if role is None else _quoted_role(role)
        grant = f"as the owner of the schema, select orderwire.grant_serving('{argument}')"
        return PrivilegeMissing(f"{name} may not read all that serving reads: {grant} ({text})")
    return DatabaseMisconfigured(text)


def _quoted_role(role: str) -> str:
    """As it stands in a string constant that is cast to regrole."""
    quoted = role if re.fullmatch(r"[a-z_][a-z0-9_]*", role) else '"' + role.replace('"', '""') + '"'
    return quoted.replace("'", "''")


@contextmanager
def name_server(url: str, setting: str | None = None) -> Iterator[None]:
    """Name the server in the errors of the block that say that there is no connection to it, as ``with_server_name`` does."""
    try:
        yield
    except DatabaseError as error:
        named = with_server_name(error, url, setting)
        if named is error:
            raise
        raise named from error


def with_server_name(error: DatabaseError, url: str, setting: str | None = None) -> DatabaseError:
    """The error with a text that names the server: its address in ``url``, without the password, and the setting that has it.

    Returns ``error`` itself if it does not come from ``wrap_driver_errors``, or is not about the connection. ``setting`` is
    None for a server that no setting names.
    """
    cause = error.__cause__
    if isinstance(cause, DatabaseError):  # it has been named
        return error
    named = [] if setting is None else [f"({setting})"]
    server = " ".join(["PostgreSQL", *_address(url), *named])
    if isinstance(error, PoolerInTransactionMode):
        return PoolerInTransactionMode(server)
    if isinstance(error, BadDatabaseUrl) and setting is not None and cause is not None:
        return BadDatabaseUrl(f"{setting} is not usable: {first_line(cause)}")
    if cause is None or str(error) != first_line(cause):
        return error
    if isinstance(cause, _REFUSED_ERRORS) or _may_not_connect(cause):
        what = "refuses the connection"
    elif isinstance(cause, _UNREACHABLE_ERRORS):
        what = "cannot be reached"
    else:
        return error
    renamed = type(error)(f"{server} {what}: {_reason(cause)}")
    renamed.public_text = error.public_text
    return renamed


def _address(url: str) -> list[str]:
    """["at", "HOST:PORT"]. Empty where the URL has no host, or is not one."""
    try:
        address = DatabaseUrl.parse(url).address
    except ValueError:
        return []
    return ["at", address] if address else []


def _reason(cause: BaseException) -> str:
    if _is_without_tls(cause):
        return "it does not offer TLS, which the sslmode of the address asks for"
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {getattr(cause, 'verify_message', first_line(cause))}"
    if isinstance(cause, TimeoutError) and not str(cause):
        return "no answer in time"
    if isinstance(cause, OSError) and cause.errno and not isinstance(cause, (socket.gaierror, ssl.SSLError)):
        return os.strerror(cause.errno)  # asyncio's text repeats the address
    if isinstance(cause, socket.gaierror):
        return str(cause.strerror)
    return first_line(cause)
