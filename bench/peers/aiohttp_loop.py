"""aiohttp, as in its chat demo: awaits send_str of each client, one after the other. With UVLOOP=1 on uvloop."""

from __future__ import annotations

import asyncio
import os

from aiohttp import web

from bench.peers.feed import HOST, PORT, follow_feed

clients: set[web.WebSocketResponse] = set()
messages: asyncio.Queue[str] = asyncio.Queue()


async def websocket(request: web.Request) -> web.WebSocketResponse:
    ws = web.WebSocketResponse()
    await ws.prepare(request)
    clients.add(ws)
    try:
        async for _ in ws:
            pass
    finally:
        clients.discard(ws)
    return ws


async def broadcast() -> None:
    while True:
        text = await messages.get()
        for ws in list(clients):
            await ws.send_str(text)


async def main() -> None:
    app = web.Application()
    app.router.add_get("/api/ws", websocket)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, HOST, PORT, backlog=4096).start()
    await asyncio.gather(broadcast(), follow_feed(messages.put_nowait))


if __name__ == "__main__":
    if os.environ.get("UVLOOP"):
        import uvloop

        uvloop.run(main())
    else:
        asyncio.run(main())
