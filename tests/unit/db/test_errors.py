"""db.errors: which errors of the driver the event loop ignores, and where all others go; how an error names the server."""

from __future__ import annotations

import asyncio
import errno
import gc
import socket
import ssl
from collections.abc import Coroutine
from typing import Any

import asyncpg
import pytest

from db.errors import (
    BadDatabaseUrl,
    DatabaseError,
    DatabaseMisconfigured,
    DatabaseUnavailable,
    EmbeddedPostgresError,
    cause_of,
    ignore_driver_leftovers,
    name_server,
    wrap_driver_errors,
)


class Connection:
    """In the place of the driver's, whose ``close`` is recognized by its qualified name."""

    async def close(self) -> None:
        raise TimeoutError

    async def query(self) -> None:
        raise TimeoutError


async def abandon(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run it in a task whose exception is never retrieved."""
    task = asyncio.create_task(coroutine)
    await asyncio.wait({task})
    del task
    gc.collect()


async def test_a_failed_close_of_the_driver_is_ignored_and_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    assert asyncpg.Connection.close.__qualname__ == Connection.close.__qualname__
    ignore_driver_leftovers(asyncio.get_running_loop())
    for abandoned, logged in ((Connection().close(), False), (Connection().query(), True)):
        await abandon(abandoned)
        assert ("never retrieved" in caplog.text) == logged


async def test_the_future_of_an_abandoned_connect_is_ignored(caplog: pytest.LogCaptureFixture) -> None:
    ignore_driver_leftovers(asyncio.get_running_loop())
    future = asyncio.get_running_loop().create_future()
    future.set_exception(ConnectionError("unexpected connection_lost() call"))
    del future
    gc.collect()
    assert "never retrieved" not in caplog.text


@pytest.mark.parametrize("calls", [1, 2])
async def test_all_other_errors_reach_the_handler_that_the_loop_had(calls: int, caplog: pytest.LogCaptureFixture) -> None:
    """The handler of a program that has mounted the application. A second call changes nothing."""
    contexts: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: contexts.append(context))
    for _ in range(calls):
        ignore_driver_leftovers(loop)
    installed = loop.get_exception_handler()
    ignore_driver_leftovers(loop)
    assert loop.get_exception_handler() is installed
    await abandon(Connection().close())
    assert contexts == []
    await abandon(Connection().query())
    assert [type(context["exception"]) for context in contexts] == [TimeoutError]
    assert "never retrieved" not in caplog.text


URL = "postgresql://user:secret@db.example/shop"


def named(error: Exception, url: str = URL, setting: str | None = "DATABASE_URL") -> DatabaseError:
    with pytest.raises(DatabaseError) as raised, name_server(url, setting), wrap_driver_errors():
        raise error
    return raised.value


@pytest.mark.parametrize(
    ("cause", "text"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connect call failed ('10.0.0.1', 5432)"), "Connection refused"),
        (OSError(errno.EHOSTUNREACH, "Connect call failed ('10.0.0.1', 5432)"), "No route to host"),
        (OSError("Multiple exceptions: 1, 2"), "Multiple exceptions: 1, 2"),
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "Name or service not known"),
        (ssl.SSLError(1, "wrong version number"), "wrong version number"),
        (TimeoutError(), "no answer in time"),
        (asyncpg.ConnectionDoesNotExistError("connection was closed"), "connection was closed"),
    ],
)
async def test_an_error_without_a_connection_names_the_server_and_its_setting(cause: Exception, text: str) -> None:
    error = named(cause)
    assert type(error) is DatabaseUnavailable
    assert str(error) == f"PostgreSQL at db.example:5432 (DATABASE_URL) cannot be reached: {text}"


async def test_the_driver_s_state_machine_is_not_spoken_of() -> None:
    with pytest.raises(DatabaseUnavailable) as raised, wrap_driver_errors():
        raise asyncpg.InternalClientError("cannot switch to state 15; another operation (2) is in progress")
    assert str(raised.value) == "the connection is lost"


@pytest.mark.parametrize(
    ("cause", "kind"),
    [
        (asyncpg.InvalidPasswordError("because"), DatabaseMisconfigured),
        (asyncpg.InvalidAuthorizationSpecificationError("because"), DatabaseMisconfigured),
        (asyncpg.InvalidCatalogNameError("because"), DatabaseUnavailable),
        (asyncpg.CannotConnectNowError("because"), DatabaseUnavailable),
        (asyncpg.TooManyConnectionsError("because"), DatabaseUnavailable),
    ],
)
async def test_so_does_a_refusal_by_postgresql(cause: Exception, kind: type[DatabaseError]) -> None:
    error = named(cause)
    assert type(error) is kind
    assert str(error) == "PostgreSQL at db.example:5432 (DATABASE_URL) refuses the connection: because"


@pytest.mark.parametrize(
    ("cause", "text"),
    [
        (asyncpg.InvalidPasswordError("because"), "the database refuses the server's password"),
        (
            asyncpg.InvalidAuthorizationSpecificationError('role "shop" is not permitted to log in'),
            "the server's role may not log in (NOLOGIN)",
        ),
        (asyncpg.InvalidAuthorizationSpecificationError("no pg_hba.conf entry"), "the database refuses the server's login"),
        (asyncpg.InvalidCatalogNameError("because"), "the database does not exist"),
        (asyncpg.TooManyConnectionsError("because"), "the database has no free connection for the server"),
        (asyncpg.CannotConnectNowError("because"), "the database is starting up or shutting down"),
        (asyncpg.ReadOnlySQLTransactionError("because"), "the database is read-only"),
        (ssl.SSLCertVerificationError(1, "because"), "the TLS connection to the database fails"),
        (ConnectionError('PostgreSQL server at "h:1" rejected SSL upgrade'), "the database does not offer TLS"),
        (ConnectionRefusedError(errno.ECONNREFUSED, "because"), "the database cannot be reached"),
    ],
)
async def test_the_cause_for_any_client_has_no_names(cause: Exception, text: str) -> None:
    assert named(cause).public_text == text


async def test_texts_of_one_cause_count_as_one() -> None:
    broken = [ConnectionResetError(errno.ECONNRESET, "x"), ConnectionError("unexpected connection_lost() call")]
    assert {cause_of(named(error)) for error in [*broken, asyncpg.InterfaceError("connection is closed")]} == {
        "the connection breaks"
    }
    gone = [asyncpg.InvalidSchemaNameError('schema "orderwire"'), asyncpg.UndefinedTableError('relation "orderwire.x"')]
    assert len({cause_of(named(error)) for error in gone}) == 1
    others = [ConnectionRefusedError(errno.ECONNREFUSED, "x"), TimeoutError(), asyncpg.TooManyConnectionsError("x")]
    assert len({cause_of(named(error)) for error in others}) == 3


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("postgresql://db.example:6432/shop", "PostgreSQL at db.example:6432"),
        ("postgresql://u:p@a:1,b/shop?port=7", "PostgreSQL at a:1,b:7"),
        ("postgres://u:p@[::1]/shop", "PostgreSQL at [::1]:5432"),
        ("postgres://u:p@[::1]:9/shop", "PostgreSQL at [::1]:9"),
        ("postgresql://u:secret@%2Fvar%2Frun/shop", "PostgreSQL at /var/run"),
        ("postgresql:///shop?host=/var/run&password=secret", "PostgreSQL at /var/run"),
        ("postgresql:///shop?host=db.example&port=7", "PostgreSQL at db.example:7"),
        ("postgresql:///shop?host=a,b&port=7,8", "PostgreSQL at a:7,b:8"),
        ("postgresql:///shop", "PostgreSQL"),
        ("postgresql://u:1/secret@db.example/shop", "PostgreSQL"),
        ("postgresql://u:1#secret@db.example/shop", "PostgreSQL at db.example:5432"),
        ("postgresql://u:sec@ret@db.example/shop", "PostgreSQL at db.example:5432"),
        ("postgresql://u:secret@[db.example/shop", "PostgreSQL"),
    ],
)
async def test_the_address_is_named_without_user_and_password(url: str, server: str) -> None:
    assert str(named(TimeoutError(), url, None)) == f"{server} cannot be reached: no answer in time"


async def test_an_error_is_named_once_by_the_innermost_setting() -> None:
    with pytest.raises(DatabaseUnavailable) as raised, name_server("postgresql://outer/shop", "DATABASE_URL"):
        raise named(TimeoutError(), URL, "MIGRATE_DATABASE_URL")
    assert str(raised.value).startswith("PostgreSQL at db.example:5432 (MIGRATE_DATABASE_URL) ")


async def test_an_option_that_the_driver_refuses_names_its_setting() -> None:
    error = named(asyncpg.ClientConfigurationError("no such sslmode"), setting="MIGRATE_DATABASE_URL")
    assert type(error) is BadDatabaseUrl
    assert str(error) == "MIGRATE_DATABASE_URL is not usable: no such sslmode"


@pytest.mark.parametrize(
    "error",
    [
        asyncpg.UndefinedTableError("no such table"),
        DatabaseMisconfigured("the database is a read-only standby"),
        EmbeddedPostgresError("the embedded PostgreSQL has ended"),
    ],
)
async def test_all_other_errors_are_as_they_were(error: Exception) -> None:
    assert str(named(error)) == str(error)


@pytest.mark.parametrize(
    ("cause", "role", "text"),
    [
        (
            asyncpg.InsufficientPrivilegeError("permission denied for schema orderwire"),
            "web",
            "the role web may not read all that serving reads: as the owner of the schema, "
            "select orderwire.grant_serving('web') (permission denied for schema orderwire)",
        ),
        (
            asyncpg.InsufficientPrivilegeError("permission denied for table journal"),
            "Web's",
            "the role Web's may not read all that serving reads: as the owner of the schema, "
            "select orderwire.grant_serving('\"Web''s\"') (permission denied for table journal)",
        ),
        (
            asyncpg.InvalidSchemaNameError('schema "orderwire" does not exist'),
            None,
            'the schema orderwire is gone or not up to date: python server.py migrate (schema "orderwire" does not exist)',
        ),
        (asyncpg.InsufficientPrivilegeError("permission denied for table orders"), None, "permission denied for table orders"),
        (asyncpg.UndefinedTableError('relation "orders" does not exist'), None, 'relation "orders" does not exist'),
    ],
)
async def test_a_missing_schema_or_privilege_says_what_to_run(cause: Exception, role: str | None, text: str) -> None:
    with pytest.raises(DatabaseMisconfigured) as raised, wrap_driver_errors(role):
        raise cause
    assert str(raised.value) == text
