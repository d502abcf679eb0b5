"""systemd's end of NOTIFY_SOCKET: a Unix datagram socket."""

from __future__ import annotations

import asyncio
import socket

from tests.support import TIMEOUT_SECONDS, within

__all__ = ["NotifySocket"]


class NotifySocket:
    """``address``: a path, or @ and an abstract name."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self._socket.setblocking(False)

    async def receive(self) -> list[str]:
        """The lines of the next message."""
        loop = asyncio.get_running_loop()
        data = await within(TIMEOUT_SECONDS, loop.sock_recv(self._socket, 4096), "a message at NOTIFY_SOCKET")
        return data.decode().splitlines()

    def is_empty(self) -> bool:
        try:
            self._socket.recv(4096)
        except BlockingIOError:
            return True
        return False

    def close(self) -> None:
        self._socket.close()
