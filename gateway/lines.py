"""What WebSockets stand on: descriptors of our own, written to by one call or each by its own, or asyncio's transports.

Which it is, is chosen at the start, by trying.
"""

from __future__ import annotations

import asyncio
import logging
import os
import select
import socket
from array import array
from collections.abc import Callable, Sequence

from aiohttp import web

from gateway.aio import Aio
from gateway.descriptor import Descriptor, Descriptors
from gateway.sends import NoSends, Sends
from gateway.uring import Uring
from push.hub import turned

__all__ = ["LINES", "TRANSPORT", "CannotHave", "Group", "Line", "Lines"]

log = logging.getLogger("orderwire.http")

AUTO, DESCRIPTOR, TRANSPORT = "auto", "descriptor", "transport"
# The best first.
BY_ONE_CALL: dict[str, Callable[[], Sends]] = {Uring.name: Uring, Aio.name: Aio}
PROOF_SECONDS = 5.0
PROOF_BYTES = 4096

# What is below a WebSocket. Over the one or the other it does the same.
Line = asyncio.Transport | Descriptor


class CannotHave(Exception):
    """What is wanted cannot be had here; the text says why."""


class Lines:
    """All of this process. What is written within ``with`` goes out by its end, by one system call if that can be had."""

    def __init__(self, descriptors: Descriptors | None = None) -> None:
        """``descriptors``: what ``choose`` may find."""
        self.name = TRANSPORT
        self._descriptors = descriptors

    async def choose(self, wanted: str) -> None:
        """The best there is, or just what is wanted. Raises CannotHave."""
        for name in (*BY_ONE_CALL, DESCRIPTOR):
            if wanted not in (AUTO, name):
                continue
            try:
                self._descriptors = await _tried(name)
            except CannotHave as error:
                if wanted == name:
                    raise
                log.debug("no %s for WebSockets: %s", name, error)
            else:
                self.name = name
                break
        log.debug("WebSockets are written to by %s", self.name)

    @property
    def own(self) -> bool:
        """Whether there are descriptors of our own to be had."""
        return self._descriptors is not None

    def adopt(self, sock: socket.socket, owner: asyncio.Protocol) -> Descriptor | None:
        """A connection that stands on a descriptor of our own from its beginning. None when it has been closed instead."""
        assert self._descriptors is not None
        try:
            line = self._descriptors.adopt(sock.fileno(), owner)
        except OSError as error:
            log.warning("a connection could not be taken: %s", error.strerror)
            sock.close()
            return None
        sock.detach()
        return line

    def stand(self, line: Line, owner: asyncio.Protocol) -> Line:
        """What a WebSocket stands on from here on, and ``owner`` is its owner."""
        line.set_protocol(owner)
        return line if isinstance(line, Descriptor) else self._move(line, owner)

    def _move(self, transport: asyncio.Transport, owner: asyncio.Protocol) -> Line:
        if self._descriptors is not None:
            line = _moved(transport, owner, self._descriptors)
            if line is not None:
                return line
        # Full as soon as it holds anything: what waits, waits in the session's queue, where it is counted and shared.
        # (Not 0: asyncio's TLS takes a buffer that holds as much as the limit for full.)
        transport.set_write_buffer_limits(high=1, low=0)
        # The addresses, with which aiohttp has done: 0.4 KiB. (Not public; another transport has it elsewhere, and keeps it.)
        getattr(transport, "_extra", {}).clear()
        return transport

    def group(self, lines: Sequence[Line]) -> Group:
        """What is written to all of them is prepared once."""
        return Group(self._descriptors, lines)

    def __enter__(self) -> None:
        if self._descriptors is not None:
            self._descriptors.__enter__()

    def __exit__(self, *_: object) -> None:
        if self._descriptors is not None:
            self._descriptors.__exit__()


LINES = web.AppKey("LINES", Lines)


