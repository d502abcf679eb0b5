"""Totals as a fold, and how often the hub tells them."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal

from push.delivery.hub import TOTALS_INTERVAL, Hub
from push.delivery.send_queue import SendQueue
from push.delivery.session import Session
from push.journal.totals import Totals
from push.protocol.access import ANONYMOUS_GRANT
from push.protocol.messages import CloseCode
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
    hub.add(session)
    session.apply_grant(ANONYMOUS_GRANT, ANONYMOUS_GRANT.default_topics())
    session.send_initial_message(hub.totals_batch)
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
    assert asyncio.get_running_loop().time() - start >= TOTALS_INTERVAL * 0.9
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
    assert session.close_code is CloseCode.DRAIN
    assert not draining.done()
    hub.remove(session)
    await draining
    assert len(hub) == 0
