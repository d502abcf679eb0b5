"""Successful answers with JSON."""

from __future__ import annotations

from aiohttp import web

__all__ = ["json_text_response"]


def json_text_response(text: str, status: int = 200) -> web.Response:
    """A response with text that is JSON already. It must not be cached, since it is outdated by the next event."""
    return web.Response(text=text, status=status, content_type="application/json", headers={"Cache-Control": "no-store"})
