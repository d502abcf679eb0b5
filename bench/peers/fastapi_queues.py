"""FastAPI on uvicorn[standard], which uses uvloop, with a queue for each client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from fastapi import FastAPI, WebSocket, WebSocketDisconnect

from bench.peers.feed import HOST, PORT, follow_feed

queues: set[asyncio.Queue[str]] = set()


def publish(text: str) -> None:
    for queue in queues:
        queue.put_nowait(text)


async def websocket(ws: WebSocket) -> None:
    await ws.accept()
    queue: asyncio.Queue[str] = asyncio.Queue()
    queues.add(queue)
    try:
        while True:
            await ws.send_text(await queue.get())
    except WebSocketDisconnect:
        pass
    finally:
        queues.discard(queue)


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    feeding = asyncio.create_task(follow_feed(publish))
    yield
    feeding.cancel()


def main() -> None:
    app = FastAPI(lifespan=lifespan)
    app.add_api_websocket_route("/api/ws", websocket)
    uvicorn.run(app, host=HOST, port=PORT, log_level="warning", backlog=4096)


if __name__ == "__main__":
    main()
