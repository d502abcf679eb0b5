"""The Python client against a server: restarts, gaps, tokens, a slow program, a network that goes silent, a kept cursor."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest

import orderwire.policy
from orderwire import (
    Client,
    CommandError,
    Connected,
    ConnectionEnded,
    Disconnected,
    FileCursor,
    Gap,
    Message,
    OrderEvent,
    Subscribed,
    Totals,
)
from tests.conftest import needs_one_worker
from tests.helpers.tcp_proxy import TcpProxy
from tests.helpers.tokens import SECRET, token
from tests.support import TIMEOUT_SECONDS, Server, StartServer, free_port, within

QUICK: Any = {"base_delay": 0.05, "max_delay": 0.2}


async def insert(db: Any, *names: str) -> None:
    for name in names:
        await db.execute("insert into orders (customer_name, total) values ($1, 1)", name)


async def next_of(client: Client, *kinds: type) -> Any:
    """The next message of one of these classes."""

    async def search() -> Message:
        async for message in client:
            if isinstance(message, kinds):
                return message
        raise AssertionError("the client has ended")

    return await within(TIMEOUT_SECONDS, search(), " or ".join(kind.__name__ for kind in kinds))


async def names_of(client: Client, count: int) -> list[str | None]:
    return [(await next_of(client, OrderEvent)).customer_name for _ in range(count)]


@pytest.fixture
async def server(start_server: StartServer, database_url: str) -> Server:
    server: Server = await start_server(database_url)
    return server


async def test_messages_come_in_order_and_typed(server: Server, db: Any) -> None:
    async with Client(server.http_url) as client:
        first: list[Message] = [await anext(client), await anext(client)]
        assert isinstance(first[0], Connected)
        assert isinstance(first[1], Totals)
        assert (client.online, client.live, client.totals) == (True, True, first[1])
        await insert(db, "Иван Иванов")
        event = await next_of(client, OrderEvent)
        assert (event.type, event.customer_name, str(event.total)) == ("new_order", "Иван Иванов", "1.00")
        assert (await next_of(client, Totals)).orders == 1
    assert not client.online


async def test_a_restart_of_the_server_loses_and_repeats_nothing(start_server: StartServer, database_url: str, db: Any) -> None:
    port = free_port()
    server: Server = await start_server(database_url, PORT=port)
    async with Client(server.http_url, **QUICK) as client:
        await next_of(client, Connected)
        await insert(db, "before")
        assert await names_of(client, 1) == ["before"]
        await server.stop()
        assert (await next_of(client, Disconnected)).code == 3001
        await insert(db, "meanwhile 1", "meanwhile 2")
        server = await start_server(database_url, PORT=port)
        await next_of(client, Connected)
        await insert(db, "after")
        assert await names_of(client, 3) == ["meanwhile 1", "meanwhile 2", "after"]
        await server.kill()
        await insert(db, "meanwhile 3")
        await start_server(database_url, PORT=port)
        assert await names_of(client, 1) == ["meanwhile 3"]


async def test_a_gap_that_cannot_be_closed_is_told(server: Server, db: Any) -> None:
    async with Client(server.http_url, cursor="5f0c12ab-761-2731524096-1") as client:
        await next_of(client, Gap)
        await insert(db, "after")
        assert await names_of(client, 1) == ["after"]


async def test_a_connection_that_is_lost_before_the_first_event_is_a_gap(
    start_server: StartServer, database_url: str, db: Any
) -> None:
    port = free_port()
    server: Server = await start_server(database_url, PORT=port)
    async with Client(server.http_url, **QUICK) as client:
        await next_of(client, Connected)
        await server.stop()
        await insert(db, "missed")
        await start_server(database_url, PORT=port)
        assert isinstance(await next_of(client, Gap, OrderEvent), Gap)


async def test_the_position_of_a_list_leaves_no_gap(server: Server, db: Any) -> None:
    await insert(db, "listed")
    async with aiohttp.ClientSession() as http, http.get(f"{server.http_url}/api/orders") as response:
        page = await response.json()
    await insert(db, "since")
    async with Client(server.http_url, cursor=page["position"]) as client:
        assert await names_of(client, 1) == ["since"]


# ---------------------------------------------------------------- tokens


async def test_a_token_is_renewed_on_the_open_connection(
    start_server: StartServer, database_url: str, monkeypatch: pytest.MonkeyPatch, db: Any
) -> None:
    monkeypatch.setattr(orderwire.policy, "MIN_TOKEN_REFRESH", 0.1)
    server: Server = await start_server(database_url, JWT_SECRET=SECRET)
    asked = asyncio.Queue[float]()
    loop = asyncio.get_running_loop()

    async def get_token() -> str:
        asked.put_nowait(loop.time())
        return token("admin", ttl=3)

    async with Client(server.http_url, token=get_token) as client:
        await next_of(client, Connected)
        start = await asked.get()
        while await within(TIMEOUT_SECONDS, asked.get(), "a further token") < start + 4:
            pass  # until the first token has expired for sure
        await insert(db, "still there")
        event = await next_of(client, OrderEvent, Disconnected)
        assert isinstance(event, OrderEvent)


async def test_an_expired_token_is_replaced_by_a_fresh_one(start_server: StartServer, database_url: str) -> None:
    server: Server = await start_server(database_url, JWT_SECRET=SECRET)
    tokens = iter([token("admin", ttl=-1), token("admin")])
    async with Client(server.http_url, token=lambda: next(tokens), **QUICK) as client:
        await next_of(client, Totals)


async def test_an_invalid_token_ends_the_client(start_server: StartServer, database_url: str) -> None:
    server: Server = await start_server(database_url, JWT_SECRET=SECRET)
    async with Client(server.http_url, token="invalid") as client:
        with pytest.raises(ConnectionEnded) as ended:
            await next_of(client, Totals)
        assert (ended.value.code, ended.value.terminal) == (3500, True)
        with pytest.raises(ConnectionEnded):
            await anext(client)


async def test_a_function_that_has_no_token_is_asked_again(start_server: StartServer, database_url: str) -> None:
    server: Server = await start_server(database_url, JWT_SECRET=SECRET)
    answers: Iterator[str] = iter(["", token("admin")])

    def get_token() -> str:
        if answer := next(answers):
            return answer
        raise OSError("the login is away")

    async with Client(server.http_url, token=get_token, **QUICK) as client:
        await next_of(client, Totals)


# ---------------------------------------------------------------- connections


async def test_it_gives_up_after_so_many_attempts() -> None:
    async with Client(f"http://127.0.0.1:{free_port()}", max_attempts=2, **QUICK) as client:
        with pytest.raises(ConnectionEnded) as ended:
            await next_of(client, Totals)
        assert (ended.value.code, ended.value.terminal) == (1006, False)


async def test_a_silent_connection_is_replaced(server: Server, db: Any) -> None:
    port = urlsplit(server.http_url).port
    assert port is not None
    proxy = TcpProxy(port)
    url = f"http://127.0.0.1:{await proxy.start()}"
    try:
        async with Client(url, heartbeat=0.2, **QUICK) as client:
            await next_of(client, Connected)
            await insert(db, "before")
            assert await names_of(client, 1) == ["before"]
            proxy.stalled = True
            assert (await next_of(client, Disconnected)).code == 3012
            await insert(db, "missed")
            proxy.stalled = False
            assert await names_of(client, 1) == ["missed"]
    finally:
        await proxy.stop()


@needs_one_worker
async def test_a_slow_program_is_disconnected_and_misses_nothing(start_server: StartServer, database_url: str, db: Any) -> None:
    server: Server = await start_server(database_url, SEND_QUEUE_FRAMES="20", SEND_QUEUE_BYTES="20000", LOG_LEVEL="DEBUG")
    async with Client(server.http_url, topics=["orders"], queue_size=5, **QUICK) as client:
        await next_of(client, Connected)
        await insert(db, "first")
        assert await names_of(client, 1) == ["first"]
        # 14 MB, while the program does something else: more than the sockets' buffers hold. Not more events than are replayed.
        rows = 6000
        statement = "insert into orders (customer_name, total) select $1, n from generate_series(1, $2::int) n"
        await db.execute(statement, "\U0001f355" * 500, rows)
        await server.wait_for_line("close_code=3008")
        ids: set[str] = set()
        codes: list[int] = []
        while len(ids) < rows:
            message = await next_of(client, OrderEvent, Disconnected, Gap)
            if isinstance(message, OrderEvent):
                assert message.id not in ids
                ids.add(message.id)
            else:
                assert isinstance(message, Disconnected), "a gap"
                codes.append(message.code)
        assert 3008 in codes


# ---------------------------------------------------------------- commands


async def test_commands_are_sent_and_answered(server: Server, db: Any) -> None:
    async with Client(server.http_url, topics=["analytics"]) as client:
        await client.subscribe("order:1")  # it waits for the connection
        assert (await next_of(client, Subscribed)).topics == {"analytics", "order:1"}
        await insert(db, "one", "two")
        assert await names_of(client, 1) == ["one"]
        await client.subscribe("order")
        assert (await next_of(client, CommandError)).code == "bad_topic"
        await client.unsubscribe("order:1", "analytics")
        assert (await next_of(client, Subscribed)).topics == frozenset()


async def test_topics_are_kept_across_a_reconnect(start_server: StartServer, database_url: str, db: Any) -> None:
    port = free_port()
    server: Server = await start_server(database_url, PORT=port)
    async with Client(server.http_url, topics=["analytics"], **QUICK) as client:
        await client.subscribe("order:2")
        await next_of(client, Subscribed)
        await server.stop()
        await next_of(client, Disconnected)
        await start_server(database_url, PORT=port)
        await next_of(client, Connected)
        await insert(db, "one", "two")
        assert await names_of(client, 1) == ["two"]


# ---------------------------------------------------------------- a kept cursor


async def test_what_was_not_handled_comes_again_after_a_crash(server: Server, db: Any, tmp_path: Path) -> None:
    """The cursor is that of the last event that the program has handled."""
    handled: list[str | None] = []

    async def run(until: str) -> None:
        async with Client(server.http_url, cursor=FileCursor(tmp_path / "cursor")) as client:
            await next_of(client, Connected)
            if not handled:
                await insert(db, "one", "two", "three")
            async for message in client:
                if isinstance(message, OrderEvent):
                    if message.customer_name == until:
                        raise RuntimeError("it crashes here")
                    handled.append(message.customer_name)
                    if message.customer_name == "three":
                        break

    with pytest.raises(RuntimeError):
        await within(TIMEOUT_SECONDS, run("three"), "two events")
    assert handled == ["one", "two"]
    await within(TIMEOUT_SECONDS, run("never"), "the third event")
    assert handled == ["one", "two", "three"]
    await insert(db, "four")
    async with Client(server.http_url, cursor=FileCursor(tmp_path / "cursor")) as client:
        assert await names_of(client, 1) == ["four"]


async def test_the_cursor_is_saved_while_the_program_waits(server: Server, db: Any, tmp_path: Path) -> None:
    path = tmp_path / "cursor"
    async with Client(server.http_url, cursor=FileCursor(path)) as client:
        await next_of(client, Connected)
        await insert(db, "one")
        event = await next_of(client, OrderEvent)
        await insert(db, "two")
        last = await next_of(client, OrderEvent)
        waiting = asyncio.create_task(next_of(client, Disconnected))
        try:
            # The file has the first cursor at once, and the last one within a second.
            while not path.exists() or path.read_text() == event.id:
                await asyncio.sleep(0.02)
            assert path.read_text() == last.id
        finally:
            waiting.cancel()
            await asyncio.wait([waiting])
