"""A reverse proxy that serves a server below a prefix."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

__all__ = ["prefix_proxy"]


class _PrefixProxy:
    """Passes one request on from each connection: the head changed, all that follows as it is, in both directions.

    A path outside the prefix is answered with 404, as by a host that has other pages there.
    """

    def __init__(self, upstream: tuple[str, int], prefix: str, *, strips: bool) -> None:
        self._upstream = upstream
        self._prefix = prefix.encode()
        self._strips = strips
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        writers = [writer]
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                head = await reader.readuntil(b"\r\n\r\n")
                method, target, rest = head.split(b" ", 2)
                if not target.startswith((self._prefix + b"/", self._prefix + b" ")) and target != self._prefix:
                    writer.write(b"HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
                    await writer.drain()
                    return
                if self._strips:
                    target = target.removeprefix(self._prefix) or b"/"
                if b"\r\nupgrade:" not in head.lower():
                    rest = rest.replace(b"\r\n", b"\r\nConnection: close\r\n", 1).replace(b"\r\nConnection: keep-alive", b"")
                other_reader, other_writer = await asyncio.open_connection(*self._upstream)
                writers.append(other_writer)
                other_writer.write(b" ".join((method, target, rest)))
                sending = asyncio.create_task(_copy(reader, other_writer))
                try:
                    await _copy(other_reader, writer)
                finally:
                    sending.cancel()
        finally:
            for each in writers:
                each.close()
            self._tasks.discard(task)

    async def close(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()


@asynccontextmanager
async def prefix_proxy(server_url: str, prefix: str, *, strips: bool) -> AsyncIterator[str]:
    """Serve the server of ``server_url`` below ``prefix`` on a port of its own; yields the address of that, with the prefix.

    ``strips``: whether the server gets the paths without the prefix.
    """
    parts = urlsplit(server_url)
    assert parts.hostname is not None
    assert parts.port is not None
    proxy = _PrefixProxy((parts.hostname, parts.port), prefix, strips=strips)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}{prefix}"
    finally:
        server.close()
        await proxy.close()
