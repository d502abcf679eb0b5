"""gateway.websocket.handshake: which requests are upgrades, what they negotiate, and the 101 response."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web

from gateway.app_keys import RELAY, SETTINGS
from gateway.websocket.handshake import (
    WINDOW_BUDGET,
    Handshake,
    negotiate,
    parse_upgrade_head,
    request_line_prefixes,
    sec_websocket_accept,
    switching_protocols,
)
from gateway.websocket.permessage_deflate import Agreement, WindowBudget
from settings import Settings
from tests.helpers.raw_websocket import UPGRADE_REQUEST, upgrade_request
from tests.helpers.request_heads import UPGRADE_HEADERS, make_request_head

# The example of RFC 6455, section 1.3.
ACCEPT_VALUE = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


def make_app(settings: dict[str, str] | None = None, *, started: bool = True) -> Any:
    relay = SimpleNamespace(epoch="e1" if started else None, not_ready_reason="not started yet")
    return {SETTINGS: Settings.from_environment(settings or {}), RELAY: relay, WINDOW_BUDGET: WindowBudget()}


async def test_parse_upgrade_head_returns_the_request_and_its_size() -> None:
    parsed = parse_upgrade_head(UPGRADE_REQUEST + b"a frame", 500)
    assert parsed is not None
    message, size = parsed
    assert (message.method, message.path, size) == ("GET", "/api/ws", len(UPGRADE_REQUEST))


@pytest.mark.parametrize(
    "data",
    [
        UPGRADE_REQUEST[:-1],
        UPGRADE_REQUEST.replace(b"GET", b"POST"),
        UPGRADE_REQUEST.replace(b"/api/ws", b"/api/wss"),
        UPGRADE_REQUEST.replace(b"Upgrade: websocket\r\n", b""),
        UPGRADE_REQUEST[:-2] + b"Content-Length: 1\r\n\r\n",
        UPGRADE_REQUEST[:-2] + b"Expect: 100-continue\r\n\r\n",
        UPGRADE_REQUEST[:-2] + b"X: " + b"x" * 1000 + b"\r\n\r\n",
        UPGRADE_REQUEST[:-2] + b"X: x\r\n" * 70 + b"\r\n",
        UPGRADE_REQUEST[:-2] + b"X\r\n\r\n",
    ],
)
async def test_parse_upgrade_head_leaves_every_other_request_to_aiohttp(data: bytes) -> None:
    assert parse_upgrade_head(data, 500) is None


def test_accept_value_is_computed_from_the_key() -> None:
    assert sec_websocket_accept(make_request_head("GET", UPGRADE_HEADERS)) == ACCEPT_VALUE


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
def test_invalid_upgrade_request_has_no_accept_value(changed: dict[str, str]) -> None:
    assert sec_websocket_accept(make_request_head("GET", {**UPGRADE_HEADERS, **changed})) is None
    assert sec_websocket_accept(make_request_head("POST", UPGRADE_HEADERS)) is None


@pytest.mark.parametrize(
    ("headers", "settings", "handshake"),
    [
        ({}, {}, Handshake(ACCEPT_VALUE, None, None)),
        ({"Sec-WebSocket-Protocol": "x, orderwire"}, {}, Handshake(ACCEPT_VALUE, "orderwire", None)),
        (
            {"Sec-WebSocket-Extensions": "permessage-deflate"},
            {"COMPRESSION": "1"},
            Handshake(ACCEPT_VALUE, None, Agreement("permessage-deflate", 32768)),
        ),
        ({"Sec-WebSocket-Extensions": "permessage-deflate"}, {"COMPRESSION": "0"}, Handshake(ACCEPT_VALUE, None, None)),
        ({"Sec-WebSocket-Extensions": "x-unknown"}, {"COMPRESSION": "1"}, Handshake(ACCEPT_VALUE, None, None)),
    ],
)
def test_subprotocol_and_extension_are_negotiated(
    headers: dict[str, str], settings: dict[str, str], handshake: Handshake
) -> None:
    assert negotiate(make_app(settings), make_request_head("GET", {**UPGRADE_HEADERS, **headers})) == handshake


def test_without_room_for_its_window_a_client_is_not_given_the_extension() -> None:
    app = make_app()
    app[WINDOW_BUDGET] = WindowBudget(1000)
    for offer, given in (
        ("permessage-deflate", False),
        ("permessage-deflate; client_max_window_bits", True),
        ("permessage-deflate; client_no_context_takeover", True),
    ):
        head = make_request_head("GET", {**UPGRADE_HEADERS, "Sec-WebSocket-Extensions": offer})
        assert (negotiate(app, head).extension is not None) is given


@pytest.mark.parametrize(
    ("headers", "started", "status"),
    [
        ({"Sec-WebSocket-Version": "8"}, True, 426),
        ({"Sec-WebSocket-Key": ""}, True, 400),
        ({"Sec-WebSocket-Extensions": ";;"}, True, 400),
        ({}, False, 503),
    ],
)
def test_bad_upgrade_request_raises_the_http_error(headers: dict[str, str], started: bool, status: int) -> None:
    with pytest.raises(web.HTTPException) as raised:
        negotiate(make_app(started=started), make_request_head("GET", {**UPGRADE_HEADERS, **headers}))
    assert raised.value.status == status
    if status == 426:
        assert raised.value.headers["Sec-WebSocket-Version"] == "13"


def test_response_names_what_was_negotiated() -> None:
    assert switching_protocols("x", None) == (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n"
    )
    response = Handshake("x", "orderwire", Agreement("permessage-deflate", 0)).response
    assert response.endswith(b"\r\nSec-WebSocket-Protocol: orderwire\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n")


async def test_an_upgrade_request_may_be_below_the_path_of_a_proxy() -> None:
    prefixes = request_line_prefixes("/shop")
    for path, parsed in (("/shop/api/ws?x=1", True), ("/api/ws", True), ("/shop/shop/api/ws", False), ("/shop/api/wss", False)):
        assert (parse_upgrade_head(upgrade_request(path), 8190, prefixes) is not None) is parsed, path
    assert parse_upgrade_head(upgrade_request("/shop/api/ws"), 8190) is None
