"""Opens connections to PostgreSQL: what the address says about TLS and files, in the words of libpq, for the driver.

The driver itself reads a URL differently from libpq: it takes parameters that it does not know for settings of PostgreSQL, and
fails where the home directory cannot be read. So it gets the parts of the address, and a TLS context that is made here.
"""

from __future__ import annotations

import asyncio
import configparser
import getpass
import os
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import asyncpg

from database_url import ENVIRONMENT, DatabaseUrl, Server
from db.errors import (
    BadDatabaseUrl,
    DatabaseError,
    PoolerInTransactionMode,
    ignore_driver_leftovers,
    role_of,
    wrap_driver_errors,
)
from db.pooler import shares_its_session
from push.backoff import Backoff

__all__ = ["CONNECT_TIMEOUT_SECONDS", "Connection", "PoolConnector", "connect", "open_connection"]

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

# For each attempt, unless the URL has a connect_timeout.
CONNECT_TIMEOUT_SECONDS = 5.0
# Of a pool, whose callers do not wait.
INITIAL_BACKOFF_SECONDS = 0.1
MAX_BACKOFF_SECONDS = 2.0
# ``db.errors.name_server`` puts the setting in place of DATABASE_URL.
_NOT_USABLE = "DATABASE_URL is not usable: expected "

# What PostgreSQL and PgBouncer say of a parameter in ``options`` that they do not know or take.
_BAD_OPTION_ERRORS = (
    asyncpg.UndefinedObjectError,
    asyncpg.InvalidParameterValueError,
    asyncpg.CantChangeRuntimeParamError,
    asyncpg.InsufficientPrivilegeError,
    asyncpg.ProtocolViolationError,
    asyncpg.PostgresSyntaxError,
)
# After these the next server of the address is tried; any other answer of PostgreSQL counts for all of them.
_NEXT_SERVER_ERRORS = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.TargetServerAttributeNotMatched,
)


async def connect(url: str, program: str = "orderwire", *, check_pooler: bool = True, **options: Any) -> Connection:
    """A new connection. The servers of the address are tried in turn, each with and without TLS where its sslmode allows both.

    ``program`` becomes the application_name, in which that of the address takes the place of "orderwire". ``options`` are
    further arguments of ``asyncpg.connect``. Raises BadDatabaseUrl, the driver's errors, and unless ``check_pooler`` is False
    PoolerInTransactionMode.
    """
    login = _Login.from_url(url)
    connection = await login.open(program, options)
    try:
        if check_pooler and await shares_its_session(connection, lambda: login.open(program, options)):
            raise PoolerInTransactionMode
    except BaseException:
        connection.terminate()
        raise
    return connection


@asynccontextmanager
async def open_connection(url: str, program: str = "orderwire") -> AsyncIterator[Connection]:
    """A connection for one task of an operator: to install, attach, diagnose. It is terminated at the end.

    Raises DatabaseError, which the driver's errors become, also those of the caller's statements.
    """
    with wrap_driver_errors():
        connection = await connect(url, program)
        try:
            yield connection
        finally:
            connection.terminate()


class PoolConnector:
    """Opens the connections of a pool. After a failure, the next attempts fail with the same error until the back-off is over:
    else every request of a client would be another login.
    """

    def __init__(self, get_url: Callable[[], str], on_connect: Callable[[Connection], Awaitable[None]]) -> None:
        """``get_url`` is called before each attempt. ``on_connect`` is awaited with each new connection: what it raises is a
        failure to connect.
        """
        self._get_url = get_url
        self._on_connect = on_connect
        self._backoff = Backoff(INITIAL_BACKOFF_SECONDS, MAX_BACKOFF_SECONDS)
        self._error: DatabaseError | None = None
        self._retry_at = 0.0
        # How many connections have been opened.
        self.opened = 0

    async def connect(self, dsn: str | None = None, **options: Any) -> Connection:
        """For asyncpg's pool, which has no DSN of its own: ``dsn`` is None. Raises DatabaseError.

        The address is not checked for a pooler: that is for the listener, which has the same one.
        """
        assert dsn is None
        loop = asyncio.get_running_loop()
        if self._error is not None and loop.time() < self._retry_at:
            raise copy(self._error)
        try:
            with wrap_driver_errors():
                connection = await connect(self._get_url(), check_pooler=False, **options)
                try:
                    with wrap_driver_errors(role_of(connection)):
                        await self._on_connect(connection)
                except BaseException:
                    connection.terminate()
                    raise
        except DatabaseError as error:
            error.without_connection = True
            self._error, self._retry_at = error, loop.time() + self._backoff.next_delay()
            raise
        self.opened += 1
        self.reset()
        return connection

    def reset(self) -> None:
        """Allow the next attempt at once."""
        self._error = None
        self._backoff.reset()


