"""The writing to all WebSockets: what comes up in one turn of the event loop goes out in the next, in one write per client."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from aiohttp import web

from gateway.framing import texts
from gateway.lines import Group, Line, Lines
from gateway.stream import Follower, Segment, Stream
from push.batch import Batch
from push.crowd import Crowd
from push.feed import Feed
from push.hub import SLICE, Hub
from push.metrics import Metrics
from push.session import PING, Carrier, Session

__all__ = ["FANOUT", "Client", "Fanout"]

log = logging.getLogger("orderwire.session")


class Due(Protocol):
    """Whoever has something to write."""

    def flush(self) -> None:
        """Write it, as far as it can be written."""

    def cut(self) -> None:
        """End at once."""


class Client(Carrier, Protocol):
    """Who may be one of a crowd."""

    # See Follower.
    at: Segment | None

    @property
    def line(self) -> Line | None:
        """What it is written to."""


class Fanout:
    """One for all. No system call is made where events are published: they are only queued there, and written here."""

    def __init__(self, metrics: Metrics, hub: Hub, lines: Lines) -> None:
        self._due: deque[Due] = deque()
        self._hub = hub
        self._lines = lines
        # Of clients that get compressed what goes to everybody, and of others.
        self._crowds: dict[bool, list[_Crowd]] = {True: [], False: []}
        self._scheduled = False
        self._frames = metrics.frames.labels("websocket")
        self._bytes = metrics.bytes.labels("websocket")
        self._count = self._size = 0
        # The last clients' batches, and all of them as one: mostly the next client has the same.
        self._parts: list[Batch] = []
        self._whole = Batch(())
        self._stream = Stream()

    def due(self, client: Due) -> None:
        """The client has something to write; not to be said again before it has been flushed."""
        self._due.append(client)
        if not self._scheduled:
            self._schedule()

    def _schedule(self) -> None:
        self._scheduled = True
        asyncio.get_running_loop().call_soon(self._run)

    def gather(self, session: Session, client: Client, *, compressed: bool) -> None:
        """The session is at rest, and its client can be written to: from here on, with others, by one call for all."""
        crowds = self._crowds[compressed]
        having_room = [crowd for crowd in crowds if not crowd.is_full]
        if not having_room:
            having_room = [self._hub.crowd(lambda *parts: _Crowd(self, self._lines, compressed, *parts))]
            crowds += having_room
        # (All of them may be behind, as what has just been published has not been told to them yet; or it is the client that
        # has not come yet to where the stream is. Then it joins next time.)
        any(crowd.join(session, client) for crowd in having_room)

    def encoded(self, batches: list[Batch], follower: Follower | None = None, clients: int = 1) -> tuple[bytes, int]:
        """The batches as bytes for a WebSocket, worked out once for all clients that have the same; and their size, plain.
        They count as sent, to so many.

        A ``follower`` gets compressed what goes to everybody, once it has joined the stream.
        """
        if not self._scheduled:
            self._schedule()
        if len(batches) == 1:
            whole = batches[0]
        else:
            if batches != self._parts:
                self._parts = batches
                self._whole = Batch([frame for batch in batches for frame in batch.frames])
            whole = self._whole
        self._count += whole.count * clients
        self._size += whole.size * clients
        if follower is not None:
            return self._stream.encoded(batches, follower, _plain), whole.size
        return _plain(whole), whole.size

    def stuck(self, follower: Follower) -> None:
        """It cannot be written to."""
        self._stream.stuck(follower)

    def leave(self, follower: Follower) -> None:
        """It is not written to any more."""
        self._stream.leave(follower)

    def _run(self) -> None:
        with self._lines:
            for _ in range(min(SLICE, len(self._due))):
                client = self._due.popleft()
                try:
                    client.flush()
                except Exception:
                    log.exception("a client could not be written to")
                    client.cut()
        # Once for all of them: a counter of these costs as much as a write.
        self._frames.inc(self._count)
        self._bytes.inc(self._size)
        self._count = self._size = 0
        self._scheduled = bool(self._due)
        if self._scheduled:
            asyncio.get_running_loop().call_soon(self._run)
        else:
            self._parts, self._whole = [], Batch(())
            self._stream.rest()


class _Crowd(Crowd[Client]):
    """Clients at one place in the feed, and in the compressed stream."""

    def __init__(
        self,
        fanout: Fanout,
        lines: Lines,
        compressed: bool,
        feed: Feed,
        apart: set[Session],
        totals: Callable[[], Batch],
    ) -> None:
        super().__init__(feed, apart, totals)
        self._fanout = fanout
        self._lines = lines
        self._compressed = compressed
        # See Follower: of all members.
        self.at: Segment | None = None
        # Their lines, until somebody comes or goes.
        self._group: Group | None = None
        self._writes = 0

    @property
    def clients(self) -> int:
        """See Follower."""
        return len(self.members)

    def join(self, session: Session, carrier: Client) -> bool:
        """See Crowd."""
        if not self.members:
            self.at = carrier.at
        if carrier.at is not self.at or not super().join(session, carrier):
            return False
        carrier.at = None
        self._group = None
        return True

    def leave(self, session: Session) -> tuple[int, int]:
        """See Crowd."""
        self.members[session].at = self.at
        self._group = None
        place = super().leave(session)
        if not self.members:
            self.at = None  # it would keep all of the stream that comes
        return place

    def carry(self, batches: list[Batch]) -> None:
        """See Crowd."""
        frames, _ = self._fanout.encoded(batches, self if self._compressed else None, len(self.members))
        if self._group is None:
            self._group = self._lines.group([client.line for client in self.members.values() if client.line is not None])
        self._writes += 1
        self._group.write(frames, self._writes)


FANOUT = web.AppKey("FANOUT", Fanout)


def _plain(batch: Batch) -> bytes:
    return batch.encoded(_as_frames)


def _as_frames(payloads: Sequence[bytes]) -> bytes:
    return texts(payloads, ping_after=PING)
