"""The recipe by which a connection is taken from aiohttp, and the handshake that comes before it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from gateway.http.request_head import RequestHead
from gateway.net.connection_limits import Connection
from gateway.websocket.handshake import sec_websocket_accept
from gateway.websocket.upgrade import UpgradeUnsupported, self_test
from settings import Settings

# The example of RFC 6455, section 1.3.
HEADERS = {
    "Upgrade": "websocket",
    "Connection": "keep-alive, Upgrade",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "13",
}


def opening(method: str, headers: dict[str, str]) -> RequestHead:
    request = make_mocked_request(method, "/api/ws", headers)
    return RequestHead.from_request(
        request, Settings.from_environment({}), Connection("x", within_limits=True, within_rate=True)
    )


async def test_this_aiohttp_lets_go_of_a_connection() -> None:
    await self_test()


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("connection_lost", lambda self, error: None),  # it keeps the connection
        ("_message_tail", property(lambda self: b"", lambda self, value: None)),  # what came early is lost
    ],
)
async def test_another_aiohttp_is_found_out_at_the_start(monkeypatch: pytest.MonkeyPatch, name: str, other: Any) -> None:
    monkeypatch.setattr("gateway.websocket.upgrade.SELF_TEST_TIMEOUT_SECONDS", 0.5)
    monkeypatch.setattr(web.RequestHandler, name, other)
    with pytest.raises(UpgradeUnsupported):
        await self_test()
    await asyncio.sleep(0)


def test_a_handshake_is_accepted_with_what_its_key_says() -> None:
    assert sec_websocket_accept(opening("GET", HEADERS)) == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


@pytest.mark.parametrize(
    "changed",
    [
        {"Upgrade": "h2c"},
        {"Connection": "close"},
        {"Sec-WebSocket-Version": "8"},
        {"Sec-WebSocket-Key": ""},
        {"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25j"},
        {"Sec-WebSocket-Key": "dGhl*HNhbXBsZSBub25jZQ=="},
        {"Sec-WebSocket-Key": "é" * 24},
    ],
)
def test_what_is_no_handshake_is_not_accepted(changed: dict[str, str]) -> None:
    assert sec_websocket_accept(opening("GET", {**HEADERS, **changed})) is None
    assert sec_websocket_accept(opening("POST", HEADERS)) is None
