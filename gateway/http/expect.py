"""Requests with an Expect header (RFC 9110 section 10.1.1), which aiohttp answers before any middleware."""

from __future__ import annotations

from aiohttp import web, web_urldispatcher
from aiohttp.http import HttpVersion11

__all__ = ["handle_expect", "handle_expect_everywhere"]

_aiohttp_expect_handler = web_urldispatcher._default_expect_handler


async def handle_expect(request: web.Request) -> None:
    """Expect handler of our routes: "100 Continue" for 100-continue, else 417.

    aiohttp's own repeats an unknown expectation in its answer, which fails, with status 500, for bytes that are not UTF-8.
    """
    if request.version == HttpVersion11 and request.headers["Expect"].lower() != "100-continue":
        raise web.HTTPExpectationFailed(text="of expectations only 100-continue is understood")
    await _aiohttp_expect_handler(request)


def handle_expect_everywhere() -> None:
    """Also for paths without a route: aiohttp has no public setting for these, so its default is replaced (aiohttp is pinned).

    For a process that serves nothing but this application; another application keeps aiohttp's default for its own paths.
    """
    web_urldispatcher._default_expect_handler = handle_expect
