"""gateway.websocket.shared_deflate: every client can decompress what it gets, and gets what its session is to get."""

from __future__ import annotations

import asyncio
import random

import pytest

from push.delivery.batch import Batch
from push.protocol.access import ANALYTICS_TOPIC, ORDERS_TOPIC
from push.protocol.messages import CloseCode
from tests.helpers.inflating_client import ALL_TOPICS, BroadcastSetup, InflatingClient


@pytest.fixture
def unthrottled_totals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("push.delivery.totals_throttle.TOTALS_INTERVAL", 0.0)


async def test_all_followers_get_the_same_compressed_messages(unthrottled_totals: None) -> None:
    setup = BroadcastSetup()
    clients = [setup.add_client() for _ in range(3)]
    plain = setup.add_client(compression=False)
    for _ in range(50):
        setup.publish()
        await setup.run_ticks()
    for client in clients:
        assert client.events == list(range(1, 51))
        assert client.totals[1:] == list(range(1, 51))
        assert client.receiver.compressed == 100
        assert client.receiver.messages == plain.receiver.messages
        assert client.receiver.bytes < plain.receiver.bytes / 4
    assert plain.receiver.compressed == 0


async def test_later_client_gets_messages_uncompressed_until_the_next_join_point(unthrottled_totals: None) -> None:
    setup = BroadcastSetup()
    first = [setup.add_client() for _ in range(20)]
    setup.publish()
    await setup.run_ticks()
    late = setup.add_client()
    for _ in range(300):
        setup.publish()
        await setup.run_ticks(3)
    assert late.events == list(range(2, 302))
    plain = len(late.receiver.messages) - late.receiver.compressed
    assert 1 < plain < 120  # a join point costs 20 clients 400 bytes each: some 50 events of 150 bytes, and the totals
    assert first[0].events == list(range(1, 302))
    assert first[0].receiver.compressed == 602


async def test_many_new_clients_cause_a_join_point_soon(unthrottled_totals: None) -> None:
    setup = BroadcastSetup()
    first = [setup.add_client() for _ in range(5)]
    setup.publish()
    await setup.run_ticks()
    many = [setup.add_client() for _ in range(50)]
    for _ in range(20):
        setup.publish()
        await setup.run_ticks()
    assert max(len(client.receiver.messages) - client.receiver.compressed for client in many) < 2 * 12
    late = setup.add_client()
    for _ in range(300):
        setup.publish()
        await setup.run_ticks(3)
    assert late.receiver.compressed > 200
    assert first[0].receiver.compressed == 2 * 321


async def test_single_new_clients_do_not_cause_a_join_point_each(unthrottled_totals: None) -> None:
    setup = BroadcastSetup()
    many = [setup.add_client() for _ in range(200)]
    setup.publish()
    await setup.run_ticks()
    before = many[0].receiver.bytes
    for _ in range(300):
        setup.add_client()
        setup.publish()
        await setup.run_ticks(3)
    new = many[0].receiver.bytes - before
    assert new < 300 * 2 * 60


async def test_totals_sent_to_one_client_are_not_repeated_for_the_others(unthrottled_totals: None) -> None:
    setup = BroadcastSetup()
    clients = [setup.add_client() for _ in range(3)]
    setup.publish()
    await setup.run_ticks()
    clients[1].session.schedule_totals()
    await setup.run_ticks()
    setup.publish()
    await setup.run_ticks()
    assert [client.totals for client in clients] == [[0, 1, 2], [0, 1, 1, 2], [0, 1, 2]]
    assert [client.receiver.compressed for client in clients] == [4, 4, 4]


async def test_client_with_fewer_topics_gets_nothing_compressed(unthrottled_totals: None) -> None:
    setup = BroadcastSetup()
    whole, part = setup.add_client(), setup.add_client()
    setup.publish()
    await setup.run_ticks()
    part.session.set_topics(frozenset({ORDERS_TOPIC}))
    setup.hub.topics_changed(part.session)
    setup.publish(3)
    await setup.run_ticks()
    assert (part.events, part.totals) == ([1, 2, 3, 4], [0, 1])
    assert part.receiver.compressed == 2
    assert part.segment is None
    assert whole.receiver.compressed == 2 + 4


async def test_client_that_changed_its_topics_and_back_waits_for_a_join_point(unthrottled_totals: None) -> None:
    setup = BroadcastSetup()
    clients = [setup.add_client() for _ in range(9)]
    setup.publish()
    await setup.run_ticks()
    away = clients[4]
    away.session.set_topics(frozenset({ANALYTICS_TOPIC}))
    setup.hub.topics_changed(away.session)
    setup.publish()
    # Its topics are restored before the second event is delivered: the next segment is that event.
    away.session.set_topics(ALL_TOPICS)
    setup.hub.topics_changed(away.session)
    for _ in range(100):
        setup.publish()
        await setup.run_ticks()
    assert away.events == [1, *range(3, 103)]
    assert clients[0].events == list(range(1, 103))
    assert 2 < away.receiver.compressed < len(away.receiver.messages) - 2