@dataclass(frozen=True, slots=True)
class _Login:
    """What the driver needs to know. ``tls``: the contexts to try in turn, False for none."""

    target: DatabaseUrl
    user: str
    passfile: Path | None
    tls: tuple[ssl.SSLContext | bool, ...]

    @classmethod
    def from_url(cls, url: str) -> _Login:
        """Raises BadDatabaseUrl, also for a file that cannot be read."""
        try:
            target = _resolve(url)
            passfile = target.parameters.get("passfile")
            return cls(target, _user(target), _readable("passfile", passfile) if passfile else None, _tls_contexts(target))
        except ValueError as error:
            raise BadDatabaseUrl(f"{_NOT_USABLE}{error}") from ValueError(f"expected {error}")

    @property
    def _default_session_attrs(self) -> str | None:
        """Of several servers, the one that can be written to: a standby must not be read."""
        return "read-write" if len(self.target.servers) > 1 else None

    async def open(self, program: str, options: Mapping[str, Any]) -> Connection:
        """Raises the last server's error, and BadDatabaseUrl if a server rejects what is in ``options`` of the address."""
        for server in self.target.servers[:-1]:
            try:
                return await self._open_server(server, program, options)
            except _NEXT_SERVER_ERRORS:
                continue
        return await self._open_server(self.target.servers[-1], program, options)

    async def _open_server(self, server: Server, program: str, options: Mapping[str, Any]) -> Connection:
        contexts = (False,) if server.is_socket else self.tls
        for context in contexts[:-1]:
            try:
                return await self._open(server, context, program, options)
            except (TimeoutError, asyncpg.InvalidPasswordError):
                raise
            except (
                OSError,
                asyncpg.InvalidAuthorizationSpecificationError,
            ) as error:  # no TLS there, or pg_hba.conf wants none
                first_error = error
        try:
            return await self._open(server, contexts[-1], program, options)
        except asyncpg.InvalidAuthorizationSpecificationError:
            if len(contexts) > 1 and isinstance(first_error, asyncpg.PostgresError):
                raise first_error from None
            raise

    async def _open(
        self, server: Server, context: ssl.SSLContext | bool, program: str, options: Mapping[str, Any]
    ) -> Connection:
        parameters = self.target.parameters
        settings = {"application_name": program}
        if name := parameters.get("application_name"):
            settings["application_name"] = program.replace("orderwire", name, 1)
        if "options" in parameters:
            settings["options"] = parameters["options"]
        ignore_driver_leftovers(asyncio.get_running_loop())
        try:
            return await asyncpg.connect(
                **{
                    "host": server.host,
                    "port": server.port,
                    "user": self.user,
                    "password": self.target.password,
                    "passfile": self.passfile,
                    "database": self.target.database,
                    "ssl": context,
                    "direct_tls": parameters.get("sslnegotiation") == "direct" and bool(context),
                    "target_session_attrs": parameters.get("target_session_attrs", self._default_session_attrs),
                    "krbsrvname": parameters.get("krbsrvname"),
                    "gsslib": parameters.get("gsslib"),
                    "server_settings": settings,
                    "timeout": self.target.connect_timeout or CONNECT_TIMEOUT_SECONDS,
                    **options,
                }
            )
        except _BAD_OPTION_ERRORS as error:
            if "options" in parameters and re.search("option|parameter|argument", str(error)):
                raise BadDatabaseUrl(f"DATABASE_URL is not usable: options: {error}") from ValueError(f"options: {error}")
            raise


def _resolve(url: str) -> DatabaseUrl:
    """With libpq's environment variables and service file for what the URL leaves out. Raises ValueError."""
    defaults = {name: value for variable, name in ENVIRONMENT.items() if (value := os.environ.get(variable))}
    target = DatabaseUrl.parse(url, defaults)
    service = target.parameters.get("service")
    return target if service is None else DatabaseUrl.parse(url, {**defaults, **_service_parameters(service)})


