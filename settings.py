"""All settings, from the environment, and the only place that reads it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

__all__ = ["BadSetting", "Settings"]


class BadSetting(Exception):
    """A setting has a value that cannot be used; the text names it and says what it may be."""


def _url(text: str) -> str:
    example = "an address like postgresql://user:password@host:5432/database"
    if not re.match("postgres(ql)?://", text):
        raise ValueError(example)
    try:
        parts = urlsplit(text)
    except ValueError:  # a bracket too few, for one
        raise ValueError(example) from None
    ports = ",".join(parse_qs(parts.query).get("port", [])).split(",")
    for host in parts.netloc.rpartition("@")[2].split(","):
        match = re.fullmatch(r"(\[[^][]*\]|[^][:]*)(:.*)?", host)
        if match is None or not _is_host(unquote(match[1]).strip("[]")):
            raise ValueError(example)
        ports.append((match[2] or "").removeprefix(":"))
    if not all(re.fullmatch(r"[0-9]{0,5}", port) and 0 < int(port or 5432) <= 65535 for port in ports):
        raise ValueError(f"{example}, with a port from 1 to 65535 and special characters of the password percent-encoded")
    return text


def _whole(least: int, most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not re.fullmatch(r"\d{1,12}", text) or not least <= int(text) <= most:
            raise ValueError(f"a whole number from {least} to {most}")
        return int(text)

    return parse


def _seconds(least: float, most: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        if not re.fullmatch(r"\d{1,9}(\.\d{1,6})?", text) or not least <= float(text) <= most:
            raise ValueError(f"seconds from {least:g} to {most:g}")
        return float(text)

    return parse


_PERIODS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def _period(text: str) -> timedelta:
    match = re.fullmatch(r"(\d{1,7})\s*([smhd])", text.lower())
    if match is None or not 10 <= int(match[1]) * _PERIODS[match[2]] <= 3650 * 86400:
        raise ValueError("a period from 10s to 3650d, like 90m, 72h or 7d")
    return timedelta(seconds=int(match[1]) * _PERIODS[match[2]])


_UNITS = {"": 1, "b": 1, "k": 1024, "kib": 1024, "kb": 1000, "m": 1024**2, "mib": 1024**2, "mb": 1000**2}


def _bytes(text: str) -> int:
    match = re.fullmatch(r"(\d{1,12})\s*([a-z]*)", text.lower())
    if match is None or match[2] not in _UNITS or int(match[1]) == 0:
        raise ValueError("a size like 1048576, 512KiB or 1MiB")
    return int(match[1]) * _UNITS[match[2]]


def _one_of(*names: str) -> Callable[[str], str]:
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


def _host(text: str) -> str:
    if not text or re.search(r"\s|/", text) or not _is_host(text):
        raise ValueError("a host name or an IP address")
    return text


def _is_host(text: str) -> bool:
    """Whether the name can be looked up at all: a label that is empty or too long raises in the resolver."""
    try:
        text.encode("idna")
    except UnicodeError:
        return False
    return True


def _setting(default: Any, parse: Callable[[str], Any], what: str, shown: str | None = None) -> Any:
    return field(default=default, metadata={"parse": parse, "what": what, "shown": shown})


@dataclass(frozen=True, slots=True)
class Settings:
    """What the environment says, checked. The name of a setting is the field's in capitals."""

    database_url: str | None = _setting(None, _url, "address of PostgreSQL 14 or newer", "a PostgreSQL of its own in .data/")
    database_timeout_seconds: float = _setting(
        10.0, _seconds(0.5, 300), "seconds after which a database that does not answer counts as lost"
    )
    host: str = _setting("127.0.0.1", _host, "address to listen on")
    port: int = _setting(8000, _whole(0, 65535), "TCP port to listen on; 0 takes a free one")
    heartbeat_seconds: float = _setting(30.0, _seconds(0.05, 3600), "seconds between two heartbeats of a client")
    send_queue_frames: int = _setting(100, _whole(1, 1_000_000), "frames that may wait for a slow client before it is closed")
    send_queue_bytes: int = _setting(1024**2, _bytes, "bytes that may wait for a slow client", "1 MiB")
    journal_retention: timedelta = _setting(timedelta(hours=72), _period, "how long events can be resumed from", "72h")
    audit_seconds: float = _setting(300.0, _seconds(0.05, 86400), "seconds between two checks of the totals against the table")
    currency: str = _setting("PLN", _currency, "currency of the totals on the dashboard, by its ISO 4217 code")
    log_level: str = _setting("INFO", _one_of("DEBUG", "INFO", "WARNING", "ERROR"), "least level that is logged")

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Settings:
        """Raises BadSetting for the first value that cannot be used. An empty value counts as not set."""
        values: dict[str, Any] = {}
        for item in fields(cls):
            name = item.name.upper()
            text = environment.get(name, "").strip()
            if not text:
                continue
            try:
                values[item.name] = item.metadata["parse"](text)
            except ValueError as error:
                # An address may hold a password: do not repeat it.
                shown = "" if name == "DATABASE_URL" else f"={text}"
                raise BadSetting(f"{name}{shown} is not usable: expected {error}") from None
        return cls(**values)

    @classmethod
    def describe(cls) -> str:
        """A table of all settings for ``--help``."""
        lines = []
        for item in fields(cls):
            default = item.metadata["shown"] or item.default
            if isinstance(default, float):
                default = f"{default:g}"
            lines.append(f"  {item.name.upper():<20} {item.metadata['what']} (default: {default})")
        return "\n".join(lines)
