"""Tests the server against RFC 6455, and that docs/reference/conformance.md is up to date."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

import pytest

from tests.conformance.__main__ import PAGE
from tests.conformance.run import DEVIATION, SETTINGS, report, run_all
from tests.support import TIMEOUT_SECONDS, Server, StartServer, within

USUAL_HEADERS = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}

# RFC 6455 section 4.2: name → (headers that differ from USUAL_HEADERS, status, a line of the response).
HANDSHAKES: dict[str, tuple[dict[str, str | None], int, str | None]] = {
    "usual": ({}, 101, "sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
    "other case": ({"Upgrade": "WebSocket", "Connection": "keep-alive, upgrade"}, 101, None),
    "an unknown extension": ({"Sec-WebSocket-Extensions": "x-unknown; y=1"}, 101, None),
    "a supported extension": (
        {"Sec-WebSocket-Extensions": "x-unknown, permessage-deflate; client_max_window_bits"},
        101,
        "sec-websocket-extensions: permessage-deflate; client_max_window_bits=9",
    ),
    "a malformed extension": ({"Sec-WebSocket-Extensions": "permessage-deflate;"}, 400, None),
    "a supported subprotocol among others": (
        {"Sec-WebSocket-Protocol": "chat, orderwire"},
        101,
        "sec-websocket-protocol: orderwire",
    ),
    "no upgrade": ({"Upgrade": None}, 400, None),
    "another upgrade": ({"Upgrade": "h2c"}, 400, None),
    "no upgrade in Connection": ({"Connection": "keep-alive"}, 400, None),
    "no key": ({"Sec-WebSocket-Key": None}, 400, None),
    "a key of 15 bytes": ({"Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAA"}, 400, None),
    "a key that is not Base64": ({"Sec-WebSocket-Key": "!"}, 400, None),
    "an old version": ({"Sec-WebSocket-Version": "8"}, 426, "sec-websocket-version: 13"),
    "a later version": ({"Sec-WebSocket-Version": "14"}, 426, "sec-websocket-version: 13"),
    "an invalid version": ({"Sec-WebSocket-Version": "x"}, 426, "sec-websocket-version: 13"),
}


async def test_page_is_up_to_date_and_has_no_deviations(start_server: StartServer, database_url: str) -> None:
    server: Server = await start_server(database_url, COMPRESSION="1", **SETTINGS)
    results = await run_all(server.http_url)
    assert [result for result in results if result.outcome == DEVIATION] == []
    assert PAGE.read_text(encoding="utf-8") == report(results), "run make conformance"
    await server.stop()
    assert "ERROR" not in server.output


@pytest.fixture
async def server(start_server: StartServer, database_url: str) -> Server:
    server: Server = await start_server(database_url, COMPRESSION="1")
    return server


async def test_handshake(server: Server) -> None:
    address = urlsplit(server.http_url)
    for name, (different, status, line) in HANDSHAKES.items():
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        headers = {"Host": address.netloc, **USUAL_HEADERS, **different}
        lines = "".join(f"{header}: {value}\r\n" for header, value in headers.items() if value is not None)
        writer.write(f"GET /api/ws HTTP/1.1\r\n{lines}\r\n".encode())
        head = (await within(TIMEOUT_SECONDS, reader.readuntil(b"\r\n\r\n"), name)).decode()
        assert head.startswith(f"HTTP/1.1 {status} "), name
        answered = [f"{key.lower()}: {value.strip()}" for key, _, value in (row.partition(":") for row in head.split("\r\n"))]
        assert line is None or line in answered, name
        assert any(row.startswith("sec-websocket-extensions") for row in answered) == (name == "a supported extension"), name
        assert any(row.startswith("sec-websocket-protocol") for row in answered) == ("Sec-WebSocket-Protocol" in different), (
            name
        )
        writer.close()
