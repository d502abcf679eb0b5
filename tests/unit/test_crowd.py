"""Sessions at one place are told as one: each gets what it would have got by itself, and nobody is told for another."""

from __future__ import annotations

import asyncio
import random
import time
from types import SimpleNamespace
from typing import Any, cast

import pytest

from gateway.net.transports import TransportBackend
from push.delivery.batch import Batch
from push.delivery.cohort import Cohort
from push.delivery.hub import Hub
from push.delivery.send_queue import SendQueue
from push.delivery.session import MAX_MISSED_HEARTBEATS, PING_MESSAGE, Session
from push.journal.totals import Totals
from push.protocol.access import ANALYTICS_TOPIC, ANONYMOUS_GRANT, ORDERS_TOPIC, Grant, Role
from push.protocol.messages import CloseCode
from tests.unit.test_positions import an_event
from tests.unit.test_session import frames_of

BOTH = frozenset({ORDERS_TOPIC, ANALYTICS_TOPIC})


class Written(Cohort["Member"]):
    """Writes to each member what the crowd is given."""

    calls = 0
    fails = False

    def write_all(self, batches: list[Batch]) -> None:
        self.calls += 1
        if self.fails:
            raise OSError("a fault of our own")
        for session, member in list(self.members.items()):
            member.got += frames_of(batches)
            if member.full:
                session.detach()


class Member:
    """A client that takes what there is, unless it is full, and joins the crowd when it is at rest."""

    def __init__(self, hub: Hub, crowd: Written, grant: Grant = ANONYMOUS_GRANT) -> None:
        self.crowd = crowd
        self.got: list[bytes] = []
        self.passes = 0
        self.full = False
        self.session = Session(SendQueue(10, 1000), self)
        hub.add(self.session)
        self.session.apply_grant(grant, BOTH)
        hub.go_live(self.session)
        self.notify_pending()

    def notify_pending(self) -> None:
        while not self.full and (taken := self.session.take(1000)):
            self.got += frames_of(taken)
        if not self.full and self.session.is_caught_up:
            self.crowd.join(self.session, self)

    def flush_broadcast(self) -> None:
        self.passes += 1
        self.notify_pending()

    def fault(self) -> None:
        raise ValueError("a fault of our own")

    def alone(self) -> bool:
        """A call, since a type checker takes an attribute for unchanged between two asserts."""
        return self.session.cohort is None


def publish(hub: Hub, *frames: bytes) -> None:
    hub.publish([an_event(frame=frame) for frame in frames], Totals())


async def test_nobody_in_it_is_looked_at() -> None:
    hub = Hub()
    crowd = hub.create_cohort(Written)
    members = [Member(hub, crowd) for _ in range(5)]
    for n in range(3):
        publish(hub, b"%d" % n)
        await asyncio.sleep(0)
    assert [member.got for member in members] == [[b"0", b"1", b"2"]] * 5
    assert crowd.calls == 3
    assert [member.passes for member in members] == [0] * 5
    # The totals, too.
    hub.set_totals(Totals(7))
    await asyncio.sleep(0)
    assert all(b'"total_orders":7' in member.got[-1] for member in members)


async def test_who_gets_something_of_its_own_goes_on_from_where_the_crowd_stood() -> None:
    hub = Hub()
    crowd = hub.create_cohort(Written)
    one, other = Member(hub, crowd), Member(hub, crowd)
    publish(hub, b"before")
    one.full = True
    one.session.send(Batch([b"own"]))
    assert one.alone()
    await asyncio.sleep(0)
    publish(hub, b"after")
    await asyncio.sleep(0)
    assert (one.got, other.got) == ([], [b"before", b"after"])
    one.full = False
    one.notify_pending()
    assert one.got == [b"own", b"before", b"after"]
    assert not one.alone()
    publish(hub, b"together")
    await asyncio.sleep(0)
    assert one.got[-1] == other.got[-1] == b"together"


async def test_who_is_full_has_got_what_was_written_and_the_others_go_on() -> None:
    hub = Hub(max_messages=2)
    crowd = hub.create_cohort(Written)
    slow, quick = Member(hub, crowd), Member(hub, crowd)
    slow.full = True
    for n in range(6):
        publish(hub, b"%d" % n)
        await asyncio.sleep(0)
    # The first one its line has taken.
    assert slow.got == [b"0"]
    assert slow.session.close_code is CloseCode.SLOW_CONSUMER
    assert quick.got == [b"%d" % n for n in range(6)]


async def test_a_grant_that_has_run_out_is_noticed_although_nobody_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    hub = Hub()
    crowd = hub.create_cohort(Written)
    clock = [1000.0]
    monkeypatch.setattr("push.delivery.hub.time.time", lambda: clock[0])
    short = Member(hub, crowd, Grant(Role.ADMIN, expires_at=2000.0))
    others = [Member(hub, crowd), Member(hub, crowd, Grant(Role.ADMIN, expires_at=5000.0))]
    publish(hub, b"one")
    await asyncio.sleep(0)
    assert not short.alone()
    clock[0] = 2000.0
    publish(hub, b"two")
    await asyncio.sleep(0)
    assert (short.got, short.session.close_code) == ([b"one"], CloseCode.TOKEN_EXPIRED)
    assert [other.got for other in others] == [[b"one", b"two"]] * 2
    assert not any(other.alone() for other in others)


async def test_a_crowd_with_too_much_waiting_is_ended_like_anybody() -> None:
    hub = Hub(max_messages=2)
    crowd = hub.create_cohort(Written)
    members = [Member(hub, crowd) for _ in range(2)]
    for n in range(5):  # before anybody can be told
        publish(hub, b"%d" % n)
    await asyncio.sleep(0)
    assert [member.session.close_code for member in members] == [CloseCode.SLOW_CONSUMER] * 2


