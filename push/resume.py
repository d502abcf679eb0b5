"""Bringing a session from where its client stood to live, with no gap between the two."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from push.errors import StoreError
from push.events import Cursor, Event
from push.frames import Close, Resumed, encode
from push.history import GapError, History, Replay
from push.hub import Hub
from push.relay import Relay
from push.session import Session

__all__ = ["Entrance"]

log = logging.getLogger("orderwire.resume")

# Events that are sent together while replaying, and the most that may be left for the moment of going live.
CHUNK_EVENTS = 500
LAST_EVENTS = 50
# A client that takes nothing for so long while it is being replayed to is a slow consumer.
STALL_SECONDS = 30.0


PositionFrame = Callable[[str], bytes]


class Entrance:
    """Through here every session comes in, whatever its transport."""

    def __init__(self, hub: Hub, relay: Relay, history: History) -> None:
        self._hub = hub
        self._relay = relay
        self._history = history

    async def knock(self) -> None:
        """Before the client is answered: whoever wrote and then connects expects the totals, and a replay, to know of it."""
        await self._relay.fresh()

    def enter(self, session: Session, cursor_text: str | None, position_frame: PositionFrame | None = None) -> None:
        """The totals first; and live at once, unless there is something to resume.

        Called before the client is told that it is connected, so that whatever is committed from then on reaches it.
        ``position_frame`` makes a frame of the cursor from which the session goes live without having been told an event's,
        for a transport that can carry it.
        """
        self._hub.enter(session)
        session.open(self._hub.totals_frame)
        if cursor_text is None:
            self._go_live(session, position_frame)

    async def resume(self, session: Session, cursor_text: str, position_frame: PositionFrame | None = None) -> None:
        """Replay what the cursor misses, then live; or tell that it cannot be done, then live."""
        try:
            if await self._replay(session, cursor_text):
                return
        except StoreError as error:
            log.warning("a resume was put off: %s", error)
            session.end(Close.RESUME_AGAIN)
            return
        self._go_live(session, position_frame)

    def _go_live(self, session: Session, position_frame: PositionFrame | None) -> None:
        # No await in here: nothing can be published between this position and going live.
        if position_frame is not None and self._relay.epoch is not None:
            session.send([position_frame(str(Cursor(self._relay.epoch, self._relay.watermark.snapshot)))])
        self._hub.go_live(session)

    async def _replay(self, session: Session, cursor_text: str) -> bool:
        """True when the session has been brought live, or ended; False when it has to fetch anew."""
        try:
            replay = await self._history.replay(cursor_text)
        except GapError:
            session.send([encode(Resumed(recovered=False))])
            return False
        session.send([encode(Resumed(recovered=True, replayed=replay.count))])
        try:
            await self._send_replay(session, replay)
            await self._send_rest(session, replay.ring_number)
        except GapError:
            session.end(Close.RESUME_AGAIN)
        except TimeoutError:
            session.end(Close.SLOW_CONSUMER, flush=False)
        return True

    async def _send_replay(self, session: Session, replay: Replay) -> None:
        async for events in self._history.events(replay):
            await self._send(session, events)
            if session.close is not None:
                return

    async def _send_rest(self, session: Session, number: int) -> None:
        """What has been published meanwhile, from the ring; it gets less each time round."""
        while session.close is None:
            rest = self._relay.ring.since(number)
            if rest is None:
                raise GapError("the ring has moved on")
            if len(rest) <= LAST_EVENTS:
                session.send([event.frame for event in rest])
                self._hub.go_live(session)
                session.totals_changed()  # as of the last event, now that it has been sent
                return
            await self._send(session, rest[:CHUNK_EVENTS])
            number += min(len(rest), CHUNK_EVENTS)

    async def _send(self, session: Session, events: Sequence[Event]) -> None:
        session.send([event.frame for event in events])
        async with asyncio.timeout(STALL_SECONDS):
            await session.room()
