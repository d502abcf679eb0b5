"""Cohorts: each member receives what it would have received by itself, and no member is closed for another."""

from __future__ import annotations

import asyncio
import json
import random
import time
from typing import Any

import pytest

from push.delivery.batch import CHUNK_BYTES, Batch
from push.delivery.hub import Hub
from push.delivery.send_queue import SendQueue
from push.delivery.session import MAX_MISSED_HEARTBEATS, PING_MESSAGE, Session
from push.delivery.slices import SLICE_BYTES
from push.journal.totals import Totals
from push.protocol.access import ANONYMOUS_GRANT, Grant, Role
from push.protocol.messages import CloseCode, FeedStatus, encode
from tests.helpers.builders import messages_of
from tests.helpers.fake_cohort import CohortMember, FakeCohort, publish
from tests.helpers.fake_transport import FakeTransport
from tests.support import TIMEOUT_SECONDS


async def test_members_are_served_by_one_write_and_not_one_by_one() -> None:
    hub = Hub()
    cohort = hub.create_cohort(FakeCohort)
    members = [CohortMember(hub, cohort) for _ in range(5)]
    for n in range(3):
        publish(hub, b"%d" % n)
        await asyncio.sleep(0)
    assert [member.received for member in members] == [[b"0", b"1", b"2"]] * 5
    assert cohort.calls == 3
    assert [member.flush_calls for member in members] == [0] * 5
    # The totals, too.
    hub.set_totals(Totals(7))
    await asyncio.sleep(0)
    assert all(b'"total_orders":7' in member.received[-1] for member in members)


