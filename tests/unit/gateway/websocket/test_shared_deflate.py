"""The stream that all follow: each client can inflate all that it gets, and that is what it is to get."""

from __future__ import annotations

import pytest

from push.protocol.access import ANALYTICS_TOPIC, ORDERS_TOPIC
from push.protocol.messages import CloseCode
from tests.helpers.inflating_client import BOTH, House


@pytest.fixture
def quick_totals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("push.delivery.totals_throttle.TOTALS_INTERVAL", 0.0)


async def test_all_get_the_same_bytes_and_few_of_them(quick_totals: None) -> None:
    house = House()
    lines = [house.line() for _ in range(3)]
    plain = house.line(compression=False)
    for _ in range(50):
        house.publish()
        await house.turns()
    for line in lines:
        assert line.events == list(range(1, 51))
        assert line.told[1:] == list(range(1, 51))
        assert line.browser.compressed == 100
        assert line.browser.frames == plain.browser.frames
        assert line.browser.bytes < plain.browser.bytes / 4
    assert plain.browser.compressed == 0


async def test_who_comes_later_joins_at_the_next_point_and_gets_everything_until_then(quick_totals: None) -> None:
    house = House()
    first = [house.line() for _ in range(20)]
    house.publish()
    await house.turns()
    late = house.line()
    for _ in range(300):
        house.publish()
        await house.turns(3)
    assert late.events == list(range(2, 302))
    plain = len(late.browser.frames) - late.browser.compressed
    assert 1 < plain < 120  # 20 clients would lose 400 bytes each: that is some 50 events of 150, and the totals
    assert first[0].events == list(range(1, 302))
    assert first[0].browser.compressed == 602


async def test_many_who_come_at_once_join_soon_and_later_ones_after_them(quick_totals: None) -> None:
    house = House()
    first = [house.line() for _ in range(5)]
    house.publish()
    await house.turns()
    crowd = [house.line() for _ in range(50)]
    for _ in range(20):
        house.publish()
        await house.turns()
    assert max(len(line.browser.frames) - line.browser.compressed for line in crowd) < 2 * 12
    late = house.line()
    for _ in range(300):
        house.publish()
        await house.turns(3)
    assert late.browser.compressed > 200
    assert first[0].browser.compressed == 2 * 321


async def test_one_by_one_among_many_does_not_begin_anew_each_time(quick_totals: None) -> None:
    house = House()
    crowd = [house.line() for _ in range(200)]
    house.publish()
    await house.turns()
    before = crowd[0].browser.bytes
    for _ in range(300):
        house.line()
        house.publish()
        await house.turns(3)
    new = crowd[0].browser.bytes - before
    assert new < 300 * 2 * 60


async def test_totals_are_not_told_twice_because_one_client_asks(quick_totals: None) -> None:
    house = House()
    lines = [house.line() for _ in range(3)]
    house.publish()
    await house.turns()
    lines[1].session.schedule_totals()
    await house.turns()
    house.publish()
    await house.turns()
    assert [line.told for line in lines] == [[0, 1, 2], [0, 1, 1, 2], [0, 1, 2]]
    assert [line.browser.compressed for line in lines] == [4, 4, 4]


async def test_who_does_not_follow_all_gets_nothing_of_it(quick_totals: None) -> None:
    house = House()
    whole, part = house.line(), house.line()
    house.publish()
    await house.turns()
    part.session.set_topics(frozenset({ORDERS_TOPIC}))
    house.hub.topics_changed(part.session)
    house.publish(3)
    await house.turns()
    assert (part.events, part.told) == ([1, 2, 3, 4], [0, 1])
    assert part.browser.compressed == 2
    assert part.segment is None
    assert whole.browser.compressed == 2 + 4


async def test_who_was_away_for_a_while_waits_for_a_point_to_join(quick_totals: None) -> None:
    house = House()
    lines = [house.line() for _ in range(9)]
    house.publish()
    await house.turns()
    away = lines[4]
    away.session.set_topics(frozenset({ANALYTICS_TOPIC}))
    house.hub.topics_changed(away.session)
    house.publish()
    # It is back before anybody has been told of the second event: the chain goes on with that one.
    away.session.set_topics(BOTH)
    house.hub.topics_changed(away.session)
    for _ in range(100):
        house.publish()
        await house.turns()
    assert away.events == [1, *range(3, 103)]
    assert lines[0].events == list(range(1, 103))
    assert 2 < away.browser.compressed < len(away.browser.frames) - 2


