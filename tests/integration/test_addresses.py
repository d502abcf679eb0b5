"""The addresses on which a server process listens, and the one that it prints."""

from __future__ import annotations

from urllib.parse import urlsplit

import aiohttp
import pytest

from tests.helpers.ipv6 import needs_ipv6
from tests.support import Connect, Server, StartServer


@needs_ipv6
@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("websocket_io", ["auto", "transport"])
@pytest.mark.parametrize("host", ["::", "localhost"])
async def test_both_families_are_served_and_the_printed_address_answers(
    start_server: StartServer, connect: Connect, database_url: str, host: str, workers: str, websocket_io: str
) -> None:
    server: Server = await start_server(database_url, HOST=host, WORKERS=workers, WEBSOCKET_IO=websocket_io)
    client = await connect(server.ws_url)
    await client.wait_until(lambda c: bool(c.messages), "the totals")
    port = urlsplit(server.http_url).port
    async with aiohttp.ClientSession() as http:
        for name in ("127.0.0.1", "[::1]"):
            # Without login: either address is one of this machine.
            async with http.get(f"http://{name}:{port}/api/orders") as response:
                assert response.status == 200, name
    assert await server.stop() == 0
