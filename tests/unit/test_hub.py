"""Totals as a fold, and how often the hub tells them."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal

import pytest

from push.access import ANYBODY
from push.frames import Close
from push.hub import TOTALS_SECONDS, Hub
from push.sendqueue import SendQueue
from push.session import Session
from push.totals import Totals
from tests.unit.carried import Carried
from tests.unit.test_positions import an_event
from tests.unit.test_session import frames_of


def test_totals_fold_events() -> None:
    events = [an_event(orders=1, revenue="10.10", pending=1), an_event(revenue="-0.10", pending=-1), an_event(orders=-1)]
    assert Totals(5, Decimal(1), 2).plus(events) == Totals(5, Decimal("11.00"), 2)
    assert Totals(1, Decimal(1), 1).plus([]) == Totals(1, Decimal(1), 1)


def joined(hub: Hub) -> tuple[Session, asyncio.Event]:
    woken = asyncio.Event()
    session = Session(SendQueue(10, 1000), Carried(woken.set))
    hub.enter(session)
    session.admit(ANYBODY, ANYBODY.topics_unasked())
    session.open(hub.totals_batch)
    hub.go_live(session)
    assert json.loads(frames_of(session.take(1000))[0])["type"] == "analytics_update"
    woken.clear()
    return session, woken


async def test_totals_are_told_at_once_and_then_paced_the_newest_last() -> None:
    hub = Hub()
    session, woken = joined(hub)
    start = asyncio.get_running_loop().time()
    hub.publish([an_event(frame=b"event")], Totals(1))
    first = frames_of(session.take(1000))
    assert first[0] == b"event"
    assert json.loads(first[1])["total_orders"] == 1
    woken.clear()
    for n in (2, 3, 4):
        hub.set_totals(Totals(n))
    assert session.take(1000) == []
    async with asyncio.timeout(30):
        await woken.wait()
    assert asyncio.get_running_loop().time() - start >= TOTALS_SECONDS * 0.9
    assert [json.loads(frame)["total_orders"] for frame in frames_of(session.take(1000))] == [4]
    await hub.drain(0)


async def test_unchanged_totals_are_not_told_again() -> None:
    hub = Hub()
    session, _ = joined(hub)
    hub.set_totals(Totals())
    assert session.take(1000) == []


async def test_drain_tells_the_last_totals_and_waits_for_all_to_leave() -> None:
    hub = Hub()
    session, _ = joined(hub)
    hub.set_totals(Totals(1))
    session.take(1000)
    hub.set_totals(Totals(2))
    draining = asyncio.create_task(hub.drain(30))
    await asyncio.sleep(0)
    assert [json.loads(frame)["total_orders"] for frame in frames_of(session.take(1000))] == [2]
    assert session.close is Close.DRAIN
    assert not draining.done()
    hub.leave(session)
    await draining
    assert len(hub) == 0


class Reader:
    """A client that takes a batch at a time, when it is told to."""

    def __init__(self, hub: Hub) -> None:
        self.session = Session(SendQueue(10, 1000), Carried())
        hub.enter(self.session)
        self.session.admit(ANYBODY, ANYBODY.topics_unasked())
        hub.go_live(self.session)

    def read(self) -> None:
        self.session.take(1)


def pressing(hub: Hub) -> None:
    """So much that it takes twenty reads."""
    for _ in range(20):
        hub.publish([an_event()], Totals())


async def test_what_comes_next_waits_as_long_as_clients_get_on_however_slowly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("push.room.STUCK_SECONDS", 0.1)
    hub = Hub(max_frames=20)
    readers = [Reader(hub) for _ in range(4)]
    pressing(hub)
    room = asyncio.create_task(hub.room())
    for _ in range(10):  # more than half of the bound waits until the tenth
        assert not room.done()
        await asyncio.sleep(0.02)
        for reader in readers[:3]:
            reader.read()
    async with asyncio.timeout(30):
        await room
    assert [reader.session.pressed for reader in readers] == [False, False, False, True]


async def test_what_comes_next_does_not_wait_for_clients_that_are_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("push.room.STUCK_SECONDS", 0.05)
    hub = Hub(max_frames=20)
    readers = [Reader(hub) for _ in range(4)]
    pressing(hub)
    readers[0].read()
    async with asyncio.timeout(30):
        await hub.room()
    assert all(reader.session.pressed for reader in readers)


async def test_what_comes_next_waits_twice_as_long_as_half_of_them_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("push.room.STUCK_SECONDS", 1000.0)
    hub = Hub(max_frames=20)
    readers = [Reader(hub) for _ in range(4)]
    pressing(hub)
    room = asyncio.create_task(hub.room())
    await asyncio.sleep(0.1)
    for reader in readers[:2]:
        for _ in range(20):
            reader.read()
    drained = asyncio.get_running_loop().time()
    async with asyncio.timeout(30):
        await room
    assert asyncio.get_running_loop().time() - drained >= 0.09
    assert [reader.session.pressed for reader in readers] == [False, False, True, True]
