"""The body of a request that changes something: one JSON object. A bad one raises HTTPBadRequest with a text that says why."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection
from typing import Any

from aiohttp import web

__all__ = ["parse_member", "read_json_object"]

# In bytes.
MAX_BODY = 8192
# How long the client may take to send it.
MAX_BODY_SECONDS = 10.0


async def read_json_object(request: web.Request, known: Collection[str]) -> dict[str, Any]:
    """The object in the body, which has no other members than ``known``. Also raises HTTPRequestEntityTooLarge, and
    HTTPRequestTimeout if the body does not come within MAX_BODY_SECONDS.

    The content type must be that of JSON: a form, or a script of another site without CORS, cannot send it.
    """
    if request.content_type != "application/json" or (request.charset or "utf-8").lower() != "utf-8":
        raise web.HTTPBadRequest(text="expected a body with the header Content-Type: application/json")
    if (request.content_length or 0) > MAX_BODY:
        raise web.HTTPRequestEntityTooLarge(MAX_BODY, text=f"the body may have {MAX_BODY} bytes")
    try:
        async with asyncio.timeout(MAX_BODY_SECONDS):
            text = await request.read()
    except TimeoutError:
        raise web.HTTPRequestTimeout(text=f"the body did not come within {MAX_BODY_SECONDS:g} s") from None
    try:
        content = json.loads(text, object_pairs_hook=_object)
    except (ValueError, RecursionError):
        raise web.HTTPBadRequest(text="the body is not JSON in UTF-8") from None
    if not isinstance(content, dict):
        raise web.HTTPBadRequest(text="the body is not a JSON object")
    if unknown := [name for name in content if name not in known]:
        expected = f"expected {', '.join(known)}" if known else "expected none"
        raise web.HTTPBadRequest(text=f"unknown member {unknown[0][:100]!r}: {expected}")
    return content


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        raise ValueError("a member occurs twice")
    return content


def parse_member(content: dict[str, Any], name: str, max_length: int) -> str:
    """The member as a text of 1 to ``max_length`` characters that PostgreSQL can hold."""
    text = content.get(name)
    try:
        usable = isinstance(text, str) and 0 < len(text) <= max_length and b"\0" not in text.encode()
    except UnicodeEncodeError:  # a lone surrogate
        usable = False
    if not usable:
        raise web.HTTPBadRequest(text=f"{name}: expected a text of 1 to {max_length} characters")
    assert isinstance(text, str)
    return text
