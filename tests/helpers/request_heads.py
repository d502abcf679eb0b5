"""Request heads without a connection."""

from __future__ import annotations

from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from gateway.http.request_head import RequestHead
from gateway.net.connection_limits import Connection
from settings import Settings

__all__ = ["UPGRADE_HEADERS", "make_request_head"]

# The example of RFC 6455, section 1.3.
UPGRADE_HEADERS = {
    "Upgrade": "websocket",
    "Connection": "keep-alive, Upgrade",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "13",
}


def make_request_head(
    method: str = "GET", headers: dict[str, str] | list[tuple[str, str]] | None = None, path: str = "/api/ws", **settings: str
) -> RequestHead:
    """The head of a request that aiohttp has parsed. ``settings``: as in the environment."""
    request = make_mocked_request(method, path, CIMultiDict(headers or {}))
    connection = Connection("key", within_limits=True, within_rate=True)
    return RequestHead.from_request(request, Settings.from_environment(settings), connection)
