"""A relay, edges that are fed by facts, and a broker that shuffles, doubles, delays, drops and forgets them.

The same promises as of servers that read the journal themselves (test_relay_model.py): no event is lost or published twice, the
events of an order keep their order, the totals are exact, and every resume is answered, whichever process is the relay and
however many are. tests/planted_bugs has breaches of the rule of use that this test must find.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Iterator, Sequence
from functools import partial

import pytest

import push.journal.fact_journal
import push.journal.fact_publisher
from push.journal.events import Event
from push.journal.totals import Totals
from tests.helpers.following import RecordingSink
from tests.model.cluster import ClusterServer, ClusterWorld
from tests.model.test_relay_model import Steps, one_step, small_sizes

__all__ = ["small_sizes"]

RUNS = int(os.environ.get("MODEL_RUNS", "40"))


@pytest.fixture(autouse=True, scope="module")
def small_facts(small_sizes: None) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(push.journal.fact_publisher, "PAGE_EVENTS", 4)
        patch.setattr(push.journal.fact_journal, "MAX_JOINED_EVENTS", 12)
        yield


def seeds() -> Iterator[int]:
    first = int(os.environ.get("MODEL_SEED", random.randrange(10**9)))
    yield from range(first, first + RUNS)


def disturb(world: ClusterWorld, choose: random.Random) -> None:
    """Change what the broker does to messages, who is cut off, or who is the relay."""
    broker, server = world.broker, choose.choice(world.cluster)
    match choose.randrange(8):
        case 0:
            broker.loss = choose.choice([0.0, 0.1, 0.5, 1.0])
        case 1:
            broker.doubling = choose.choice([0.0, 0.3])
        case 2:
            broker.delay = choose.choice([0.0, 0.3])
        case 3:
            broker.forgetting = choose.choice([0.0, 0.5])
            if choose.random() < 0.5:
                broker.stream.clear()
        case 4:
            broker.is_down = not broker.is_down
        case 5:
            server.bus.is_cut = not server.bus.is_cut
        case 6:
            server.pool.is_down = not server.pool.is_down and choose.random() < 0.3
        case 7:
            candidate = choose.choice(world.cluster[:2])
            is_relay = not candidate.is_relay
            world.do(lambda: candidate.set_role(is_relay=is_relay))


def test_random_runs() -> None:
    """A run that fails can be repeated with the seed that it prints."""
    for seed in seeds():
        print(f"MODEL_SEED={seed} MODEL_RUNS=1")
        choose = random.Random(seed)
        steps = Steps(world := ClusterWorld(random.Random(seed)))
        try:
            for _ in range(choose.choice([30, 100, 200])):
                if choose.random() < 0.1:
                    disturb(world, choose)
                else:
                    for server in world.cluster:  # a server that starts needs the database
                        server.pool.is_down &= choose.random() < 0.9
                    one_step(steps, choose)
            world.finish()
        finally:
            world.close()


class EpochSink(RecordingSink):
    """Keeps what was published since the last gap, or since the start."""

    def publish(self, events: Sequence[Event], totals: Totals) -> None:
        assert not {event.event_id for event in self.events} & {event.event_id for event in events}, "published twice"
        super().publish(events, totals)

    def announce_gap(self) -> None:
        super().announce_gap()
        self.events.clear()


def watch(world: ClusterWorld) -> list[EpochSink]:
    """Put a sink in place of each server's hub."""
    sinks = []
    for server in world.cluster:
        sinks.append(sink := EpochSink())
        server.relay._sink = sink
        sink.set_totals(server.relay.totals)
    return sinks


def test_other_histories() -> None:
    """The database is put back to an older state with the same epoch, which only those notice who have delivered later events.

    Afterwards every server must have the totals of the journal as it is, and must not have ignored any later event.
    """
    for seed in seeds():
        print(f"MODEL_SEED={seed} MODEL_RUNS=1")
        choose = random.Random(seed)
        world = ClusterWorld(random.Random(seed))
        try:
            sinks = watch(world)
            steps = Steps(world)
            for _ in range(choose.choice([20, 60])):
                match choose.randrange(6):
                    case 0:
                        kept = choose.randint(0, len(world.database.journal))
                        world.do(partial(world.database.put_back, kept))
                    case 1:
                        disturb(world, choose)
                    case 2:
                        world.run(asyncio.sleep(choose.choice([0.01, 0.5, 3.0])))
                    case _:
                        steps.autocommit(choose.randint(1, 3), choose.choice([1, 1, 9]))
                        world.run_ticks(choose.randint(0, 8))
            world.wait_for_connections()
            world.run(asyncio.sleep(5.0))
            steps.autocommit(1, 1)
            world.run(asyncio.sleep(10.0))
            expected = world.database.totals()
            newest = world.database.journal[-1].event_id
            for server, sink in zip(world.cluster, sinks, strict=True):
                assert server.relay.epoch == world.database.epoch
                assert server.relay.totals == sink.totals == expected
                assert newest in [event.event_id for event in sink.events]
        finally:
            world.close()


