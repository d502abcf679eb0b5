"""The writing to all WebSockets: what comes up in one turn of the event loop goes out in the next, in one write per client."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from aiohttp import web

from gateway.framing import texts
from gateway.stream import Follower, Stream
from push.batch import Batch
from push.hub import SLICE
from push.metrics import Metrics
from push.session import PING

__all__ = ["FANOUT", "Fanout"]

log = logging.getLogger("orderwire.session")

_EACH = nullcontext()


class Client(Protocol):
    """Whoever has something to write."""

    def flush(self) -> None:
        """Write it, as far as it can be written."""

    def cut(self) -> None:
        """End at once."""


class Fanout:
    """One for all. No system call is made where events are published: they are only queued there, and written here."""

    def __init__(self, metrics: Metrics, together: AbstractContextManager[None, None] = _EACH) -> None:
        self._due: deque[Client] = deque()
        # Writes within may be put off until its end, to be made by one system call.
        self._together = together
        self._scheduled = False
        self._frames = metrics.frames.labels("websocket")
        self._bytes = metrics.bytes.labels("websocket")
        self._count = self._size = 0
        # The last clients' batches, and all of them as one: mostly the next client has the same.
        self._parts: list[Batch] = []
        self._whole = Batch(())
        self._stream = Stream()

    def due(self, client: Client) -> None:
        """The client has something to write; not to be said again before it has been flushed."""
        self._due.append(client)
        if not self._scheduled:
            self._schedule()

    def _schedule(self) -> None:
        self._scheduled = True
        asyncio.get_running_loop().call_soon(self._run)

    def encoded(self, batches: list[Batch], follower: Follower | None = None) -> tuple[bytes, int]:
        """The batches as bytes for a WebSocket, worked out once for all clients that have the same; and their size, plain.
        They count as sent.

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
        self._count += whole.count
        self._size += whole.size
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
        with self._together:
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


FANOUT = web.AppKey("FANOUT", Fanout)


def _plain(batch: Batch) -> bytes:
    return batch.encoded(_as_frames)


def _as_frames(payloads: Sequence[bytes]) -> bytes:
    return texts(payloads, ping_after=PING)
