"""Parsing of query parameters. A bad value raises HTTPBadRequest with a text that names the parameter and what it may be."""

from __future__ import annotations

import re
from collections.abc import Mapping

from aiohttp import web

__all__ = ["parse_int", "parse_text"]


def parse_int(query: Mapping[str, str], name: str, minimum: int, maximum: int) -> int | None:
    """The parameter as a whole number from ``minimum`` to ``maximum``; None if it is absent."""
    text = query.get(name)
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{1,19}", text) or not minimum <= int(text) <= maximum:
        raise web.HTTPBadRequest(text=f"{name}: expected a whole number from {minimum} to {maximum}")
    return int(text)


def parse_text(query: Mapping[str, str], name: str, max_length: int) -> str | None:
    """The parameter as a text of up to ``max_length`` characters that PostgreSQL can hold; None if it is absent or empty."""
    text = query.get(name)
    if not text:
        return None
    try:
        text.encode()
    except UnicodeEncodeError:  # a lone surrogate: bytes that are not UTF-8
        usable = False
    else:
        usable = "\0" not in text and len(text) <= max_length
    if not usable:
        raise web.HTTPBadRequest(text=f"{name}: expected a text of up to {max_length} characters")
    return text
