"""Query parameters, checked: what cannot be used is a 400 that says what could."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from aiohttp import web

__all__ = ["one_of", "whole"]


def whole(query: Mapping[str, str], name: str, least: int, most: int) -> int | None:
    """A whole number, or None when it is left out."""
    text = query.get(name)
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{1,19}", text) or not least <= int(text) <= most:
        raise web.HTTPBadRequest(text=f"{name}: expected a whole number from {least} to {most}")
    return int(text)


def one_of(query: Mapping[str, str], name: str, allowed: Sequence[str]) -> str | None:
    """One of some words, or None when it is left out."""
    text = query.get(name)
    if text is not None and text not in allowed:
        raise web.HTTPBadRequest(text=f"{name}: expected one of {', '.join(allowed)}")
    return text
