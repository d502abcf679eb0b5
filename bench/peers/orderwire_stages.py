"""Orderwire that notes when an event passes each stage, from the notification to the socket: the unchanged server otherwise.

It serves one connection on TRIGGER_PORT. A line "reset" forgets what was noted, and is answered by "{}"; a line "report" is
answered by a JSON list with one entry for each marked event: its number, and nanoseconds of the machine's clock in the order
of STAGES.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import time
from collections.abc import Sequence
from contextlib import ExitStack, nullcontext
from typing import Any, Never, cast

from bench.peers.feed import HOST
from push.delivery.hub import Hub
from push.journal.events import Event, Page, Position, Snapshot
from push.journal.queries import JournalConnection
from push.journal.totals import Totals
from service import application, serving
from settings import Settings

MARK = re.compile(rb"@@(\d+):(\d+)@@")
# When the writer began the statement; when its trigger recorded the event; when the relay was woken, sent its query, had the
# answer; when the hub had the events; when they had been written to all sockets.
STAGES = ("begun", "recorded", "woken", "asked", "answered", "published", "written")

noted: list[tuple[int, ...]] = []


class Clock:
    """The times of the read that is under way."""

    woken = asked = answered = 0


class NotingConnection:
    """Passes everything on to a connection of the journal, and notes when it was called and returned."""

    def __init__(self, connection: JournalConnection) -> None:
        self._connection = connection

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    async def wait_for_notify(self, timeout_seconds: float) -> None:
        await self._connection.wait_for_notify(timeout_seconds)
        Clock.woken = time.time_ns()

    async def page(self, after: Position, upto: Snapshot | None, past_id: int, max_events: int, max_bytes: int) -> Page:
        Clock.asked = time.time_ns()
        page = await self._connection.page(after, upto, past_id, max_events, max_bytes)
        Clock.answered = time.time_ns()
        return page


class NotingHub(Hub):
    """Notes when it gets events, and when a pass has written them."""

    def __init__(self, *parts: Any, **named: Any) -> None:
        super().__init__(*parts, **named)
        self._unwritten: list[tuple[int, ...]] = []

    def publish(self, events: Sequence[Event], totals: Totals) -> None:
        now = time.time_ns()
        for event in events:
            if mark := MARK.search(event.payload):
                recorded = round(event.at.timestamp() * 1e6) * 1000
                self._unwritten.append((int(mark[1]), int(mark[2]), recorded, Clock.woken, Clock.asked, Clock.answered, now))
        super().publish(events, totals)

    def _run_slice(self) -> None:
        inner = self.batch_writes
        # Its end sends what a slice has written.
        with ExitStack() as stack:
            stack.callback(self._note_writes)
            stack.enter_context(inner)
            self.batch_writes = nullcontext()
            try:
                super()._run_slice()
            finally:
                self.batch_writes = inner

    def _note_writes(self) -> None:
        now = time.time_ns()
        noted.extend((*times, now) for times in self._unwritten)
        self._unwritten.clear()


class NotingService(application.Service):
    """The application with a connection that notes."""

    async def _follow(self, connection: JournalConnection) -> Never:
        await super()._follow(cast(JournalConnection, NotingConnection(connection)))


async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    async for line in reader:
        answer: object = {}
        if line.split() == [b"reset"]:
            noted.clear()
        else:
            answer = noted
        writer.write(json.dumps(answer).encode() + b"\n")
    writer.close()


async def main() -> None:
    # The composition root has no parameters for these, and needs none otherwise.
    application.Hub = NotingHub  # type: ignore[attr-defined]
    serving.Service = NotingService  # type: ignore[attr-defined]
    async with await asyncio.start_server(handle, HOST, int(os.environ["TRIGGER_PORT"])):
        await serving.serve(Settings.from_environment(os.environ))


if __name__ == "__main__":
    asyncio.run(main())
