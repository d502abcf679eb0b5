"""The websockets library with its own function for this: websockets.broadcast()."""

from __future__ import annotations

import asyncio

from websockets.asyncio.server import ServerConnection, broadcast, serve

from bench.peers.feed import HOST, PORT, follow_feed

clients: set[ServerConnection] = set()


async def websocket(connection: ServerConnection) -> None:
    clients.add(connection)
    try:
        await connection.wait_closed()
    finally:
        clients.discard(connection)


async def main() -> None:
    async with serve(websocket, HOST, PORT, backlog=4096):
        await follow_feed(lambda text: broadcast(clients, text))


if __name__ == "__main__":
    asyncio.run(main())