async def test_slow_follower_gets_every_message_of_the_stream_later(unthrottled_totals: None) -> None:
    setup = BroadcastSetup()
    slow, quick = setup.add_client(), setup.add_client()
    setup.publish()
    await setup.run_ticks()
    setup.publish()
    await setup.run_ticks()
    slow.pause_writing()
    for _ in range(10):
        setup.publish()
        await setup.run_ticks()
    slow.resume_writing()
    slow.flush()
    assert slow.events == quick.events == list(range(1, 13))
    assert slow.totals == quick.totals  # older totals too: later messages of the stream refer to them
    assert len(slow.receiver.messages) - slow.receiver.compressed == len(quick.receiver.messages) - quick.receiver.compressed


async def test_new_client_does_not_reset_the_compressor_while_a_follower_is_behind(unthrottled_totals: None) -> None:
    setup = BroadcastSetup()
    slow = setup.add_client()
    setup.publish()
    await setup.run_ticks()
    slow.pause_writing()
    setup.publish()
    await setup.run_ticks()
    new = setup.add_client()
    for _ in range(10):
        setup.publish()
        await setup.run_ticks()
    assert new.receiver.compressed == 0
    slow.resume_writing()
    slow.flush()
    assert slow.receiver.compressed == 1 + 12 + 1  # the totals published meanwhile are sent once
    for _ in range(4):
        setup.publish()
        await setup.run_ticks()
    assert new.receiver.compressed > 0


async def test_totals_ahead_of_the_stream_go_to_one_client_only(unthrottled_totals: None) -> None:
    setup = BroadcastSetup()
    clients = [setup.add_client() for _ in range(2)]
    closing, staying = clients
    setup.publish()
    await setup.run_ticks()
    closing.pause_writing()
    setup.publish()
    await setup.run_ticks()
    closing.resume_writing()
    closing.session.close(CloseCode.DRAIN)
    setup.publish()  # the totals include this event before it is delivered
    await setup.run_ticks()
    assert closing.events == [1, 2]
    kinds = [message.get("n") or -message["total_orders"] for message in staying.receiver.messages]
    assert kinds == [0, 1, -1, 2, -2, 3, -3]


async def test_totals_after_missed_events_are_sent_uncompressed() -> None:
    setup = BroadcastSetup()
    away, staying = setup.add_client(), setup.add_client()
    setup.publish()
    await setup.run_ticks()
    away.session.set_topics(frozenset({ANALYTICS_TOPIC}))
    setup.hub.topics_changed(away.session)
    setup.publish()
    away.session.set_topics(ALL_TOPICS)
    setup.hub.topics_changed(away.session)
    await setup.run_ticks()
    assert staying.events == [1, 2]
    before = away.receiver.compressed
    away.session.schedule_totals()
    await setup.run_ticks()
    assert (away.events, away.totals) == ([1], [0, 1, 2])
    assert away.receiver.compressed == before