class Group:
    """Lines that are written the same, which hold nothing back. Each time begins with another: nobody is always the last."""

    def __init__(self, descriptors: Descriptors | None, lines: Sequence[Line]) -> None:
        self._all = descriptors
        self._descriptors = [line for line in lines if isinstance(line, Descriptor)]
        self._numbers = array("I", (line.number for line in self._descriptors))
        self._transports = [line for line in lines if not isinstance(line, Descriptor)]

    def write(self, data: bytes, time: int) -> None:
        """To all, as ``Line.write``. It is the ``time``-th time."""
        if self._all is not None and self._numbers:
            first = turned(time, len(self._numbers))
            descriptors, numbers = self._descriptors, self._numbers
            self._all.write_same(descriptors[first:] + descriptors[:first], numbers[first:] + numbers[:first], data)
        first = turned(time, len(self._transports))
        for transport in self._transports[first:] + self._transports[:first]:
            try:
                transport.write(data)
            except Exception:
                log.exception("a client could not be written to")
                transport.abort()


_NOBODY = asyncio.Protocol()


def _moved(transport: asyncio.Transport, owner: asyncio.Protocol, descriptors: Descriptors) -> Descriptor | None:
    """The connection on a descriptor of our own, if nothing is in the way. What it has still to read is in the kernel."""
    if transport.is_closing() or transport.get_write_buffer_size() or transport.get_extra_info("sslcontext") is not None:
        return None
    try:
        number = os.dup(transport.get_extra_info("socket").fileno())
    except OSError:
        return None
    try:
        line = descriptors.adopt(number, owner)
    except OSError:
        os.close(number)
        return None
    # asyncio closes its own descriptor, which ends nothing: the connection ends with the last one.
    transport.set_protocol(_NOBODY)
    transport.abort()
    return line


async def _tried(name: str) -> Descriptors:
    """Raises CannotHave."""
    loop = asyncio.get_running_loop()
    if not isinstance(loop, asyncio.SelectorEventLoop):
        raise CannotHave(f"only asyncio's own event loop is known, and this is {type(loop).__module__}")
    if not hasattr(select, "epoll"):
        raise CannotHave("there is no epoll here")
    try:
        sends = BY_ONE_CALL[name]() if name in BY_ONE_CALL else None
    except NoSends as error:
        raise CannotHave(str(error)) from error
    descriptors = Descriptors(sends)
    try:
        await _prove(descriptors)
        if sends is not None and sends.broken:
            raise ConnectionError("it is refused")
    except (OSError, TimeoutError) as error:
        descriptors.close()
        raise CannotHave(f"it does not do what it should: {error!r}") from error
    except BaseException:
        descriptors.close()
        raise
    return descriptors


class _Witness(asyncio.Protocol):
    """For the proof: keeps what comes in, and knows whether the other side takes anything."""

    def __init__(self) -> None:
        self.heard = asyncio.get_running_loop().create_future()
        self.gone = asyncio.Event()
        self.full = False

    def data_received(self, data: bytes) -> None:
        self.heard.set_result(data)

    def pause_writing(self) -> None:
        self.full = True

    def resume_writing(self) -> None:
        self.full = False

    def connection_lost(self, error: Exception | None) -> None:
        self.gone.set()


async def _prove(descriptors: Descriptors) -> None:
    """Move a connection, over a pair of sockets: both directions, the order, and that who takes nothing is not waited for."""
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, PROOF_BYTES)
    try:
        transport, witness = await loop.connect_accepted_socket(_Witness, theirs)
        line = _moved(transport, witness, descriptors)
        if line is None:
            raise ConnectionError("the connection cannot be moved")
        async with asyncio.timeout(PROOF_SECONDS):
            await loop.sock_sendall(ours, b"ping")
            if await witness.heard != b"ping":
                raise ConnectionError("not what was sent")
            written = 0
            while not witness.full and written < 1000:
                with descriptors:
                    line.write(b"%04d" % written + b"x" * PROOF_BYTES)
                written += 1
            line.close()
            got = b""
            while data := await loop.sock_recv(ours, 65536):
                got += data
            await witness.gone.wait()
        if got != b"".join(b"%04d" % number + b"x" * PROOF_BYTES for number in range(written)) or written == 1000:
            raise ConnectionError("not what was sent")
    finally:
        ours.close()
