"""The server sends pings on time, and closes a client that does not answer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from tests.helpers.raw_websocket import PONG, RawWebSocket
from tests.support import Server, StartServer

ConnectSilent = Callable[[Server], Awaitable[RawWebSocket]]


def ping_messages(client: RawWebSocket) -> int:
    return client.other_messages.count({"type": "ping"})


@pytest.fixture
async def connect_silent() -> AsyncIterator[ConnectSilent]:
    """Connects clients that do not answer pings by themselves."""
    clients: list[RawWebSocket] = []

    async def open_one(server: Server) -> RawWebSocket:
        clients.append(await RawWebSocket.connect(server.ws_url, auto_reply=False))
        return clients[-1]

    yield open_one
    for client in clients:
        await client.disconnect()


async def test_client_that_answers_neither_kind_of_ping_is_closed_after_two(
    start_server: StartServer, database_url: str, connect_silent: ConnectSilent
) -> None:
    client = await connect_silent(await start_server(database_url, HEARTBEAT_SECONDS="0.5"))
    await client.wait_until(lambda c: c.close_code is not None, "close")
    assert client.close_code == 3012
    assert ping_messages(client) == 2
    assert client.protocol_pings == 2


@pytest.mark.parametrize("how", ["pong frame", "protocol pong"])
async def test_answering_either_ping_keeps_the_connection(
    start_server: StartServer, database_url: str, connect_silent: ConnectSilent, how: str
) -> None:
    client = await connect_silent(await start_server(database_url, HEARTBEAT_SECONDS="0.5"))
    for n in range(1, 7):
        if how == "pong frame":
            await client.wait_until(lambda c: ping_messages(c) >= n, f"ping frame {n}")  # noqa: B023  (used at once)
            client.send_json({"type": "pong"})
        else:
            await client.wait_until(lambda c: c.protocol_pings >= n, f"protocol ping {n}")  # noqa: B023  (used at once)
            client.send_frame(PONG, b"")
    assert client.close_code is None
    # Without further answers it is closed.
    await client.wait_until(lambda c: c.close_code is not None, "close")
    assert client.close_code == 3012


async def test_ping_of_the_client_is_answered(
    start_server: StartServer, database_url: str, connect_silent: ConnectSilent
) -> None:
    client = await connect_silent(await start_server(database_url))
    client.send_json({"type": "ping"})
    await client.wait_until(lambda c: {"type": "pong"} in c.other_messages, "pong")
