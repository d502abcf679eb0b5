"""Parsing of query parameters. A bad value raises HTTPBadRequest with a text that names the parameter and what it may be."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from aiohttp import web

__all__ = ["parse_choice", "parse_int"]


def parse_int(query: Mapping[str, str], name: str, minimum: int, maximum: int) -> int | None:
    """The parameter as a whole number from ``minimum`` to ``maximum``; None if it is absent."""
    text = query.get(name)
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{1,19}", text) or not minimum <= int(text) <= maximum:
        raise web.HTTPBadRequest(text=f"{name}: expected a whole number from {minimum} to {maximum}")
    return int(text)


def parse_choice(query: Mapping[str, str], name: str, choices: Sequence[str]) -> str | None:
    """The parameter, which must be one of ``choices``; None if it is absent."""
    text = query.get(name)
    if text is not None and text not in choices:
        raise web.HTTPBadRequest(text=f"{name}: expected one of {', '.join(choices)}")
    return text