async def test_who_lags_behind_gets_all_of_the_stream_later(quick_totals: None) -> None:
    house = House()
    slow, quick = house.line(), house.line()
    house.publish()
    await house.turns()
    house.publish()
    await house.turns()
    slow.pause_writing()
    for _ in range(10):
        house.publish()
        await house.turns()
    slow.resume_writing()
    slow.flush()
    assert slow.events == quick.events == list(range(1, 13))
    assert slow.told == quick.told  # the older ones too: what comes after them refers to them
    assert len(slow.browser.frames) - slow.browser.compressed == len(quick.browser.frames) - quick.browser.compressed


async def test_a_newcomer_does_not_begin_anew_while_others_lag(quick_totals: None) -> None:
    house = House()
    slow = house.line()
    house.publish()
    await house.turns()
    slow.pause_writing()
    house.publish()
    await house.turns()
    new = house.line()
    for _ in range(10):
        house.publish()
        await house.turns()
    assert new.browser.compressed == 0
    slow.resume_writing()
    slow.flush()
    assert slow.browser.compressed == 1 + 12 + 1  # the totals that it slept through are told once
    for _ in range(4):
        house.publish()
        await house.turns()
    assert new.browser.compressed > 0


async def test_totals_that_are_ahead_of_the_stream_are_one_clients_alone(quick_totals: None) -> None:
    house = House()
    lines = [house.line() for _ in range(2)]
    leaving, staying = lines
    house.publish()
    await house.turns()
    leaving.pause_writing()
    house.publish()
    await house.turns()
    leaving.resume_writing()
    leaving.session.close(CloseCode.DRAIN)
    house.publish()  # when it is told what it has missed, this has been counted, and nobody has been told of it
    await house.turns()
    assert leaving.events == [1, 2]
    kinds = [frame.get("n") or -frame["total_orders"] for frame in staying.browser.frames]
    assert kinds == [0, 1, -1, 2, -2, 3, -3]


async def test_nobody_is_given_totals_that_are_behind_what_it_did_not_get() -> None:
    house = House()
    away, staying = house.line(), house.line()
    house.publish()
    await house.turns()
    away.session.set_topics(frozenset({ANALYTICS_TOPIC}))
    house.hub.topics_changed(away.session)
    house.publish()
    away.session.set_topics(BOTH)
    house.hub.topics_changed(away.session)
    await house.turns()
    assert staying.events == [1, 2]
    before = away.browser.compressed
    away.session.schedule_totals()
    await house.turns()
    assert (away.events, away.told) == ([1], [0, 1, 2])
    assert away.browser.compressed == before


async def test_nothing_is_kept_without_bound_for_who_is_never_ended(
    quick_totals: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.websocket.shared_deflate.MAX_LAG_BYTES", 20_000)
    house = House()
    stuck, quick = house.line(conflate=10), house.line()
    house.publish()
    await house.turns()
    assert stuck.browser.compressed == 2
    stuck.pause_writing()
    for _ in range(300):
        house.publish()
        await house.turns()
    assert stuck.segment is None
    stuck.resume_writing()
    stuck.flush()
    assert [frame["type"] for frame in stuck.browser.frames[3:6]] == ["bulk", "position", "analytics_update"]
    for _ in range(10):
        house.publish()
        await house.turns()
    assert stuck.events == [1, *range(302, 312)]
    assert quick.events == list(range(1, 312))


async def test_nobody_holds_what_all_have_got(quick_totals: None) -> None:
    house = House()
    lines = [house.line() for _ in range(3)]
    house.publish()
    await house.turns()
    start = lines[0].stands_at
    assert start is not None
    lines[2].session.set_topics(frozenset({ORDERS_TOPIC}))
    house.hub.topics_changed(lines[2].session)
    for _ in range(10):
        house.publish()
        await house.turns()
    held = []
    assert lines[0].stands_at is lines[1].stands_at
    for segment in (lines[0].stands_at, *(line.segment for line in lines)):
        while segment is not None:
            held.append(segment)
            segment = segment.next
    assert len(held) == 1


async def test_who_is_cut_out_of_a_crowd_is_not_counted_any_more(quick_totals: None) -> None:
    house = House()
    lines = [house.line() for _ in range(3)]
    house.publish()
    await house.turns()
    assert house.fanout._shared_deflate._follower_count == 3
    assert all(line.session.cohort is not None for line in lines)
    for line in lines:
        line.connection_lost(None)
    assert house.fanout._shared_deflate._follower_count == 0
    house.publish()  # while nobody is there
    await house.turns()
    new = house.line()
    for _ in range(5):
        house.publish()
        await house.turns()
    assert new.browser.compressed > 0
