"""The address of a database, as libpq and the hosters write it: parsed, and checked as far as the text allows.

Pure: reads no file and no environment, and opens no connection. db/connect.py does that.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv6Address
from typing import NamedTuple
from urllib.parse import quote, unquote

__all__ = ["ENVIRONMENT", "SSL_MODES", "DatabaseUrl", "Server", "is_host_name"]

EXAMPLE = "an address like postgresql://user:password@host:5432/database"
DEFAULT_PORT = 5432
# sockaddr_un.sun_path has 108 bytes on Linux, with the zero at the end.
MAX_SOCKET_PATH_BYTES = 107

# From the weakest to the strongest. "no-verify", from Node.js, is libpq's "require" without a root certificate.
SSL_MODES = ("disable", "allow", "prefer", "no-verify", "require", "verify-ca", "verify-full")
_TLS_VERSIONS = ("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")

# The variables of libpq that stand for a parameter which the URL leaves out.
ENVIRONMENT = {
    "PGHOST": "host",
    "PGHOSTADDR": "hostaddr",
    "PGPORT": "port",
    "PGDATABASE": "dbname",
    "PGUSER": "user",
    "PGPASSWORD": "password",
    "PGPASSFILE": "passfile",
    "PGSERVICE": "service",
    "PGOPTIONS": "options",
    "PGAPPNAME": "application_name",
    "PGCONNECT_TIMEOUT": "connect_timeout",
    "PGTARGETSESSIONATTRS": "target_session_attrs",
    "PGSSLMODE": "sslmode",
    "PGSSLROOTCERT": "sslrootcert",
    "PGSSLCERT": "sslcert",
    "PGSSLKEY": "sslkey",
    "PGSSLCRL": "sslcrl",
    "PGSSLNEGOTIATION": "sslnegotiation",
    "PGSSLMINPROTOCOLVERSION": "ssl_min_protocol_version",
    "PGSSLMAXPROTOCOLVERSION": "ssl_max_protocol_version",
    "PGKRBSRVNAME": "krbsrvname",
    "PGGSSLIB": "gsslib",
    "PGGSSENCMODE": "gssencmode",
}


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_BOOLEANS = {"true": "require", "1": "require", "on": "require", "yes": "require"} | dict.fromkeys(
    ("false", "0", "off", "no"), "disable"
)
# The values of the parameters that have few.
_CHOICES = {
    "sslmode": SSL_MODES,
    "ssl": (*_BOOLEANS, *SSL_MODES),
    "sslnegotiation": ("postgres", "direct"),
    "ssl_min_protocol_version": _TLS_VERSIONS,
    "ssl_max_protocol_version": _TLS_VERSIONS,
    "channel_binding": ("disable", "prefer", "require"),
    "gssencmode": ("disable", "prefer", "require"),
    "gsslib": ("gssapi", "sspi"),
    "target_session_attrs": ("any", "read-write", "primary", "read-only", "standby", "prefer-standby"),
}
_UNDERSTOOD = frozenset(_CHOICES) | _names(
    """host hostaddr port user password dbname database passfile service sslrootcert sslcert sslkey sslpassword sslcrl
    connect_timeout application_name options krbsrvname"""
)
# Parameters of libpq for which the driver has nothing, and which change nothing of what is served.
_LIBPQ_ONLY = _names(
    """client_encoding fallback_application_name gssdelegation keepalives keepalives_count keepalives_idle keepalives_interval
    load_balance_hosts max_protocol_version min_protocol_version require_auth requirepeer sslcertmode sslcompression sslcrldir
    sslkeylogfile sslsni tcp_user_timeout"""
)
# Parameters of other drivers and their pools, which hosters put into the URLs that they hand out.
_OTHER_DRIVERS = {
    "Prisma, and Supabase's pooler": """connection_limit pgbouncer pool_timeout schema single_use_connections socket_timeout
    sslaccept sslidentity statement_cache_size supa workaround""",
    "Rails, Django, Ecto": """adapter advisory_locks conn_health_checks conn_max_age disable_server_side_cursors encoding
    idle_timeout pool pool_size prepared_statements reaping_frequency reconnect timeout""",
    "JDBC": """applicationname autosave binarytransfer connecttimeout currentschema defaultrowfetchsize logintimeout
    preferquerymode preparethreshold preparedstatementcachequeries rewritebatchedinserts sockettimeout sslfactory stringtype
    tcpkeepalive targetservertype""",
    "pgx, lib/pq": """binary_parameters default_query_exec_mode description_cache_capacity pool_health_check_period
    pool_max_conn_idle_time pool_max_conn_lifetime pool_max_conns pool_min_conns statement_cache_capacity""",
    "Node.js, Python": "async_fallback charset idletimeoutmillis max prepared_statement_cache_size uselibpqcompat",
    "hosters": "endpoint sslenabled",
}
_IGNORED = _LIBPQ_ONLY | _names(" ".join(_OTHER_DRIVERS.values()))


class Server(NamedTuple):
    """A host name, an address or the directory of a socket; None where the URL leaves it out."""

    host: str | None
    port: int

    @property
    def is_socket(self) -> bool:
        """Whether it is the directory of a Unix socket."""
        return self.host is not None and self.host.startswith("/")

    def __str__(self) -> str:
        """For people."""
        if self.is_socket or self.host is None:
            return self.host or ""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class DatabaseUrl:
    """A URL that can be used, but for its files and for what the server says to it."""

    servers: tuple[Server, ...]
    user: str | None
    password: str | None = field(repr=False)
    database: str | None
    # The other parameters that are understood, by libpq's names; "sslmode" is always among them.
    parameters: Mapping[str, str] = field(repr=False)
    # "name=value" of each parameter that has no effect here.
    ignored: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str, defaults: Mapping[str, str] | None = None) -> DatabaseUrl:
        """``defaults`` are parameters for what the URL leaves out. Raises ValueError, with a text of what is expected that
        repeats no password.
        """
        match = re.fullmatch(r"postgres(?:ql)?://([^/?]*)(?:/([^?]*))?(?:\?(.*))?", text, re.DOTALL)
        if match is None:
            raise ValueError(EXAMPLE)
        authority, path, query = match[1], match[2] or "", match[3] or ""
        if "@" in path or ("@" in query and "@" not in authority):
            raise ValueError(f"{EXAMPLE}, with special characters of the password percent-encoded: / is %2F, ? is %3F")
        userinfo, _, hosts = authority.rpartition("@")
        user, _, password = userinfo.partition(":")
        own = {"user": _decode(user), "password": _decode(password), "dbname": _decode(path)}
        given, ignored = _parse_query(query)
        named = {**(defaults or {}), **{name: value for name, value in own.items() if value}, **given}
        named = {name: value for name, value in named.items() if value}
        _check(named)
        if "host" not in given and hosts:
            named["host"] = _decode(hosts)
        if named.get("channel_binding") == "require":
            ignored.append("channel_binding=require")
        return cls(
            servers=_parse_servers(named.get("host") or named.get("hostaddr", ""), named.get("port", "")),
            user=named.get("user"),
            password=named.get("password"),
            database=named.get("dbname") or named.get("database"),
            parameters={**named, "sslmode": _ssl_mode(named)},
            ignored=tuple(ignored),
        )

    @property
    def connect_timeout(self) -> float | None:
        """Seconds for each attempt; None where the URL does not say."""
        seconds = int(self.parameters.get("connect_timeout", "0"))
        return max(2.0, float(seconds)) if seconds > 0 else None  # with libpq 1 is 2

    @property
    def address(self) -> str | None:
        """HOST:PORT of each server, for people; None without a host."""
        return ",".join(map(str, self.servers)) if all(server.host for server in self.servers) else None

    @staticmethod
    def for_psql(text: str) -> str:
        """The URL without the parameters that psql would reject."""
        head, mark, query = text.partition("?")
        kept = [item for item in query.split("&") if item and not _is_foreign(item)]
        return head + (mark + "&".join(kept) if kept else "")


def is_host_name(text: str) -> bool:
    """Whether the resolver accepts the name: an empty or too long label raises UnicodeError there."""
    try:
        text.encode("idna")
    except UnicodeError:
        return False
    return True


def _is_foreign(item: str) -> bool:
    name, _, value = item.partition("=")
    if name == "ssl":
        return value != "true"  # that one is known to libpq, for JDBC's sake
    return name not in _UNDERSTOOD | _LIBPQ_ONLY or name == "database" or value == "no-verify"


def _parse_query(query: str) -> tuple[dict[str, str], list[str]]:
    """The parameters that are understood, and "name=value" of the ignored ones."""
    given: dict[str, str] = {}
    ignored = []
    for item in filter(None, query.split("&")):
        name, equals, value = item.partition("=")
        name, value = _decode(name), _decode(value.replace("+", " ") if name == "options" else value)
        if not equals or not re.fullmatch(r"[A-Za-z_]{1,40}", name):
            raise ValueError(f"{EXAMPLE}?name=value&name=value")
        if name in _UNDERSTOOD:
            given[name] = value
        elif name.lower() in _IGNORED:
            ignored.append(f"{name}={_shown(value)}")
        else:
            raise ValueError(
                f"parameters of libpq after the question mark, and {name} is none: for a setting of PostgreSQL write "
                "options=-c%20name%3Dvalue"
            )
    return given, ignored


def _check(named: Mapping[str, str]) -> None:
    for name, choices in _CHOICES.items():
        value = named.get(name)
        if value is not None and (value.lower() if name == "ssl" else value) not in choices:
            raise ValueError(f"{name}={_shown(value)} to be one of {', '.join(choices)}")
    if not re.fullmatch(r"-?[0-9]{1,6}", timeout := named.get("connect_timeout", "0")):
        raise ValueError(f"connect_timeout={_shown(timeout)} to be a whole number of seconds")
    if named.get("gssencmode") == "require":
        raise ValueError("no gssencmode=require, which the driver does not have: use sslmode")
    if (wanted := named.get("target_session_attrs")) in ("read-only", "standby", "prefer-standby"):
        raise ValueError(f"no target_session_attrs={wanted}: the server writes, and reads from the primary only")


def _ssl_mode(named: Mapping[str, str]) -> str:
    mode = named.get("sslmode")
    if mode is None and (ssl := named.get("ssl", "").lower()):
        mode = _BOOLEANS.get(ssl, ssl)
    if named.get("sslrootcert") == "system":
        if mode not in (None, "verify-full"):
            raise ValueError(f"sslmode=verify-full with sslrootcert=system, and not sslmode={mode}")
        return "verify-full"
    mode = mode or "prefer"
    if named.get("sslnegotiation") == "direct" and SSL_MODES.index(mode) < SSL_MODES.index("no-verify"):
        raise ValueError(f"sslmode=require or stronger with sslnegotiation=direct, and not sslmode={mode}")
    return mode


def _parse_servers(hosts: str, port: str) -> tuple[Server, ...]:
    """``hosts`` is decoded. A host's own port precedes ``port``, which is one for all or a list of as many."""
    names = hosts.split(",")
    ports = port.split(",")
    if len(ports) == 1:
        ports *= len(names)
    if len(ports) != len(names):
        raise ValueError(f"as many ports as hosts: there are {len(names)} hosts and {len(ports)} ports")
    return tuple(_parse_server(name, other, len(names) > 1) for name, other in zip(names, ports, strict=True))


