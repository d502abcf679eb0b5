"""Query parameters, checked: what cannot be used is a 400 that says what could."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from aiohttp import web

__all__ = ["parse_choice", "parse_int"]


def parse_int(query: Mapping[str, str], name: str, minimum: int, maximum: int) -> int | None:
    """A whole number, or None when it is left out."""
    text = query.get(name)
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{1,19}", text) or not minimum <= int(text) <= maximum:
        raise web.HTTPBadRequest(text=f"{name}: expected a whole number from {minimum} to {maximum}")
    return int(text)


def parse_choice(query: Mapping[str, str], name: str, choices: Sequence[str]) -> str | None:
    """One of some words, or None when it is left out."""
    text = query.get(name)
    if text is not None and text not in choices:
        raise web.HTTPBadRequest(text=f"{name}: expected one of {', '.join(choices)}")
    return text
