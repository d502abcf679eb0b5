"""How a connection comes in: it is counted, and its first bytes say whose it is. A WebSocket's opening is answered at once, by
the rules that ``websocket`` has for all of them; whatever else it is, aiohttp gets it, from its first byte on.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import time
from collections import deque
from collections.abc import Callable
from typing import cast

from aiohttp import web

import logs
from gateway.connections import TOO_MANY, Connection, Connections
from gateway.descriptor import Descriptor
from gateway.errands import ERRANDS
from gateway.keys import SETTINGS
from gateway.lines import LINES, Line
from gateway.opening import Opening, first_request
from gateway.websocket import Handshake, begin, let_in, look_at
from push.errors import StoreError

__all__ = ["Arrival", "Arrivals", "Doorstep"]

log = logging.getLogger("orderwire.http")

# An event takes several turns of the loop from PostgreSQL to the clients. What is done in one of them for those who come in is
# bounded: so many are accepted, and for so long openings are looked at. The rest waits, in the kernel and here.
ACCEPTED_AT_ONCE = 8
LOOKED_AT_SECONDS = 0.001
# A client that has sent more is not read until it is let in.
MOST_EARLY_BYTES = 64 * 1024
# How long nobody is accepted when there are no more descriptors to be had.
PAUSE_SECONDS = 1.0


class Arrivals:
    """All that have come in, and of which it is not known yet what they want."""

    def __init__(self, app: web.Application, connections: Connections, make: Callable[[], asyncio.Protocol]) -> None:
        """``make``: aiohttp's factory of protocols."""
        self.app = app
        self.connections = connections
        self.make = make
        self.settings = app[SETTINGS]
        self.here: set[Arrival] = set()
        self.closed = False
        self._waiting: deque[Arrival] = deque()

    def __call__(self) -> Arrival:
        """A factory of protocols, for asyncio."""
        return Arrival(self)

    def heard(self, arrival: Arrival) -> None:
        """It has sent something: it is looked at when it is its turn."""
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._look_at_some)
        self._waiting.append(arrival)

    def _look_at_some(self) -> None:
        until = time.perf_counter() + LOOKED_AT_SECONDS
        while self._waiting:
            self._waiting.popleft().look()
            if time.perf_counter() > until:
                break
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._look_at_some)

    def close(self) -> None:
        """Nobody is let in any more."""
        self.closed = True
        for arrival in list(self.here):
            arrival.cut()