async def test_conflating_client_too_far_behind_stops_following(
    unthrottled_totals: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.websocket.shared_deflate.MAX_LAG_BYTES", 20_000)
    setup = BroadcastSetup()
    stuck, quick = setup.add_client(conflate=10), setup.add_client()
    setup.publish()
    await setup.run_ticks()
    assert stuck.receiver.compressed == 2
    stuck.pause_writing()
    for _ in range(300):
        setup.publish()
        await setup.run_ticks()
    assert stuck.segment is None
    stuck.resume_writing()
    stuck.flush()
    assert [message["type"] for message in stuck.receiver.messages[3:6]] == ["bulk", "position", "analytics_update"]
    for _ in range(10):
        setup.publish()
        await setup.run_ticks()
    assert stuck.events == [1, *range(302, 312)]
    assert quick.events == list(range(1, 312))


async def test_segments_that_all_have_are_freed(unthrottled_totals: None) -> None:
    setup = BroadcastSetup()
    clients = [setup.add_client() for _ in range(3)]
    setup.publish()
    await setup.run_ticks()
    start = clients[0].current_segment
    assert start is not None
    clients[2].session.set_topics(frozenset({ORDERS_TOPIC}))
    setup.hub.topics_changed(clients[2].session)
    for _ in range(10):
        setup.publish()
        await setup.run_ticks()
    held = []
    assert clients[0].current_segment is clients[1].current_segment
    for segment in (clients[0].current_segment, *(client.segment for client in clients)):
        while segment is not None:
            held.append(segment)
            segment = segment.next
    assert len(held) == 1


async def test_lost_cohort_members_are_not_counted_as_followers(unthrottled_totals: None) -> None:
    setup = BroadcastSetup()
    clients = [setup.add_client() for _ in range(3)]
    setup.publish()
    await setup.run_ticks()
    assert setup.broadcaster._shared_deflate._follower_count == 3
    assert all(client.session.cohort is not None for client in clients)
    for client in clients:
        client.connection_lost(None)
    assert setup.broadcaster._shared_deflate._follower_count == 0
    setup.publish()  # without clients
    await setup.run_ticks()
    new = setup.add_client()
    for _ in range(5):
        setup.publish()
        await setup.run_ticks()
    assert new.receiver.compressed > 0


@pytest.mark.parametrize("seed", [*range(12), None])
async def test_random_clients_can_decompress_everything_and_miss_nothing(
    seed: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    seed = random.randrange(2**32) if seed is None else seed
    print(f"seed {seed}")
    rng = random.Random(seed)
    monkeypatch.setattr("gateway.websocket.shared_deflate.JOIN_COST_BYTES", rng.choice([0, 50, 400]))
    monkeypatch.setattr("gateway.websocket.shared_deflate.JOIN_INTERVAL_BYTES", rng.choice([2000, 20_000, 10**9]))
    monkeypatch.setattr("gateway.websocket.shared_deflate.MAX_LAG_BYTES", rng.choice([5000, 10**7]))
    monkeypatch.setattr("push.delivery.totals_throttle.TOTALS_INTERVAL", rng.choice([0.0, 0.001]))
    monkeypatch.setattr("push.delivery.cohort.MAX_MEMBERS", rng.choice([1, 3, 1000]))
    setup = BroadcastSetup(rng.choice([40, 400]))
    clients = [setup.add_client(compression=rng.random() < 0.8) for _ in range(4)]
    # Per client: the numbers of the events that it must get, and of pongs; the clients whose topics never changed.
    expected: dict[InflatingClient, list[int]] = {client: [] for client in clients}
    pongs: dict[InflatingClient, int] = dict.fromkeys(clients, 0)
    topics_unchanged = set(clients)
    closed: list[InflatingClient] = []

    def add_client() -> None:
        clients.append(setup.add_client(compression=rng.random() < 0.8, conflate=rng.choice([None, None, 10])))
        expected[clients[-1]], pongs[clients[-1]] = [], 0
        topics_unchanged.add(clients[-1])

    def publish(count: int) -> None:
        for client in clients:
            if ORDERS_TOPIC in client.session.topics:
                expected[client] += range(setup.published + 1, setup.published + count + 1)
        setup.publish(count, rng.choice([20, 200, 2000]))

    for _ in range(1500):
        if not clients:  # every one has been closed
            add_client()
        client = rng.choice(clients)
        match rng.randrange(12):
            case 0 | 1 | 2:
                publish(rng.choice([1, 1, 1, 2, 5, 30]))
            case 3:
                rng.choice([client.pause_writing, client.resume_writing])()
            case 4 if len(clients) < 12:
                add_client()
            case 5 if rng.random() < 0.3:
                topics_unchanged.discard(client)
                client.session.set_topics(
                    rng.choice([ALL_TOPICS, ALL_TOPICS, frozenset({ORDERS_TOPIC}), frozenset({ANALYTICS_TOPIC}), frozenset()])
                )
                setup.hub.topics_changed(client.session)
            case 6:
                pongs[client] += 1
                client.session.send(Batch([b'{"type":"pong","n":%d}' % pongs[client]]))
            case 7 if rng.random() < 0.1:
                client.session.schedule_totals()
            case 8 if rng.random() < 0.05:
                client.session.close(CloseCode.DRAIN)
                client.resume_writing()
                while client.session.has_output:  # a chunk each time
                    client.flush()
            case _:
                await setup.run_ticks(rng.choice([1, 2, 4]))
        assert setup.broadcaster._shared_deflate._uncompressed_bytes >= 0
        assert setup.broadcaster._shared_deflate._follower_count == sum(
            client.current_segment is not None for client in clients
        )
        for client in [client for client in clients if client.session.close_code is not None]:
            clients.remove(client)
            closed.append(client)
            setup.hub.remove(client.session)
            setup.broadcaster.remove_follower(client)
    for client in clients:
        client.resume_writing()
        client.flush()
    for _ in range(3):
        publish(1)
        await asyncio.sleep(0.01)

    for client in clients + closed:
        # Totals include exactly the events before them.
        last = (
            client.receiver.messages[0].get("total_orders") if client.receiver.messages and client in topics_unchanged else None
        )
        expected_numbers = iter(expected[client])
        for message in client.receiver.messages:
            if message["type"] == "event":
                assert message["n"] == next(expected_numbers)
                last = last if last is None else message["n"]
            elif message["type"] == "bulk":
                assert client.conflates
                *_, last_conflated = (next(expected_numbers) for _ in range(message["events"]))
                last = last if last is None else last_conflated
            elif message["type"] == "analytics_update" and last is not None:
                assert message["total_orders"] == last
        if client.session.close_code is not CloseCode.SLOW_CONSUMER:
            assert next(expected_numbers, None) is None
            assert [message["n"] for message in client.receiver.messages if message["type"] == "pong"] == list(
                range(1, pongs[client] + 1)
            )
    for client in clients:
        if client.session.subscription.receives_everything and client.session.close_code is None:
            assert client.totals[-1] == setup.published
    assert sum(client.receiver.compressed for client in clients + closed) > 100
