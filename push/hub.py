"""The fan-out: what the relay publishes goes to every session, and nobody waits for anybody."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from push.events import Event
from push.frames import AnalyticsUpdate, Close, Resumed, encode
from push.session import Session
from push.totals import Totals

__all__ = ["Hub"]

log = logging.getLogger("orderwire.hub")

# analytics_update goes out at most this often.
TOTALS_SECONDS = 0.1
# How long a batch waits for the sessions to drain the one before it: twice as long as half of them needed, at least this
# and at most that.
ROOM_LEAST_SECONDS = 0.02
ROOM_MOST_SECONDS = 1.0


class Hub:
    """All sessions of this process. Its methods do not await (but for ``room``), so what they do is atomic to everyone else."""

    def __init__(self) -> None:
        self._sessions: set[Session] = set()
        # Those of them that get what is published; the others are being replayed what they missed.
        self._live: set[Session] = set()
        self._totals = Totals()
        self._totals_frame: bytes | None = None
        self._totals_timer: asyncio.TimerHandle | None = None
        self._totals_waiting = False
        self._empty = asyncio.Event()
        self._empty.set()

    # ---------------------------------------------------------------- sessions come and go

    def enter(self, session: Session) -> None:
        """The session gets the heartbeat and takes part in the drain, and nothing that is published before it goes live."""
        self._sessions.add(session)
        self._empty.clear()

    def go_live(self, session: Session) -> None:
        """From here on the session gets everything that is published."""
        if session in self._sessions:
            self._live.add(session)

    def leave(self, session: Session) -> None:
        """The session's transport is gone."""
        self._sessions.discard(session)
        self._live.discard(session)
        if not self._sessions:
            self._empty.set()

    def __len__(self) -> int:
        return len(self._sessions)

    # ---------------------------------------------------------------- what the relay says

    @property
    def totals(self) -> Totals:
        """At the moment of the last event published."""
        return self._totals

    def publish(self, events: Sequence[Event], totals: Totals) -> None:
        """Hand the events to every session, and the totals after them."""
        frames = [event.frame for event in events]
        for session in self._live:
            session.send(frames)
        self.set_totals(totals)

    def gap(self) -> None:
        """Everybody has to fetch anew."""
        frame = encode(Resumed(recovered=False))
        for session in self._live:
            session.send([frame])

    def set_totals(self, totals: Totals) -> None:
        """The totals are now these: say so at once, then at most every TOTALS_SECONDS."""
        if totals == self._totals:
            return
        self._totals = totals
        self._totals_frame = None
        if self._totals_timer is None:
            self._tell_totals()
        else:
            self._totals_waiting = True

    def totals_frame(self) -> bytes:
        """The totals of this moment as a frame, encoded once for all."""
        if self._totals_frame is None:
            self._totals_frame = encode(AnalyticsUpdate(self._totals))
        return self._totals_frame

    def _tell_totals(self) -> None:
        self._totals_waiting = False
        for session in self._live:
            session.totals_changed()
        self._totals_timer = asyncio.get_running_loop().call_later(TOTALS_SECONDS, self._totals_pause_over)

    def _totals_pause_over(self) -> None:
        self._totals_timer = None
        if self._totals_waiting:
            self._tell_totals()

    async def room(self) -> None:
        """Let the sessions drain before more comes, but wait for nobody who is much slower than half of them."""
        loop = asyncio.get_running_loop()
        start = loop.time()
        allowed = ROOM_MOST_SECONDS
        while pressed := sum(session.pressed for session in self._live):
            spent = loop.time() - start
            if pressed <= len(self._live) // 2:
                allowed = min(allowed, max(2 * spent, ROOM_LEAST_SECONDS))
            if spent > allowed:
                return
            await asyncio.sleep(0.001)

    # ---------------------------------------------------------------- heartbeat and drain

    async def heartbeat(self, interval_seconds: float) -> None:
        """Ping everybody every interval, for as long as this task lives."""
        while True:
            await asyncio.sleep(interval_seconds)
            for session in self._sessions:
                session.beat()

    async def drain(self, timeout_seconds: float) -> None:
        """Flush every session, close it with "come back", and wait until all have left."""
        if self._totals_timer is not None:
            self._totals_timer.cancel()
            self._totals_timer = None
        for session in self._sessions:
            if self._totals_waiting:
                session.totals_changed()
            session.end(Close.DRAIN)
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._empty.wait()
        except TimeoutError:
            log.warning("%d sessions did not close in %.0f s: cut off", len(self._sessions), timeout_seconds)