def _service_parameters(service: str) -> dict[str, str]:
    named = os.environ.get("PGSERVICEFILE")
    path = Path(named) if named else _home_file(".pg_service.conf")
    parser = configparser.ConfigParser(interpolation=None, delimiters=("=",))
    if path is not None:
        try:
            parser.read_string(_readable("PGSERVICEFILE", str(path)).read_text(encoding="utf-8"))
        except (configparser.Error, UnicodeDecodeError):
            raise ValueError(f"{path} to be a service file of libpq") from None
    if service not in parser:
        raise ValueError(f"service={service} to be in {path or 'PGSERVICEFILE or ~/.pg_service.conf'}")
    return dict(parser[service])


def _user(target: DatabaseUrl) -> str:
    if target.user is not None:
        return target.user
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # a container may run as a user id that has no name
        raise ValueError("the name of a user: postgresql://user:password@host:5432/database") from None


# ---------------------------------------------------------------- TLS


def _tls_contexts(target: DatabaseUrl) -> tuple[ssl.SSLContext | bool, ...]:
    mode = target.parameters["sslmode"]
    if mode == "disable" or all(server.is_socket for server in target.servers):
        return (False,)
    context = _tls_context(mode, target.parameters)
    match mode:
        case "allow":
            return (False, context)
        case "prefer":
            return (context, False)
    return (context,)


def _tls_context(mode: str, parameters: Mapping[str, str]) -> ssl.SSLContext:
    """Raises ValueError for a file that cannot be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["postgresql"])  # version 17 requires it for direct TLS
    lowest = parameters.get("ssl_min_protocol_version", "TLSv1.2")
    context.minimum_version = ssl.TLSVersion[lowest.replace(".", "_")]
    if highest := parameters.get("ssl_max_protocol_version"):
        context.maximum_version = ssl.TLSVersion[highest.replace(".", "_")]
    _load_own_certificate(context, parameters)
    if mode in ("require", "verify-ca", "verify-full"):
        _load_roots(context, mode, parameters.get("sslrootcert"))
    elif root := parameters.get("sslrootcert"):
        _readable("sslrootcert", root)
    if context.verify_mode == ssl.CERT_REQUIRED and (crl := _named_or_home_file("sslcrl", "root.crl", parameters)):
        _load(f"sslcrl={crl} to have a revocation list in PEM form", lambda: context.load_verify_locations(cafile=crl))
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN
    return context


def _load_roots(context: ssl.SSLContext, mode: str, named: str | None) -> None:
    """Without a root certificate "require" only encrypts, as with libpq."""
    if named == "system":
        context.load_default_certs()
    elif root := _named_or_home_file("sslrootcert", "root.crt", {"sslrootcert": named} if named else {}):
        _load(f"sslrootcert={root} to have certificates in PEM form", lambda: context.load_verify_locations(cafile=root))
    elif mode == "require":
        return
    else:
        raise ValueError(
            f"a root certificate for sslmode={mode}: sslrootcert=FILE, or sslrootcert=system for the roots of this machine"
        )
    context.verify_mode = ssl.CERT_REQUIRED
    context.check_hostname = mode == "verify-full"


def _load_own_certificate(context: ssl.SSLContext, parameters: Mapping[str, str]) -> None:
    certificate = _named_or_home_file("sslcert", "postgresql.crt", parameters)
    key = _named_or_home_file("sslkey", "postgresql.key", parameters)
    if certificate is not None:
        password = parameters.get("sslpassword", "")
        _load(
            f"sslcert={certificate} and its sslkey to be a certificate and its key in PEM form, with the right sslpassword",
            lambda: context.load_cert_chain(certificate, key, password=lambda: password),
        )


def _load(expected: str, load: Any) -> None:
    try:
        load()
    except (OSError, ssl.SSLError, ValueError):
        raise ValueError(expected) from None


def _named_or_home_file(parameter: str, home_name: str, parameters: Mapping[str, str]) -> Path | None:
    """The file that the parameter names, which must be readable, else that of libpq in the home directory, if there is one."""
    if named := parameters.get(parameter):
        return _readable(parameter, named)
    return _home_file(f".postgresql/{home_name}")


def _home_file(name: str) -> Path | None:
    """None where there is no such file, or no home directory, or one that this user may not look into."""
    try:
        path = Path.home() / name
        path.stat()
    except (OSError, RuntimeError, ValueError):
        return None
    return path


def _readable(parameter: str, name: str) -> Path:
    path = Path(name)
    try:
        path.open("rb").close()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no file name"
        raise ValueError(f"{parameter}={name} to be a file that can be read: {reason}") from None
    return path
