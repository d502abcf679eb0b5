"""Attacks within the rules: clients with valid tokens, and a writer, that ask for as much work or memory as they may.

The server answers all of it. So what is measured is what it costs the others: the time until a ``pong``, and memory.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tests.attacks.floods import Attack
from tests.fuzz.tokens import sign

__all__ = ["LOADS", "Load"]

# Orders in the memory of the server, each written by a transaction of its own.
MANY_TRANSACTIONS = """
do $$ begin
    perform set_config('synchronous_commit', 'off', false);
    for n in 1..10000 loop
        insert into orders (customer_name, total) values ('Anna', 1);
        commit;
    end loop;
end $$
"""


def _burst(count: int, name_bytes: int) -> str:
    return f"insert into orders (customer_name, total) select repeat('x', {name_bytes}), 1 from generate_series(1, {count})"


@dataclass(frozen=True, slots=True)
class Load:
    """``attack`` runs in the attacker's process; ``prepare``, and then ``write`` again and again, are SQL of a writer.

    ``resumes``: how long another client's resume takes is measured too.
    """

    attack: Callable[[Attack], Awaitable[None]]
    write: str
    prepare: str = "select"
    resumes: bool = False


async def no_clients(attack: Attack) -> None:
    """The writer alone."""
    await asyncio.Event().wait()


async def wide_cursors(attack: Attack) -> None:
    """Resumes from a cursor that names 1,000 running transactions, while memory holds 10,000 events to compare it with."""
    position = (await attack.get_json("/api/orders?limit=1", attack.token))["position"]
    snapshot, _, witness = position.partition("~")
    epoch, newest = snapshot.split("-")[0], int(snapshot.split(".")[1]) - 1
    # One old transaction, so that it takes a look at the list to know that the others in between are not running.
    running = (newest - 9000, *range(newest - 999, newest))
    cursor = f"{epoch}-s{running[0]}.{newest}.{'.'.join(map(str, running))}~{witness}"
    token = sign({"role": "customer", "exp": int(time.time()) + 3600, "sub": "mallory", "orders": [1]})

    async def once() -> None:
        reader, writer = await attack.connect(attack.handshake(path=f"/api/ws?last_event_id={cursor}", token=token))
        try:
            received = b""
            while b'"resumed"' not in received and (data := await reader.read(2**16)):
                received += data
            attack.record("resumed" if b'"resumed"' in received else received[:12].decode(errors="replace"))
        finally:
            writer.transport.abort()

    await attack.repeat_concurrently(4, once)


async def unread(attack: Attack) -> None:
    """80 WebSockets, half of them compressed, and 80 SSE streams that do not read."""

    async def open_one(number: int) -> None:
        offer = "Sec-WebSocket-Extensions: permessage-deflate\r\n" if number % 2 else ""
        data = attack.handshake(more=offer) if number < 80 else attack.request("/api/sse")
        reader, writer = await attack.connect(data, receive_buffer=4096)
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        streams.append((reader, writer))

    streams: list[object] = []
    await asyncio.gather(*map(open_one, range(160)))
    attack.record("connected", len(streams))
    await asyncio.Event().wait()


async def history(attack: Attack) -> None:
    """20 customers, each from an address of its own, who page through the history of all."""

    async def page_through(number: int) -> None:
        token = sign({"role": "customer", "exp": int(time.time()) + 3600, "sub": f"customer-{number}"})
        path = "/api/events?limit=1000"
        while True:
            page = await attack.get_json(path, token, f"127.0.2.{number + 1}")
            attack.record("a page")
            path = f"/api/events?limit=1000&after={page['next']}" if page["more"] else "/api/events?limit=1000"

    await asyncio.gather(*map(page_through, range(20)))


async def sse_streams(attack: Attack) -> None:
    """150 SSE clients that read as fast as they can."""

    async def follow() -> None:
        reader, _ = await attack.connect(attack.request("/api/sse"))
        await reader.readuntil(b"event: analytics_update")
        attack.record("streams")
        while data := await reader.read(2**18):
            attack.record("events", data.count(b"event: new_order"))
        attack.record("closed")

    await asyncio.gather(*(follow() for _ in range(150)))


LOADS: dict[str, Load] = {
    "huge-value": Load(
        no_clients,
        "set orders.notify = off; insert into orders (customer_name, total) values (repeat(e'\\x01', 200000000), 1)",
    ),
    "wide-cursors": Load(wide_cursors, "select", MANY_TRANSACTIONS),
    "unread": Load(unread, _burst(1000, 16000)),
    "history": Load(history, "select", _burst(20_000, 100), resumes=True),
    "sse-streams": Load(sse_streams, _burst(900, 2000)),
}