def _parse_server(name: str, other_port: str, is_listed: bool) -> Server:
    if name.startswith("/") or _is_bare_ipv6(name):
        host, own_port = name, ""
    elif match := re.fullmatch(r"\[([^][]+)\](?::(.*))?|([^][:/]*)(?::(.*))?", name, re.DOTALL):
        host, own_port = match[1] or match[3] or "", match[2] or match[4] or ""
    else:
        raise ValueError(EXAMPLE)
    port = own_port or other_port or str(DEFAULT_PORT)
    if not re.fullmatch(r"[0-9]{1,5}", port) or not 0 < int(port) <= 65535:
        raise ValueError(f"{EXAMPLE}, with a port from 1 to 65535 and special characters of the password percent-encoded")
    if host.startswith("/"):
        if len(f"{host}/.s.PGSQL.{port}".encode()) > MAX_SOCKET_PATH_BYTES:
            raise ValueError(f"the directory of a socket whose path has at most {MAX_SOCKET_PATH_BYTES} bytes")
    elif not is_host_name(host) or (is_listed and not host):
        raise ValueError(EXAMPLE)
    return Server(host or None, int(port))


def _is_bare_ipv6(name: str) -> bool:
    """In a parameter it has no brackets."""
    try:
        IPv6Address(name)
    except ValueError:
        return False
    return True


def _decode(text: str) -> str:
    """Percent-decoded. Raises ValueError for what is no percent-encoding: a % of the password has to be written as %25."""
    if re.search(r"%(?![0-9a-fA-F]{2})|%00", text):
        raise ValueError(f"{EXAMPLE}, with each % of the password written as %25")
    return unquote(text)


def _shown(text: str) -> str:
    """Safe to print: short, and no control character."""
    return quote(text[:40], safe="/:@+ ,-._~", encoding="utf-8")
