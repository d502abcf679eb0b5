"""The source of messages of every Python peer.

The peer serves on PORT. On TRIGGER_PORT a line "FRAMES BYTES" publishes FRAMES messages of BYTES bytes in one event-loop tick.
With DATABASE_URL, each notification on the channel ``orders`` is published too.
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
    """Call ``publish`` for each message, until this task is cancelled."""

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
    """Listen on TRIGGER_PORT; call ``publish(frames, bytes)`` for each line."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async for line in reader:
            frames, size = line.split()
            publish(int(frames), int(size))
        writer.close()

    return await asyncio.start_server(handle, HOST, int(os.environ["TRIGGER_PORT"]))
