"""A connection pooler in transaction mode, as far as the tests need it: it speaks the protocol on both sides.

A client is let in without a password, and gets a process id that is no server's. From its first message until PostgreSQL says
that no transaction is open any more, it has one of the pool's connections, the one that was used last; then it has none.
"""

from __future__ import annotations

import asyncio
import struct
from contextlib import suppress

import asyncpg

TERMINATE, READY_FOR_QUERY = b"X", b"Z"
AUTHENTICATION_OK = b"R" + struct.pack("!ii", 8, 0)
# A process id that no server has: they end below 2^22.
BACKEND_KEY_DATA = b"K" + struct.pack("!iii", 12, 2**30, 0)
READY = b"Z" + struct.pack("!ic", 5, b"I")


def parameter_status(name: bytes, value: bytes) -> bytes:
    body = name + b"\0" + value + b"\0"
    return b"S" + struct.pack("!i", len(body) + 4) + body


async def read_message(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """The type of the next message, and all of its bytes."""
    head = await reader.readexactly(5)
    return head[:1], head + await reader.readexactly(struct.unpack("!i", head[1:])[0] - 4)


class _TappedProtocol(asyncio.Protocol):
    """Takes the place of asyncpg's protocol on a connection that it has opened and logged in."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self.reader = asyncio.StreamReader()
        self.transport = transport
        transport.set_protocol(self)

    def data_received(self, data: bytes) -> None:
        self.reader.feed_data(data)

    def connection_lost(self, _: Exception | None) -> None:
        self.reader.feed_eof()


class TransactionPooler:
    """Listens on a port of 127.0.0.1, with ``size`` connections to the database at ``url``."""

    def __init__(self, url: str, size: int = 2) -> None:
        self._url = url
        self._size = size
        self._idle: asyncio.LifoQueue[_TappedProtocol] = asyncio.LifoQueue()
        self._tasks: set[asyncio.Task[None]] = set()
        self._opened: list[asyncpg.Connection[asyncpg.Record]] = []
        self._server: asyncio.Server

    async def start(self) -> int:
        for _ in range(self._size):
            connection = await asyncpg.connect(self._url, ssl=False)
            self._opened.append(connection)
            self._idle.put_nowait(_TappedProtocol(connection._transport))  # type: ignore[attr-defined]
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        for connection in self._opened:
            connection.terminate()
        await asyncio.sleep(0)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
                await self._serve(reader, writer)
        finally:
            writer.transport.abort()
            self._tasks.discard(task)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            size, code = struct.unpack("!ii", await reader.readexactly(8))
            await reader.readexactly(size - 8)
            if code == 196608:  # not SSLRequest or GSSENCRequest
                break
            writer.write(b"N")
        writer.write(AUTHENTICATION_OK + parameter_status(b"client_encoding", b"UTF8"))
        writer.write(parameter_status(b"server_version", b"18.0") + BACKEND_KEY_DATA + READY)
        client = _Client(writer, self._idle)
        try:
            while True:
                kind, message = await read_message(reader)
                if kind == TERMINATE:
                    return
                await client.forward(kind, message)
        finally:
            await client.release()


class _Client:
    """A client, and the server connection that it has while a transaction is open."""

    def __init__(self, writer: asyncio.StreamWriter, idle: asyncio.LifoQueue[_TappedProtocol]) -> None:
        self._writer = writer
        self._idle = idle
        self._server: _TappedProtocol | None = None
        self._answers: asyncio.Task[None] | None = None
        # Queries and Syncs that PostgreSQL has not answered yet.
        self._unanswered = 0

    async def forward(self, kind: bytes, message: bytes) -> None:
        if self._server is None:
            self._server = await self._idle.get()
            self._answers = asyncio.create_task(self._forward_answers(self._server), name="pooler's answers")
        self._unanswered += kind in (b"Q", b"S")
        self._server.transport.write(message)

    async def _forward_answers(self, server: _TappedProtocol) -> None:
        while True:
            try:
                kind, message = await read_message(server.reader)
            except asyncio.IncompleteReadError:  # PostgreSQL has ended
                self._writer.transport.abort()
                return
            self._writer.write(message)
            if kind == READY_FOR_QUERY:
                self._unanswered -= 1
                if message[5:] == b"I" and self._unanswered == 0:
                    self._server = None
                    self._idle.put_nowait(server)
                    return

    async def release(self) -> None:
        """The client is gone: end its transaction."""
        server = self._server
        if server is None or self._answers is None:
            return
        self._answers.cancel()
        await asyncio.wait([self._answers])
        server.transport.write(b"Q" + struct.pack("!i", 13) + b"rollback\0")
        for _ in range(self._unanswered + 1):
            while (await read_message(server.reader))[0] != READY_FOR_QUERY:
                pass
        self._idle.put_nowait(server)