@pytest.fixture
def world() -> Iterator[ClusterWorld]:
    """A relay and two edges that follow its facts; nothing is lost."""
    world = ClusterWorld(random.Random(1))
    world.run(asyncio.sleep(5.0))
    try:
        yield world
    finally:
        world.close()


@pytest.fixture
def steps(world: ClusterWorld) -> Steps:
    return Steps(world)


def edges_of(world: ClusterWorld) -> list[ClusterServer]:
    return [server for server in world.cluster if not server.is_relay]


def assert_all_is_published(world: ClusterWorld) -> None:
    for server in world.cluster:
        assert server.relay.caught_up
        assert server.relay.totals == world.database.totals()
        newest = server.relay.watermark.newest_event
        assert (0 if newest is None else newest.txid) == world.database.newest()


def test_edges_do_not_read_the_database_while_facts_arrive(world: ClusterWorld, steps: Steps) -> None:
    for edge in edges_of(world):
        edge.pool.is_down = True
    for number in range(20):  # also of many pages
        steps.autocommit(number % 3 + 1, 1 + number)
        world.run(asyncio.sleep(0.4))
        assert_all_is_published(world)


def test_a_gap_is_closed_from_the_stream(world: ClusterWorld, steps: Steps) -> None:
    before = [edge.pool.pages for edge in edges_of(world)]
    world.broker.loss = 1.0
    steps.autocommit(1, 2)
    world.run(asyncio.sleep(0.1))
    world.broker.loss = 0.0
    world.run(asyncio.sleep(0.7))
    assert_all_is_published(world)
    assert [edge.pool.pages for edge in edges_of(world)] == before
    assert [edge.gaps("stream") for edge in edges_of(world)] == [1, 1]


def test_a_gap_that_the_stream_cannot_close_is_closed_from_the_journal(world: ClusterWorld, steps: Steps) -> None:
    before = [edge.gaps("postgres") for edge in edges_of(world)]
    world.broker.loss = world.broker.forgetting = 1.0
    steps.autocommit(1, 2)
    world.run(asyncio.sleep(0.1))
    world.broker.loss = world.broker.forgetting = 0.0
    world.run(asyncio.sleep(0.7))
    assert_all_is_published(world)
    assert [edge.gaps("postgres") for edge in edges_of(world)] == [count + 1 for count in before]
    assert [edge.gaps("stream") for edge in edges_of(world)] == [0, 0]


def test_without_a_broker_edges_read_the_journal(world: ClusterWorld, steps: Steps) -> None:
    world.broker.is_down = True
    world.broker.loss = 1.0
    world.run(asyncio.sleep(2.0))
    for _ in range(10):
        steps.autocommit(1, 1)
        world.run(asyncio.sleep(0.2))
        assert_all_is_published(world)


def test_edges_wait_for_a_relay_that_is_replaced_and_lose_nothing(world: ClusterWorld, steps: Steps) -> None:
    first, second, third = world.cluster
    steps.autocommit(1, 3)
    world.do(partial(first.set_role, is_relay=False))
    steps.autocommit(2, 3)
    world.run(asyncio.sleep(0.5))
    world.do(partial(second.set_role, is_relay=True))
    steps.autocommit(3, 3)
    world.run(asyncio.sleep(2.0))
    assert_all_is_published(world)
    # It has taken over from its own position, so there is no gap at the others.
    pages = first.pool.pages, third.pool.pages
    steps.autocommit(1, 3)
    world.run(asyncio.sleep(0.4))
    assert_all_is_published(world)
    assert (first.pool.pages, third.pool.pages) == pages


