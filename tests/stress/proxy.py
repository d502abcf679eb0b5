"""A TCP proxy whose connections can be cut, stalled or made half-open."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

Address = tuple[str, int]


class _Socket(asyncio.Protocol):
    """One of the two sockets of a proxied connection."""

    def __init__(self, link: ProxiedConnection) -> None:
        self.link = link
        self.other: _Socket | None = None
        self.transport: asyncio.Transport | None = None
        self.write_paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.link.update_reading()

    def data_received(self, data: bytes) -> None:
        assert self.other is not None
        assert self.other.transport is not None
        self.other.transport.write(data)

    def pause_writing(self) -> None:
        self.write_paused = True
        self.link.update_reading()

    def resume_writing(self) -> None:
        self.write_paused = False
        self.link.update_reading()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.close()
        self.link.unregister()


class ProxiedConnection:
    """One connection through the proxy."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self.client_side = _Socket(self)
        self.server_side = _Socket(self)
        self.client_side.other, self.server_side.other = self.server_side, self.client_side
        self.stalled = proxy.stalled
        self.half_open = False
        proxy.connections.add(self)

    def update_reading(self) -> None:
        """Read from a side only while the other can be written to and the connection is neither stalled nor half-open."""
        for end, other in ((self.client_side, self.server_side), (self.server_side, self.client_side)):
            if end.transport is None or end.transport.is_closing():
                continue
            if other.transport is None or other.write_paused or self.stalled or self.half_open:
                end.transport.pause_reading()
            else:
                end.transport.resume_reading()

    def stall(self, stalled: bool) -> None:
        self.stalled = stalled
        self.update_reading()

    def make_half_open(self) -> None:
        """Keep both sockets open and forward nothing any more, not even the end."""
        self.half_open = True
        self.update_reading()

    def cut(self) -> None:
        for end in (self.client_side, self.server_side):
            if end.transport is not None:
                end.transport.abort()
        self.unregister()

    def unregister(self) -> None:
        self._proxy.connections.discard(self)
        self._proxy.by_port.pop(self.client_port, None)

    @property
    def client_port(self) -> int:
        """The port of the client that connected to the proxy."""
        address = self.client_side.transport.get_extra_info("peername") if self.client_side.transport is not None else None
        return int(address[1]) if address else 0


class Proxy:
    """Listens on a port and connects each client to ``target()``."""

    def __init__(self, target: Callable[[], Address], receive_bytes: int | None = None) -> None:
        self._target = target
        # With a small receive buffer the server soon notices a client that does not read.
        self._receive_bytes = receive_bytes
        self._server: asyncio.Server | None = None
        self._connecting: set[asyncio.Task[None]] = set()
        self.connections: set[ProxiedConnection] = set()
        self.by_port: dict[int, ProxiedConnection] = {}
        self.stalled = False

    async def open(self) -> Proxy:
        self._server = await asyncio.get_running_loop().create_server(self._accept, "127.0.0.1", 0, backlog=4096)
        return self

    @property
    def port(self) -> int:
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    def _accept(self) -> _Socket:
        link = ProxiedConnection(self)
        task = asyncio.create_task(self._connect(link), name="proxy connects")
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)
        return link.client_side

    async def _connect(self, link: ProxiedConnection) -> None:
        loop = asyncio.get_running_loop()
        sock = socket.socket()
        sock.setblocking(False)
        try:
            if self._receive_bytes is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._receive_bytes)
            await loop.sock_connect(sock, self._target())
            await loop.create_connection(lambda: link.server_side, sock=sock)
        except OSError:
            sock.close()
            link.cut()
            return
        if link.client_side.transport is None or link.client_side.transport.is_closing():
            link.cut()
            return
        self.by_port[link.client_port] = link

    def stall(self, stalled: bool) -> None:
        """Stall all connections, also future ones, or end the stall."""
        self.stalled = stalled
        for link in list(self.connections):
            if not link.half_open:
                link.stall(stalled)

    def cut(self) -> None:
        for link in list(self.connections):
            if not link.half_open:
                link.cut()

    def make_half_open(self) -> None:
        for link in list(self.connections):
            link.make_half_open()

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        for link in list(self.connections):
            link.cut()
        if self._connecting:
            await asyncio.wait(self._connecting)
        for link in list(self.connections):
            link.cut()
        await asyncio.sleep(0)  # transports close their sockets in the next tick of the event loop
