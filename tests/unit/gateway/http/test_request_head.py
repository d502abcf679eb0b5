"""gateway.http.request_head: token, subprotocol, body length and peer of a request."""

from __future__ import annotations

import asyncio
from ipaddress import ip_address

import pytest
from aiohttp import StreamReader
from aiohttp.base_protocol import BaseProtocol
from aiohttp.test_utils import make_mocked_request

from gateway.http.request_head import RequestHead
from gateway.net.connection_limits import Connection
from gateway.websocket.handshake import parse_upgrade_head
from settings import Settings
from tests.helpers.raw_websocket import upgrade_request
from tests.helpers.request_heads import make_request_head


@pytest.mark.parametrize(
    ("headers", "token"),
    [
        ([], None),
        ([("Authorization", "Bearer abc")], "abc"),
        ([("Authorization", "bearer  abc ")], "abc"),
        ([("Authorization", "Basic abc")], None),
        ([("Authorization", "Bearer")], ""),
        ([("Sec-WebSocket-Protocol", "orderwire, bearer.abc")], "abc"),
        ([("Sec-WebSocket-Protocol", "orderwire"), ("Sec-WebSocket-Protocol", "bearer.abc")], "abc"),
        ([("Sec-WebSocket-Protocol", "orderwire")], None),
        ([("Authorization", "Bearer abc"), ("Sec-WebSocket-Protocol", "bearer.def")], "abc"),
    ],
)
def test_token_is_read_from_the_header_or_a_subprotocol(headers: list[tuple[str, str]], token: str | None) -> None:
    assert make_request_head(headers=headers).token == token


def test_token_is_never_read_from_the_query() -> None:
    assert make_request_head(path="/api/ws?token=abc&access_token=abc").token is None


@pytest.mark.parametrize(
    ("offered", "selected"),
    [
        (None, None),
        ("orderwire", "orderwire"),
        ("bearer.abc, orderwire", "orderwire"),
        ("bearer.abc", "bearer.abc"),
        ("x, bearer.abc", "bearer.abc"),
        ("x", None),
        ("bearer.a b", None),
        ("bearer.a\x00b", None),
    ],
)
def test_subprotocol_is_selected_without_repeating_the_token_if_possible(offered: str | None, selected: str | None) -> None:
    headers = {} if offered is None else {"Sec-WebSocket-Protocol": offered}
    assert make_request_head(headers=headers).subprotocol == selected


async def test_body_length_is_none_if_the_request_does_not_tell_it() -> None:
    def body_length(headers: dict[str, str], *, has_body: bool) -> int | None:
        loop = asyncio.get_running_loop()
        payload = StreamReader(BaseProtocol(loop), 2**16, loop=loop)
        if not has_body:
            payload.feed_eof()
        request = make_mocked_request("POST", "/", headers, payload=payload)
        connection = Connection("key", within_limits=True, within_rate=True)
        return RequestHead.from_request(request, Settings.from_environment({}), connection).body_length

    assert body_length({}, has_body=False) == 0
    assert body_length({"Content-Length": "5"}, has_body=True) == 5
    assert body_length({"Transfer-Encoding": "chunked"}, has_body=True) is None


async def test_parsed_upgrade_head_has_the_peer_that_a_trusted_proxy_names() -> None:
    connection = Connection("key", within_limits=True, within_rate=True)
    settings = Settings.from_environment({"TRUSTED_PROXIES": "10.0.0.0/8"})
    headers = {"X-Forwarded-For": "198.51.100.1", "X-Forwarded-Proto": "https"}
    parsed = parse_upgrade_head(upgrade_request("/api/ws?topics=orders", "shop.example", headers), 1000)
    assert parsed is not None
    for remote, address, origin in (
        ("10.0.0.1", "198.51.100.1", "https://shop.example"),
        ("203.0.113.9", "203.0.113.9", "http://shop.example"),
    ):
        head = RequestHead.from_message(parsed[0], remote, settings, connection, secure=False)
        assert (head.path, head.query["topics"], head.body_length) == ("/api/ws", "orders", 0)
        assert (head.peer.address, head.peer.origin) == (ip_address(address), origin)


async def test_forwarding_headers_on_several_lines_are_one_list() -> None:
    connection = Connection("key", within_limits=True, within_rate=True)
    settings = Settings.from_environment({"TRUSTED_PROXIES": "10.0.0.0/8"})
    request = upgrade_request()[:-2] + b"X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 198.51.100.1, 10.0.0.2\r\n\r\n"
    parsed = parse_upgrade_head(request, 1000)
    assert parsed is not None
    head = RequestHead.from_message(parsed[0], "10.0.0.1", settings, connection, secure=False)
    assert head.peer.address == ip_address("198.51.100.1")