def test_facts_of_an_older_term_are_believed_when_the_newer_one_is_silent(world: ClusterWorld, steps: Steps) -> None:
    second = world.cluster[1]
    world.do(partial(second.set_role, is_relay=True))  # now there are two
    world.run(asyncio.sleep(1.0))
    third = world.cluster[2]
    used = third.metrics.registry.get_sample_value("orderwire_facts_used_total")
    world.do(partial(second.set_role, is_relay=False))
    world.run(asyncio.sleep(5.0))
    before = third.pool.pages
    steps.autocommit(1, 1)
    world.run(asyncio.sleep(0.4))
    assert_all_is_published(world)
    assert third.pool.pages == before
    assert third.metrics.registry.get_sample_value("orderwire_facts_used_total") != used


def test_a_relay_that_begins_anew_tells_nothing_of_what_it_skipped(world: ClusterWorld, steps: Steps) -> None:
    """Partitions are dropped that the relay has not read, as far as it knows, since a transaction has been open for long."""
    database, sinks = world.database, watch(world)
    database.write(database.begin(repeatable_read=False), 1)
    steps.autocommit(2, 1)
    world.run(asyncio.sleep(2.0))
    skipped = database.begin(repeatable_read=False)
    database.write(skipped, 3)
    database.commit(skipped, notify=False)
    database.trimmed_txid = database.newest()
    database.identity_version += 1
    world.run(asyncio.sleep(2.0))
    steps.autocommit(2, 1)
    world.run(asyncio.sleep(2.0))
    assert_all_is_published(world)
    assert [sink.gaps for sink in sinks] == [1, 1, 1]


def test_a_correction_of_the_totals_reaches_the_edges_without_an_event(world: ClusterWorld) -> None:
    relay = world.cluster[0].relay
    world.do(partial(relay.correct_totals, Totals(2)))
    world.run(asyncio.sleep(2.0))
    assert {server.relay.totals for server in world.cluster} == {world.database.totals() + Totals(2)}


@pytest.mark.parametrize("has_relay", [True, False])
def test_a_fresh_read_finds_what_was_committed_before(world: ClusterWorld, steps: Steps, *, has_relay: bool) -> None:
    if not has_relay:
        world.cluster[0].bus.is_cut = True
        world.run(asyncio.sleep(2.0))
    edge = edges_of(world)[0]
    for _ in range(5):
        transaction = world.database.begin(repeatable_read=False)
        world.database.write(transaction, 1)
        world.do(partial(world.database.commit, transaction, notify=False))
        before, pages = world.loop.time(), edge.pool.pages
        world.run(edge.relay.read_barrier.wait_for_fresh_read())
        assert world.loop.time() - before < 0.2
        assert edge.relay.totals == world.database.totals()
        assert (edge.pool.pages == pages) is has_relay


def test_state_reaches_edges_also_those_that_start_later(world: ClusterWorld) -> None:
    relay = world.cluster[0]
    relay.publisher.set_state("first")
    world.run(asyncio.sleep(0.5))
    relay.publisher.set_state("second")
    world.run(asyncio.sleep(0.5))
    world.restart(2)
    world.run(asyncio.sleep(0.5))
    assert [edge.states[-1] for edge in edges_of(world)] == ["second", "second"]
    assert relay.states == []


def test_an_edge_starts_with_what_the_stream_has(world: ClusterWorld, steps: Steps) -> None:
    for number in range(1, 4):
        steps.autocommit(number, 2)
        world.run(asyncio.sleep(0.01))
    world.restart(2)
    edge = world.cluster[2]
    assert_all_is_published(world)
    assert edge.pool.pages <= 1  # for what is newer than the stream
    assert len(edge.relay.recent_events) >= 4
    told = {event.id for event in edge.relay.recent_events.latest_ids(4)}
    assert told.isdisjoint(edge.hub.published)  # else its metrics count them once more


def test_facts_of_a_newer_version_are_not_used(
    world: ClusterWorld, steps: Steps, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    deliver = world.broker.deliver
    monkeypatch.setattr(world.broker, "deliver", lambda message: deliver(message[:3] + bytes([99]) + message[4:]))
    world.run(asyncio.sleep(2.0))
    steps.autocommit(1, 1)
    world.run(asyncio.sleep(0.4))
    assert_all_is_published(world)
    assert len([record for record in caplog.records if "upgrade this server" in record.getMessage()]) == 3  # each process once
