"""Parsing of query parameters. A bad value raises HTTPBadRequest with a text that names the parameter and what it may be."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, tzinfo

from aiohttp import web
from multidict import MultiMapping

__all__ = ["parse_int", "parse_moment", "parse_text", "parse_texts"]

# RFC 3339; a + that the client has not encoded is a space in a query.
_MOMENT = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d(?:\.\d+)?)([Zz]|[+ -]\d\d:\d\d)", re.ASCII)
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


def parse_int(query: Mapping[str, str], name: str, minimum: int, maximum: int) -> int | None:
    """The parameter as a whole number from ``minimum`` to ``maximum``; None if it is absent."""
    text = query.get(name)
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{1,19}", text) or not minimum <= int(text) <= maximum:
        raise web.HTTPBadRequest(text=f"{name}: expected a whole number from {minimum} to {maximum}")
    return int(text)


def parse_moment(query: Mapping[str, str], name: str, zone: tzinfo) -> datetime | None:
    """The parameter as a moment: RFC 3339, or a date for its first moment in ``zone``. None if it is absent or empty."""
    text = query.get(name)
    if not text:
        return None
    try:
        if _DATE.fullmatch(text):
            return datetime.fromisoformat(text).replace(tzinfo=zone).astimezone(UTC)
        if match := _MOMENT.fullmatch(text):
            day, time, offset = match.groups()
            return datetime.fromisoformat(f"{day}T{time}{offset.upper().replace(' ', '+')}").astimezone(UTC)
    except (ValueError, OverflowError):  # no such day, time or offset
        pass
    raise web.HTTPBadRequest(text=f"{name}: expected a date like 2026-01-31, or a time like 2026-01-31T12:00:00+01:00")


def parse_text(query: Mapping[str, str], name: str, max_length: int) -> str | None:
    """The parameter as a text of up to ``max_length`` characters that PostgreSQL can hold; None if it is absent or empty."""
    text = query.get(name)
    return _usable_text(text, name, max_length) if text else None


def parse_texts(query: MultiMapping[str], name: str, max_length: int, max_count: int) -> list[str]:
    """The same for a parameter that may be repeated, up to ``max_count`` times; empty ones are left out."""
    texts = [text for text in query.getall(name, []) if text]
    if len(texts) > max_count:
        raise web.HTTPBadRequest(text=f"{name}: expected at most {max_count} of these")
    return [_usable_text(text, name, max_length) for text in texts]


def _usable_text(text: str, name: str, max_length: int) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:  # a lone surrogate: bytes that are not UTF-8
        usable = False
    else:
        usable = "\0" not in text and len(text) <= max_length
    if not usable:
        raise web.HTTPBadRequest(text=f"{name}: expected a text of up to {max_length} characters")
    return text