class Arrival(asyncio.Protocol):
    """One connection, on whatever line. One that is turned away is never looked at: what it sends is read, so that the answer
    is not lost in a reset, and answered by ready-made bytes.
    """

    __slots__ = ("_all", "_connection", "_got", "_inner", "_line", "_remote", "_task", "_timer")

    def __init__(self, all_: Arrivals) -> None:
        self._all = all_
        self._remote: str | None = None
        self._line: Line | None = None
        # None: it is turned away.
        self._connection: Connection | None = None
        # What it has sent, until it is known what it wants.
        self._got = b""
        # Cuts it when it keeps silent.
        self._timer: asyncio.TimerHandle | None = None
        # It is being let in, or handed over.
        self._task: asyncio.Task[None] | None = None
        # aiohttp's, once it has it.
        self._inner: asyncio.Protocol | None = None

    # ---------------------------------------------------------------- what the line says

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        line = cast(asyncio.Transport, transport)
        if self._line is not None:
            self._all.connections.changed(self._line, line)
            self._line = line
            self._give_to_aiohttp(line)
            return
        peername = line.get_extra_info("peername")
        self.come(line, peername[0] if peername else None)

    def come(self, line: Line, remote: str | None) -> None:
        """It stands on this line, and comes from there."""
        self._line, self._remote = line, remote
        if self._all.closed:  # asyncio may have been in the middle of accepting it
            line.abort()
            return
        connections = self._all.connections
        self._connection = connections.made(line, remote)
        patience = self._all.settings.idle_seconds if self._connection is not None else connections.turn_away(line)
        if patience:
            self._all.here.add(self)
            self._timer = asyncio.get_running_loop().call_later(patience, line.abort)
        else:
            line.abort()

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        if self._inner is not None:
            self._inner.data_received(data)
            return
        line = self._line
        assert line is not None
        if self._connection is None:
            if not line.is_closing():
                line.write(TOO_MANY)
                line.close()
            return
        first = not self._got
        self._got += data
        if first:
            self._in_time()
            self._all.heard(self)
        elif len(self._got) > MOST_EARLY_BYTES:
            line.pause_reading()

    def eof_received(self) -> bool | None:
        """See asyncio.Protocol."""
        return self._inner.eof_received() if self._inner is not None else None

    def connection_lost(self, error: Exception | None) -> None:
        """See asyncio.Protocol."""
        line, self._line = self._line, None
        self._in_time()
        self._all.here.discard(self)
        if self._task is not None:
            self._task.cancel()
        self._all.connections.lost(line)
        if self._inner is not None:
            self._inner.connection_lost(error)

    def pause_writing(self) -> None:
        """See asyncio.Protocol."""
        if self._inner is not None:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        """See asyncio.Protocol."""
        if self._inner is not None:
            self._inner.resume_writing()

    def _in_time(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # ---------------------------------------------------------------- what it wants

    def look(self) -> None:
        """At what it has sent."""
        line = self._line
        if line is None or line.is_closing():
            return
        try:
            self._look(line)
        except Exception:
            log.exception("a connection could not be looked at")
            line.abort()

    def _look(self, line: Line) -> None:
        connection, settings, app = self._connection, self._all.settings, self._all.app
        assert connection is not None
        request = first_request(self._got, settings.max_header_bytes)
        if request is not None:
            message, size = request
            secure = isinstance(line, asyncio.BaseTransport) and line.get_extra_info("sslcontext") is not None
            opening = Opening.of_message(message, self._remote, settings, connection, secure=secure)
            handshake = look_at(app, opening)
            if handshake is not None:
                self._task = app[ERRANDS].start(self._let_in(opening, handshake, size), "session opening")
                return
        self._hand_over(line)

    async def _let_in(self, opening: Opening, handshake: Handshake, size: int) -> None:
        app, line = self._all.app, self._line
        if line is None:
            return
        logs.connection_id.set(opening.connection.id)  # this task's
        try:
            client = await let_in(app, opening, handshake)
        except StoreError:
            self._task = None
            self._hand_over(line)  # which tells it
            return
        except Exception:
            line.abort()
            raise
        self._all.here.discard(self)
        line.resume_reading()
        try:
            begin(app, line, client, handshake, self._got[size:])
        except BaseException:
            line.abort()
            raise

    # ---------------------------------------------------------------- what is not ours

    def _hand_over(self, line: Line) -> None:
        if line.is_closing():
            return
        self._all.here.discard(self)
        if isinstance(line, Descriptor):
            self._task = self._all.app[ERRANDS].start(self._leave_descriptor(line.release()), "connection")
        else:
            self._give_to_aiohttp(line)

    async def _leave_descriptor(self, sock: socket.socket) -> None:
        """asyncio takes it, and calls ``connection_made``."""
        self._task = None
        try:
            await asyncio.get_running_loop().connect_accepted_socket(lambda: self, sock)
        except OSError as error:
            sock.close()
            self.connection_lost(error)

    def _give_to_aiohttp(self, transport: asyncio.Transport) -> None:
        self._inner = self._all.make()
        self._inner.connection_made(transport)
        transport.resume_reading()  # before aiohttp may want it paused, when requests come faster than it answers them
        got, self._got = self._got, b""
        self._inner.data_received(got)

    def cut(self) -> None:
        """It will not be let in."""
        if self._line is not None:
            self._line.abort()


class Doorstep:
    """Accepts connections onto descriptors of our own: no task, no transport, and no copy of the descriptor for each."""

    def __init__(self, sockets: list[socket.socket], arrivals: Arrivals) -> None:
        self._sockets = sockets
        self._arrivals = arrivals
        for sock in sockets:
            sock.setblocking(False)
            self._watch(sock)

    def _watch(self, sock: socket.socket) -> None:
        if sock in self._sockets:
            asyncio.get_running_loop().add_reader(sock.fileno(), self._accept, sock)

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(ACCEPTED_AT_ONCE):
            try:
                sock, address = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    raise
                log.error("no connection can be accepted for now: %s", error.strerror)
                loop = asyncio.get_running_loop()
                loop.remove_reader(listening.fileno())
                loop.call_later(PAUSE_SECONDS, self._watch, listening)
                return
            sock.setblocking(False)
            self._take(sock, address[0])

    def _take(self, sock: socket.socket, remote: str) -> None:
        arrival = Arrival(self._arrivals)
        line = self._arrivals.app[LINES].adopt(sock, arrival)
        if line is not None:
            arrival.come(line, remote)

    def close(self) -> None:
        """Accept no more."""
        for sock in self._sockets:
            asyncio.get_running_loop().remove_reader(sock.fileno())
            sock.close()
        self._sockets = []