async def test_a_fault_in_writing_to_all_ends_them_and_nobody_else(caplog: Any) -> None:
    hub = Hub()
    crowd, other = hub.create_cohort(Written), hub.create_cohort(Written)
    hit, spared = Member(hub, crowd), Member(hub, other)
    crowd.fails = True
    publish(hub, b"x")
    await asyncio.sleep(0)
    assert hit.session.close_code is CloseCode.INTERNAL_ERROR
    assert spared.got == [b"x"]
    assert "a fault of our own" in caplog.text


async def test_a_fault_with_one_member_that_is_looked_at_is_no_other_ones(caplog: Any) -> None:
    hub = Hub()
    crowd = hub.create_cohort(Written)
    short = Member(hub, crowd, Grant(Role.ADMIN, expires_at=time.time() + 3600))
    bad, good = Member(hub, crowd), Member(hub, crowd)
    crowd._earliest_expiry = 0.0  # as if somebody's grant had run out: each is looked at
    bad.flush_broadcast = bad.fault  # type: ignore[method-assign]
    publish(hub, b"one")
    await asyncio.sleep(0)
    assert bad.session.close_code is CloseCode.INTERNAL_ERROR
    publish(hub, b"two")
    async with asyncio.timeout(30):
        await hub.wait_writable()
    assert short.got == good.got == [b"one", b"two"]
    assert "a fault of our own" in caplog.text


async def test_a_round_ends_whatever_goes_wrong_with_a_crowd(monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    hub = Hub()
    crowd, other = hub.create_cohort(Written), hub.create_cohort(Written)
    hit, spared = Member(hub, crowd), Member(hub, other)

    def fault() -> None:
        raise MemoryError

    monkeypatch.setattr(crowd, "deliver_broadcast", fault)
    publish(hub, b"x")
    async with asyncio.timeout(30):
        await hub.wait_writable()
    assert (hit.session.close_code, spared.got) == (CloseCode.INTERNAL_ERROR, [b"x"])
    assert "MemoryError" in caplog.text


async def test_the_heartbeat_is_counted_for_each_once_and_sent_to_all_at_once() -> None:
    hub = Hub()
    crowd = hub.create_cohort(Written)
    heard, silent = Member(hub, crowd), Member(hub, crowd)
    beating = asyncio.create_task(hub.heartbeat(0.01))
    try:
        async with asyncio.timeout(10):
            while silent.session.close_code is None:
                heard.session.mark_alive()
                await asyncio.sleep(0)
    finally:
        beating.cancel()
    assert silent.got == [PING_MESSAGE] * MAX_MISSED_HEARTBEATS
    assert silent.session.close_code is CloseCode.NO_PONG
    assert heard.session.close_code is None
    assert not heard.alone()


async def test_it_is_not_always_the_same_member_that_comes_last() -> None:
    told: list[int] = []
    lines = [cast(Any, SimpleNamespace(write=lambda _, number=number: told.append(number))) for number in range(10)]
    last = set()
    for number in range(4):
        TransportBackend().group(lines).write(b"x", number)
        assert sorted(told) == list(range(10))
        last.add(told[-1])
        told.clear()
    assert len(last) > 1


async def test_who_leaves_or_is_drained_is_in_no_crowd() -> None:
    hub = Hub()
    crowd = hub.create_cohort(Written)
    leaving, staying = Member(hub, crowd), Member(hub, crowd)
    hub.remove(leaving.session)
    leaving.session.close(CloseCode.NORMAL, flush=False)
    assert leaving.session not in hub._detached
    publish(hub, b"later")
    await asyncio.sleep(0)
    assert (leaving.got, staying.got) == ([], [b"later"])
    publish(hub, b"last")  # not told yet when the drain begins
    draining = asyncio.create_task(hub.drain(30))
    await asyncio.sleep(0)
    assert staying.got == [b"later", b"last"]
    assert staying.session.close_code is CloseCode.DRAIN
    assert not crowd.members
    hub.remove(staying.session)
    await draining


@pytest.mark.parametrize("seed", [*range(5), None])
async def test_random_members_get_everything_once_and_in_order(seed: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    seed = random.randrange(2**32) if seed is None else seed
    print(f"seed {seed}")
    choose = random.Random(seed)
    monkeypatch.setattr("push.delivery.cohort.MAX_MEMBERS", choose.choice([2, 1000]))
    hub = Hub(max_messages=10**6)
    crowds = [hub.create_cohort(Written) for _ in range(3)]
    members = [Member(hub, choose.choice(crowds)) for _ in range(8)]
    since = [0] * 8
    published = 0
    for _ in range(2000):
        member = choose.choice(members)
        match choose.randrange(6):
            case 0 | 1:
                count = choose.randint(1, 4)
                publish(hub, *(b"%d" % (published + n) for n in range(count)))
                published += count
            case 2:
                member.full = not member.full
                if not member.full:
                    member.notify_pending()
            case 3:
                member.session.send(Batch([b"own"]))
            case 4 if len(members) < 20:
                members.append(Member(hub, choose.choice(crowds)))
                since.append(published)
            case _:
                await asyncio.sleep(0)
    for member in members:
        member.full = False
        member.notify_pending()
    publish(hub, b"%d" % published)
    for _ in range(3):
        await asyncio.sleep(0)
    for member, first in zip(members, since, strict=True):
        if member.session.close_code is None:
            assert [frame for frame in member.got if frame != b"own"] == [b"%d" % n for n in range(first, published + 1)]
        assert member.alone() or member.session in member.crowd.members
    assert sum(len(crowd.members) for crowd in crowds) > 5
