"""What stands between a server and its database."""

from __future__ import annotations

import asyncio
from contextlib import suppress


class TcpProxy:
    """Forwards TCP to PostgreSQL at ``port``, until ``stalled``: then it keeps every connection open and passes nothing on.

    New connections lead to what ``port`` is then.
    """

    def __init__(self, port: int) -> None:
        self.port = port
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server
        self.stalled = False
        self.accepted = 0

    async def start(self) -> int:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        transports = [writer.transport]
        with suppress(ConnectionError, asyncio.CancelledError):
            other_reader, other_writer = await asyncio.open_connection("127.0.0.1", self.port)
            transports.append(other_writer.transport)
            await asyncio.gather(self._forward(reader, other_writer), self._forward(other_reader, writer))
        for transport in transports:
            transport.abort()
        self._tasks.discard(task)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            if not self.stalled:
                writer.write(data)
        writer.close()

    async def stop(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)


def url_via_proxy(url: str, proxy_port: int) -> str:
    """The same database by way of the proxy."""
    head, tail = url.rsplit(":", 1)
    return f"{head}:{proxy_port}/{tail.split('/')[1]}"
