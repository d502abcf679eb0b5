"""All settings: their environment variables, defaults and checks. No other module interprets the environment."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, timedelta, tzinfo
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, available_timezones

from database_url import DatabaseUrl, is_host_name

__all__ = ["BadSetting", "Network", "Settings", "parse_duration"]

Network = IPv4Network | IPv6Network


class BadSetting(Exception):
    """A setting has a value that cannot be used; the text names the setting and what it may be. It is printed as it is."""


def _database_url(text: str) -> str:
    DatabaseUrl.parse(text)
    return text


def _integer(minimum: int, maximum: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not re.fullmatch(r"\d{1,12}", text) or not minimum <= int(text) <= maximum:
            raise ValueError(f"a whole number from {minimum} to {maximum}")
        return int(text)

    return parse


def _number(minimum: float, maximum: float, description: str = "a number") -> Callable[[str], float]:
    def parse(text: str) -> float:
        if not re.fullmatch(r"\d{1,9}(\.\d{1,6})?", text) or not minimum <= float(text) <= maximum:
            raise ValueError(f"{description} from {minimum:g} to {maximum:g}")
        return float(text)

    return parse


def _seconds(minimum: float, maximum: float) -> Callable[[str], float]:
    return _number(minimum, maximum, "seconds")


_DURATION_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def parse_duration(text: str) -> timedelta:
    """Parse a duration like 90m. Raises ValueError with a text of what is expected."""
    match = re.fullmatch(r"(\d{1,7})\s*([smhd])", text.lower())
    if match is None or not 10 <= int(match[1]) * _DURATION_UNITS[match[2]] <= 3650 * 86400:
        raise ValueError("a period from 10s to 3650d, like 90m, 72h or 7d")
    return timedelta(seconds=int(match[1]) * _DURATION_UNITS[match[2]])


_SIZE_UNITS = {"": 1, "b": 1, "k": 1024, "kib": 1024, "kb": 1000, "m": 1024**2, "mib": 1024**2, "mb": 1000**2}


def _size(text: str) -> int:
    match = re.fullmatch(r"(\d{1,12})\s*([a-z]*)", text.lower())
    if match is None or match[2] not in _SIZE_UNITS or int(match[1]) == 0:
        raise ValueError("a size like 1048576, 512KiB or 1MiB")
    return int(match[1]) * _SIZE_UNITS[match[2]]


def _choice(*names: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        for name in names:
            if text.lower() == name.lower():
                return name
        raise ValueError("one of " + ", ".join(names))

    return parse


def _currency(text: str) -> str:
    if not re.fullmatch("[A-Za-z]{3}", text):
        raise ValueError("a code of three letters, like PLN, EUR or USD")
    return text.upper()


def _time_zone(text: str) -> str:
    # Those two are files of the system's database, and no zones to other programs.
    names = {name.lower(): name for name in available_timezones() - {"localtime", "Factory"}}
    if text.upper() == "UTC":
        return "UTC"
    if text.lower() not in names:
        raise ValueError("the name of an IANA time zone, like UTC or Europe/Warsaw")
    return names[text.lower()]


def _host(text: str) -> str:
    text = text[1:-1] if re.fullmatch(r"\[.*:.*\]", text) else text  # an IPv6 address, as it is written in a URL
    if not text or re.search(r"\s|/", text) or not is_host_name(text):
        raise ValueError("a host name or an IP address")
    return text


# First segments of the server's own paths.
_OWN_SEGMENTS = ("admin", "api", "asyncapi.json", "client", "healthz", "metrics", "openapi.json", "readyz")


def _base_path(text: str) -> str:
    segments = text.strip("/").split("/")
    if segments == [""]:
        return ""
    if (
        not all(re.fullmatch(r"[A-Za-z0-9._~-]+", name) and name.strip(".") for name in segments)
        or segments[0] in _OWN_SEGMENTS
    ):
        raise ValueError(f"a path like /orderwire, which does not begin with /{', /'.join(_OWN_SEGMENTS)}")
    return "/" + "/".join(segments)


def _boolean(text: str) -> bool:
    if text.lower() in ("1", "true", "yes", "on"):
        return True
    if text.lower() in ("0", "false", "no", "off"):
        return False
    raise ValueError("1 or 0")


def _secret(text: str) -> str:
    # RFC 7518 section 3.2: the key must be at least as long as the hash. A shorter one can be found by trial from one token.
    if len(text.encode()) < 32:
        raise ValueError("at least 32 bytes; make one with: openssl rand -hex 32")
    return text


def _jwks_url(text: str) -> str:
    example = "an address like https://login.example/.well-known/jwks.json (plain http on this machine only)"
    try:
        parts = urlsplit(text)
        secure = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in ("localhost", "127.0.0.1", "::1"))
        if not secure or not parts.hostname or parts.port == 0:
            raise ValueError
    except ValueError:
        raise ValueError(example) from None
    return text


_BROKER_EXAMPLE = (
    "addresses like nats://user:password@nats1:4222,nats://user:password@nats2:4222; tls:// instead of nats:// with TLS"
)


def _broker_urls(text: str) -> tuple[str, ...]:
    urls = [url.strip() for url in text.split(",") if url.strip()]
    try:
        parsed = [urlsplit(url) for url in urls]
        is_valid = all(
            parts.scheme in ("nats", "tls")
            and parts.hostname
            and parts.port != 0
            and not (parts.path.strip("/") or parts.query or parts.fragment)
            for parts in parsed
        )
    except ValueError:
        is_valid = False
    if not urls or not is_valid or len({parts.scheme for parts in parsed}) > 1:
        raise ValueError(_BROKER_EXAMPLE)
    return tuple(f"{parts.scheme}://{parts.netloc}" + ("" if parts.port else ":4222") for parts in parsed)


def _login_url(text: str) -> str:
    try:
        parts = urlsplit(text)
        is_path = not parts.scheme and not parts.netloc and re.fullmatch(r"/(?![/\\])\S*", text)
        is_url = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and "@" not in parts.netloc
        if not (is_path or is_url) or parts.fragment or re.search(r"[\s\x00-\x1f\x7f<>\"\\]", text):
            raise ValueError
    except ValueError:
        raise ValueError("an address like https://shop.example/login, or a path like /login, without a fragment") from None
    return text


def _host_names(text: str) -> frozenset[str]:
    names = [name.strip().lower().removesuffix(".") for name in text.split(",") if name.strip()]
    if not all(re.fullmatch(r"\*|\.?[a-z0-9_-]+(\.[a-z0-9_-]+)*", name) for name in names):
        raise ValueError(
            "host names like shop.example,.internal.example (its subdomains), or * for any; no ports; an IP address needs no "
            "entry"
        )
    return frozenset(names)


def _origins(text: str) -> frozenset[str]:
    # Compared as strings with the Origin header, which omits the default port (RFC 6454 section 6.2). Apps have schemes of
    # their own, and some of them no host.
    pattern = r"(https?://([a-z0-9.-]+|\[[0-9a-f:]+\])|(?!https?:)[a-z][a-z0-9+.-]*://[a-z0-9._-]*)(:[0-9]{1,5})?"
    origins = [origin.strip().lower() for origin in text.split(",") if origin.strip()]
    origins = [origin if origin.endswith("://") else origin.removesuffix("/") for origin in origins]
    for origin in origins:
        if origin == "null":
            raise ValueError("origins, which null is not: every page in a sandbox or from a file has it; give the page a host")
        if not re.fullmatch(pattern, origin) or re.search(r"^http:.*:80$|^https:.*:443$", origin):
            raise ValueError(
                "origins like https://shop.example,http://localhost:3000,capacitor://localhost: scheme, host, port unless the "
                "usual one"
            )
    return frozenset(origins)


def _networks(text: str) -> tuple[Network, ...]:
    try:
        return tuple(ip_network(part.strip()) for part in text.split(",") if part.strip())
    except ValueError:
        raise ValueError("addresses or networks like 10.0.0.5,192.168.0.0/16") from None


# The roles of this server; those of push.protocol.access.
_ROLES = ("admin", "viewer", "customer")


def _role_map(text: str) -> tuple[tuple[str, str], ...]:
    pairs = []
    for part in filter(None, map(str.strip, text.split(","))):
        name, _, role = part.rpartition(":")  # the name may be a URN
        pairs.append((name.strip(), role.strip()))
    names = [name for name, _ in pairs]
    if not all(names) or len(set(names)) < len(names) or not all(role in _ROLES for _, role in pairs):
        raise ValueError(
            "pairs like authenticated:customer,shop-admin:admin: a name in tokens once, then one of " + ", ".join(_ROLES)
        )
    return tuple(pairs)


def _text(text: str) -> str:
    return text


def _setting(
    default: Any, parse: Callable[[str], Any], description: str, default_text: str | None = None, *, secret: bool = False
) -> Any:
    return field(
        default=default,
        repr=not secret,
        metadata={"parse": parse, "description": description, "default_text": default_text, "secret": secret},
    )


@dataclass(frozen=True, slots=True)
class Settings:
    """The validated settings. The environment variable of a setting is the field's name in capitals."""

    database_url: str | None = _setting(
        None, _database_url, "address of PostgreSQL 14 or newer", "a PostgreSQL of its own in .data/", secret=True
    )
    migrate_database_url: str | None = _setting(
        None, _database_url, "the same with the role that owns the schema, for migrations", "DATABASE_URL", secret=True
    )
    database_timeout_seconds: float = _setting(
        10.0, _seconds(0.5, 300), "seconds after which a database that does not answer counts as lost"
    )
    host: str = _setting("127.0.0.1", _host, "address to listen on")
    port: int = _setting(8000, _integer(0, 65535), "TCP port to listen on; 0 takes a free one")
    base_path: str = _setting(
        "", _base_path, "path at which a proxy serves this server, like /orderwire; it may take it away or not", "/"
    )
    workers: int = _setting(1, _integer(1, 64), "processes that serve on that port")
    broker_url: tuple[str, ...] = _setting(
        (),
        _broker_urls,
        "addresses of the nodes of NATS 2.11 or newer, through which several servers share one reader of the journal",
        "none: this server reads the journal itself",
        secret=True,
    )
    broker_credentials_file: str | None = _setting(
        None, _text, "file with the JWT and the seed of a user of NATS (.creds)", "what BROKER_URL has"
    )
    broker_ca_file: str | None = _setting(None, _text, "certificates that sign those of NATS, PEM", "those of this machine")
    broker_cert_file: str | None = _setting(None, _text, "certificate of this server for NATS, PEM", "none")
    broker_key_file: str | None = _setting(None, _text, "its key, PEM", "none")
    broker_replicas: int | None = _setting(
        None, _integer(1, 5), "nodes of NATS that keep the stream: 1, 3 or 5", "3, or 1 where there are fewer nodes"
    )
    node_role: str = _setting(
        "auto", _choice("auto", "edge"), "with BROKER_URL: auto may be elected to read the journal for all; edge never"
    )
    drain_delay_seconds: float = _setting(
        0.0, _seconds(0, 3600), "seconds from a signal to end until the drain; meanwhile not ready, but serving"
    )
    heartbeat_seconds: float = _setting(30.0, _seconds(0.05, 3600), "seconds between two heartbeats of a client")
    send_queue_frames: int = _setting(
        100,
        _integer(1, 1_000_000),
        "messages that may wait for a slow client; with more, it is closed with 3008 when another comes",
    )
    send_queue_bytes: int = _setting(1024**2, _size, "the same in bytes", "1 MiB")
    compression: bool = _setting(True, _boolean, "1: WebSockets are compressed for clients that offer permessage-deflate", "1")
    journal_retention: timedelta = _setting(timedelta(hours=72), parse_duration, "how long events can be resumed from", "72h")
    notify_mode: str = _setting(
        "auto",
        _choice("auto", "always", "never"),
        "auto: writers notify unless they wait for one another to commit; always: they always do; never: the journal is polled",
    )
    websocket_io: str = _setting(
        "auto",
        _choice("auto", "io_uring", "aio", "descriptor", "transport"),
        "how WebSockets and event streams are written to; auto: the first of the others that works here",
    )
    audit_seconds: float = _setting(300.0, _seconds(0.05, 86400), "seconds between two checks of the totals against the table")
    currency: str = _setting("PLN", _currency, "currency of the totals on the dashboard, by its ISO 4217 code")
    time_zone: str = _setting("UTC", _time_zone, "the shop's time zone, by its IANA name: where its days and hours begin")

    jwt_secret: str | None = _setting(None, _secret, "key of HS256 tokens, 32 bytes or more", "no login", secret=True)
    jwt_public_key: str | None = _setting(
        None, _text, "PEM, or a file with it: RSA (RS and PS), P-256, P-384, P-521 (ES) or Ed25519 (EdDSA)", "no login"
    )
    jwt_jwks_url: str | None = _setting(None, _jwks_url, "address of a JSON Web Key Set", "no login")
    jwt_audience: str | None = _setting(None, _text, 'what a token\'s "aud" must contain', "not checked")
    jwt_issuer: str | None = _setting(None, _text, 'what a token\'s "iss" must be', "not checked")
    jwt_role_claim: str = _setting("role", _text, "claim with the role or roles: its name, or a path like realm_access.roles")
    jwt_role_map: tuple[tuple[str, str], ...] = _setting(
        (), _role_map, "roles by their names in tokens, NAME:ROLE,…", "admin, viewer and customer by their own names"
    )
    login_url: str | None = _setting(
        None,
        _login_url,
        "page of the shop that logs people in and hands a token back: an http or https address, or a path",
        "none",
    )
    allow_anonymous: bool = _setting(False, _boolean, "1: without login, admit clients from other machines too, as admin", "0")
    allowed_hosts: frozenset[str] = _setting(
        frozenset(),
        _host_names,
        "without login, host names that are answered besides those of this machine and IP addresses; * for any",
        "none",
    )
    allowed_origins: frozenset[str] = _setting(
        frozenset(), _origins, "origins of web pages that may connect besides the server's own", "none"
    )
    trusted_proxies: tuple[Network, ...] = _setting((), _networks, "proxies whose X-Forwarded-* headers count", "none")
    tls_cert_file: str | None = _setting(None, _text, "certificate chain, PEM: serve https and wss", "no TLS")
    tls_key_file: str | None = _setting(None, _text, "its key, PEM", "no TLS")

    max_connections: int = _setting(10_000, _integer(1, 1_000_000), "connections at a time, of each worker")
    max_connections_per_address: int = _setting(1_000, _integer(1, 1_000_000), "the same from one address")
    handshakes_per_second: float = _setting(100.0, _number(0.1, 1e6), "connections and API requests a second from one address")
    frames_per_second: float = _setting(100.0, _number(0.1, 1e6), "frames a second from one client")
    bytes_per_second: int = _setting(256 * 1024, _size, "bytes a second from one client", "256 KiB")
    max_frame_bytes: int = _setting(64 * 1024, _size, "size of a message from a client, all its frames together", "64 KiB")
    max_topics: int = _setting(100, _integer(1, 100_000), "topics of one session")
    auth_seconds: float = _setting(10.0, _seconds(0.05, 3600), "seconds in which a client has to send its token")
    idle_seconds: float = _setting(20.0, _seconds(0.05, 3600), "seconds in which a new connection has to send its request")
    keep_alive_seconds: float = _setting(
        75.0,
        _seconds(0.05, 86400),
        "seconds that an open connection is kept for its next request; longer than a proxy keeps it",
    )
    max_header_bytes: int = _setting(8190, _size, "size of a request line, and of a header", "8190")
    max_body_bytes: int = _setting(64 * 1024, _size, "size of a request's body", "64 KiB")

    log_format: str = _setting("text", _choice("text", "json"), "text or json, a line each")
    log_level: str = _setting("INFO", _choice("DEBUG", "INFO", "WARNING", "ERROR"), "least level that is logged")

    @property
    def zone(self) -> tzinfo:
        """TIME_ZONE."""
        return UTC if self.time_zone == "UTC" else ZoneInfo(self.time_zone)

    @property
    def login_required(self) -> bool:
        """Whether a key that verifies tokens is set: then every client needs a token."""
        return any(key is not None for key in (self.jwt_secret, self.jwt_public_key, self.jwt_jwks_url))

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Settings:
        """Parse and check the variables; an empty value counts as not set. Raises BadSetting for the first unusable one."""
        values: dict[str, Any] = {}
        for item in fields(cls):
            name = item.name.upper()
            text = environment.get(name, "").strip()
            if not text:
                continue
            try:
                values[item.name] = item.metadata["parse"](text)
            except ValueError as error:
                # The address of a database may contain a password, which must not be printed.
                shown = "" if item.metadata["secret"] else f"={text}"
                raise BadSetting(f"{name}{shown} is not usable: expected {error}") from None
        settings = cls(**values)
        keys = [name for name in ("jwt_secret", "jwt_public_key", "jwt_jwks_url") if getattr(settings, name) is not None]
        if len(keys) > 1:
            raise BadSetting(f"{keys[0].upper()} and {keys[1].upper()} are both set: a token is checked in one way, choose one")
        if (settings.tls_cert_file is None) != (settings.tls_key_file is None):
            raise BadSetting("TLS_CERT_FILE and TLS_KEY_FILE go together: set both or none")
        if (settings.broker_cert_file is None) != (settings.broker_key_file is None):
            raise BadSetting("BROKER_CERT_FILE and BROKER_KEY_FILE go together: set both or none")
        if settings.node_role == "edge" and not settings.broker_url:
            raise BadSetting("NODE_ROLE=edge needs BROKER_URL: an edge gets its events from another server, through NATS")
        if settings.node_role == "edge" and settings.database_url is None:
            raise BadSetting("NODE_ROLE=edge needs DATABASE_URL: an edge never starts a PostgreSQL of its own")
        if settings.tls_cert_file is not None and settings.websocket_io not in ("auto", "transport"):
            raise BadSetting(f"WEBSOCKET_IO={settings.websocket_io} cannot be had with TLS: leave it out")
        return settings

    @classmethod
    def describe(cls) -> str:
        """The table of all settings for ``--help``, one line each."""
        lines = []
        for item in fields(cls):
            default = item.metadata["default_text"] or item.default
            if isinstance(default, float):
                default = f"{default:g}"
            description = item.metadata["description"]
            lines.append(f"  {item.name.upper():<27} {description} (default: {default})")
        return "\n".join(lines)
