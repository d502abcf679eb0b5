"""What every peer in Python has in common: where its messages come from.

PORT is the peer's own. On TRIGGER_PORT a line "FRAMES BYTES" makes so many messages of so many bytes in one turn of the loop.
With DATABASE_URL, what is notified on channel ``orders`` is a message, too.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from itertools import islice

import asyncpg

from bench.peers.orders import messages

HOST = "127.0.0.1"
PORT = int(os.environ.get("PORT", "0"))


async def follow_feed(publish: Callable[[str], None]) -> None:
    """Call ``publish`` for each message, for as long as this task lives."""

    def make(frames: int, size: int) -> None:
        for text in islice(messages(size), frames):
            publish(text)

    trigger = await listen_for_trigger(make)
    try:
        if url := os.environ.get("DATABASE_URL"):
            database = await asyncpg.connect(url)
            await database.add_listener("orders", lambda *notification: publish(str(notification[3])))
        print("ready", flush=True)
        await asyncio.get_running_loop().create_future()
    finally:
        trigger.close()


async def listen_for_trigger(publish: Callable[[int, int], None]) -> asyncio.Server:
    """Listen on TRIGGER_PORT; ``make`` gets the two numbers."""

    async def obey(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async for line in reader:
            frames, size = line.split()
            publish(int(frames), int(size))
        writer.close()

    return await asyncio.start_server(obey, HOST, int(os.environ["TRIGGER_PORT"]))