async def test_cohort_writes_one_chunk_in_a_tick_and_a_member_that_leaves_between_two_misses_nothing() -> None:
    hub = Hub(max_messages=100, max_bytes=2**30)
    cohort = hub.create_cohort(FakeCohort)
    members = [CohortMember(hub, cohort) for _ in range(SLICE_BYTES // CHUNK_BYTES)]  # a chunk for each is a slice
    payloads = [bytes([n]) * CHUNK_BYTES for n in range(4)]
    publish(hub, *payloads)
    for chunks in (1, 2):
        await asyncio.sleep(0)
        assert [member.received for member in members] == [payloads[:chunks]] * len(members)
    members[0].session.send(Batch([b"own"]))
    assert members[0].received == [*payloads[:2], b"own", *payloads[2:]]
    late = CohortMember(hub, cohort)  # caught up, and so at another offset than the cohort
    assert late.is_detached()
    async with asyncio.timeout(TIMEOUT_SECONDS):
        await hub.wait_writable()
    assert [member.received for member in members[1:]] == [payloads] * (len(members) - 1)
    assert (len(members[0].received), late.received) == (5, [])


async def test_feed_status_reaches_members_by_one_write_and_each_other_admitted_session() -> None:
    hub = Hub()
    cohort = hub.create_cohort(FakeCohort)
    members = [CohortMember(hub, cohort) for _ in range(3)]
    blocked, leaves = CohortMember(hub, cohort), CohortMember(hub, cohort)
    blocked.blocked = True
    blocked.session.send(Batch([b"own"]))
    conflating = Session(SendQueue(10, 1000), FakeTransport(), conflate_above=1)
    customer, unauthenticated = (Session(SendQueue(10, 1000), FakeTransport()) for _ in range(2))
    for session in (conflating, customer, unauthenticated):
        hub.add(session)
    conflating.apply_grant(ANONYMOUS_GRANT, ANONYMOUS_GRANT.default_topics())
    hub.go_live(conflating)
    customer.apply_grant(Grant(Role.CUSTOMER, "anna"), frozenset({"orders"}))  # being replayed to: not live
    for n in range(3):
        publish(hub, b'{"id":"%d"}' % n)
    await asyncio.sleep(0)
    calls = cohort.calls
    status = FeedStatus(False, 0.0, "why")
    announcing = asyncio.create_task(hub.announce_feed_status(status))
    leaves.session.detach()
    await announcing
    told = encode(status)
    assert hub.feed_status is status
    assert cohort.calls == calls + 1
    assert [member.received.count(told) for member in (*members, leaves)] == [1] * 4
    assert [member.session.cohort for member in members] == [cohort] * 3
    blocked.blocked = False
    blocked.schedule_flush()
    assert blocked.received.count(told) == 1
    # Not among the events that conflation replaces.
    assert [json.loads(message)["type"] for message in messages_of(conflating.take(1000))][:2] == ["feed_status", "bulk"]
    assert messages_of(customer.take(1000)) == [told]
    assert unauthenticated.take(1000) == []


async def test_member_with_a_message_of_its_own_continues_at_the_offset_of_the_cohort() -> None:
    hub = Hub()
    cohort = hub.create_cohort(FakeCohort)
    one, other = CohortMember(hub, cohort), CohortMember(hub, cohort)
    publish(hub, b"before")
    one.blocked = True
    one.session.send(Batch([b"own"]))
    assert one.is_detached()
    await asyncio.sleep(0)
    publish(hub, b"after")
    await asyncio.sleep(0)
    assert (one.received, other.received) == ([], [b"before", b"after"])
    one.blocked = False
    one.schedule_flush()
    assert one.received == [b"own", b"before", b"after"]
    assert not one.is_detached()
    publish(hub, b"together")
    await asyncio.sleep(0)
    assert one.received[-1] == other.received[-1] == b"together"


async def test_blocked_member_is_detached_and_closed_while_the_others_go_on() -> None:
    hub = Hub(max_messages=2)
    cohort = hub.create_cohort(FakeCohort)
    slow, quick = CohortMember(hub, cohort), CohortMember(hub, cohort)
    slow.blocked = True
    for n in range(6):
        publish(hub, b"%d" % n)
        await asyncio.sleep(0)
    # Its transport has accepted the first one.
    assert slow.received == [b"0"]
    assert slow.session.close_code is CloseCode.SLOW_CONSUMER
    assert quick.received == [b"%d" % n for n in range(6)]


async def test_expired_grant_of_a_member_is_noticed_in_the_next_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    hub = Hub()
    cohort = hub.create_cohort(FakeCohort)
    clock = [1000.0]
    monkeypatch.setattr("push.delivery.hub.time.time", lambda: clock[0])
    short = CohortMember(hub, cohort, Grant(Role.ADMIN, expires_at=2000.0))
    others = [CohortMember(hub, cohort), CohortMember(hub, cohort, Grant(Role.ADMIN, expires_at=5000.0))]
    publish(hub, b"one")
    await asyncio.sleep(0)
    assert not short.is_detached()
    clock[0] = 2000.0
    publish(hub, b"two")
    await asyncio.sleep(0)
    assert (short.received, short.session.close_code) == ([b"one"], CloseCode.TOKEN_EXPIRED)
    assert [other.received for other in others] == [[b"one", b"two"]] * 2
    assert not any(other.is_detached() for other in others)


async def test_cohort_that_has_overflowed_is_closed_like_a_single_session() -> None:
    hub = Hub(max_messages=2)
    cohort = hub.create_cohort(FakeCohort)
    members = [CohortMember(hub, cohort) for _ in range(2)]
    for n in range(5):  # before the first pass
        publish(hub, b"%d" % n)
    await asyncio.sleep(0)
    assert [member.session.close_code for member in members] == [CloseCode.SLOW_CONSUMER] * 2


async def test_error_in_write_all_closes_the_members_of_this_cohort_only(caplog: Any) -> None:
    hub = Hub()
    cohort, other = hub.create_cohort(FakeCohort), hub.create_cohort(FakeCohort)
    hit, spared = CohortMember(hub, cohort), CohortMember(hub, other)
    cohort.fails = True
    publish(hub, b"x")
    await asyncio.sleep(0)
    assert hit.session.close_code is CloseCode.INTERNAL_ERROR
    assert spared.received == [b"x"]
    assert "injected fault" in caplog.text


async def test_error_of_a_detached_member_closes_that_session_only(caplog: Any) -> None:
    hub = Hub()
    cohort = hub.create_cohort(FakeCohort)
    short = CohortMember(hub, cohort, Grant(Role.ADMIN, expires_at=time.time() + 3600))
    bad, good = CohortMember(hub, cohort), CohortMember(hub, cohort)
    cohort._earliest_expiry = 0.0  # the cohort dissolves as if a grant had expired
    bad.flush_broadcast = bad.fault  # type: ignore[method-assign]
    publish(hub, b"one")
    await asyncio.sleep(0)
    assert bad.session.close_code is CloseCode.INTERNAL_ERROR
    publish(hub, b"two")
    async with asyncio.timeout(30):
        await hub.wait_writable()
    assert short.received == good.received == [b"one", b"two"]
    assert "injected fault" in caplog.text


async def test_pass_ends_after_an_error_of_a_cohort(monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    hub = Hub()
    cohort, other = hub.create_cohort(FakeCohort), hub.create_cohort(FakeCohort)
    hit, spared = CohortMember(hub, cohort), CohortMember(hub, other)

    def fault() -> None:
        raise MemoryError

    monkeypatch.setattr(cohort, "deliver_broadcast", fault)
    publish(hub, b"x")
    async with asyncio.timeout(30):
        await hub.wait_writable()
    assert (hit.session.close_code, spared.received) == (CloseCode.INTERNAL_ERROR, [b"x"])
    assert "MemoryError" in caplog.text


async def test_heartbeat_is_counted_per_member_and_written_once_for_all() -> None:
    hub = Hub()
    cohort = hub.create_cohort(FakeCohort)
    alive, silent = CohortMember(hub, cohort), CohortMember(hub, cohort)
    heartbeat = asyncio.create_task(hub.heartbeat(0.01))
    try:
        async with asyncio.timeout(10):
            while silent.session.close_code is None:
                alive.session.mark_alive()
                await asyncio.sleep(0)
    finally:
        heartbeat.cancel()
    assert silent.received == [PING_MESSAGE] * MAX_MISSED_HEARTBEATS
    assert silent.session.close_code is CloseCode.NO_PONG
    assert alive.session.close_code is None
    assert not alive.is_detached()


async def test_removed_or_drained_session_is_in_no_cohort() -> None:
    hub = Hub()
    cohort = hub.create_cohort(FakeCohort)
    leaving, staying = CohortMember(hub, cohort), CohortMember(hub, cohort)
    hub.remove(leaving.session)
    leaving.session.close(CloseCode.NORMAL, flush=False)
    assert leaving.session not in hub._detached
    publish(hub, b"later")
    await asyncio.sleep(0)
    assert (leaving.received, staying.received) == ([], [b"later"])
    publish(hub, b"last")  # not delivered yet when the drain begins
    draining = asyncio.create_task(hub.drain(30))
    await asyncio.sleep(0)
    assert staying.received == [b"later", b"last"]
    assert staying.session.close_code is CloseCode.DRAIN
    assert not cohort.members
    hub.remove(staying.session)
    await draining


@pytest.mark.parametrize("seed", [*range(5), None])
async def test_random_members_receive_everything_once_and_in_order(seed: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    seed = random.randrange(2**32) if seed is None else seed
    print(f"seed {seed}")
    choose = random.Random(seed)
    monkeypatch.setattr("push.delivery.cohort.MAX_MEMBERS", choose.choice([2, 1000]))
    hub = Hub(max_messages=10**6)
    cohorts = [hub.create_cohort(FakeCohort) for _ in range(3)]
    members = [CohortMember(hub, choose.choice(cohorts)) for _ in range(8)]
    joined_at = [0] * 8
    published = 0
    for _ in range(2000):
        member = choose.choice(members)
        match choose.randrange(6):
            case 0 | 1:
                count = choose.randint(1, 4)
                publish(hub, *(b"%d" % (published + n) for n in range(count)))
                published += count
            case 2:
                member.blocked = not member.blocked
                if not member.blocked:
                    member.schedule_flush()
            case 3:
                member.session.send(Batch([b"own"]))
            case 4 if len(members) < 20:
                members.append(CohortMember(hub, choose.choice(cohorts)))
                joined_at.append(published)
            case _:
                await asyncio.sleep(0)
    for member in members:
        member.blocked = False
        member.schedule_flush()
    publish(hub, b"%d" % published)
    for _ in range(3):
        await asyncio.sleep(0)
    for member, first in zip(members, joined_at, strict=True):
        if member.session.close_code is None:
            broadcast = [message for message in member.received if message != b"own"]
            assert broadcast == [b"%d" % n for n in range(first, published + 1)]
        assert member.is_detached() or member.session in member.cohort.members
    assert sum(len(cohort.members) for cohort in cohorts) > 5
