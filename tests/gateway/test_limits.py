"""Limits that hold for requests and sessions, however the connections are accepted: behind a proxy, and on messages."""

from __future__ import annotations

from contextlib import suppress

import aiohttp
import pytest

from gateway.websocket.handshake import WINDOW_BUDGET
from tests.conftest import needs_one_worker
from tests.gateway.conftest import StartApp, StartTarget
from tests.helpers.tokens import SECRET, token
from tests.support import TIMEOUT_SECONDS, Client, Connect, within


@needs_one_worker
async def test_clients_behind_a_proxy_are_counted_by_their_own_addresses(start_target: StartTarget, connect: Connect) -> None:
    target = await start_target(
        JWT_SECRET=SECRET, TRUSTED_PROXIES="127.0.0.1", MAX_CONNECTIONS_PER_ADDRESS="2", HANDSHAKES_PER_SECOND="2"
    )

    def headers(n: int) -> dict[str, str]:
        return {"X-Forwarded-For": f"198.51.100.{n}", "Authorization": f"Bearer {token()}"}

    async def status(n: int) -> int:
        url = target.http_url + "/api/analytics"
        # A new connection for each request.
        async with aiohttp.ClientSession() as http, http.get(url, headers=headers(n)) as response:
            return response.status

    for _ in range(2):
        client = await connect(target.ws_url, headers=headers(1))
        await client.wait_until(lambda c: len(c.messages) >= 1, "accepted")
    assert await (await connect(target.ws_url, headers=headers(1))).wait_closed() == 3504
    for n in range(2, 12):
        client = await connect(target.ws_url, headers=headers(n))
        await client.wait_until(lambda c: len(c.messages) >= 1, "accepted")
    assert [await status(20) for _ in range(5)] == [200, 200, 200, 200, 429]
    assert await status(21) == 200


async def test_a_client_over_its_rate_of_frames_or_bytes_is_closed(start_target: StartTarget, connect: Connect) -> None:
    target = await start_target(FRAMES_PER_SECOND="10", BYTES_PER_SECOND="4KiB")
    other = await connect(target.ws_url)
    fast, large, pinging = [await connect(target.ws_url) for _ in range(3)]
    with suppress(ConnectionError):  # the server may close it before all is sent
        for _ in range(200):
            await fast.ws.send_str("{}")
    with suppress(ConnectionError):
        for _ in range(200):
            await pinging.ws.ping()
    await large.ws.send_str('{"type":"pong","x":"' + "x" * 9000 + '"}')
    for client in (fast, large, pinging):
        assert await client.wait_closed() == 3013
    await other.send('{"type":"ping"}')
    await other.wait_until(lambda c: len(c.of_type("pong")) == 1, "pong")


async def test_a_client_beyond_the_bound_on_windows_is_served_without_compression(
    start_app: StartApp, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The window of a client is free again when it has gone, also when it was rejected."""
    app = await start_app(JWT_SECRET=SECRET, HANDSHAKES_PER_SECOND="10000")
    monkeypatch.setattr(app.app[WINDOW_BUDGET], "_free", 600)  # for one client

    async def connect_compressed(shown: str) -> Client:
        return await connect(app.ws_url, headers={"Authorization": f"Bearer {shown}"}, compress=15)

    async def until_compressed(shown: str) -> Client:
        while not (client := await connect_compressed(shown)).ws.compress:
            await client.ws.close()
        return client

    first = await connect_compressed(token())
    assert first.ws.compress
    second = await connect_compressed(token())
    assert not second.ws.compress
    await second.wait_until(lambda c: len(c.messages) >= 1, "accepted")
    await first.ws.close()
    rejected = await within(TIMEOUT_SECONDS, until_compressed("bad"), "the window of the first")
    assert await rejected.wait_closed() == 3500
    await within(TIMEOUT_SECONDS, until_compressed(token()), "the window of the rejected one")
