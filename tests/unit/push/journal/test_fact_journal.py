"""What a fact connection wakes its relay for. All else is in tests/model/test_facts_model.py."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from push.errors import ConnectionLost
from push.journal.events import Position
from push.journal.fact_journal import GATHER_INTERVAL, SILENCE, FactJournalConnection
from push.journal.facts import encode
from tests.helpers.builders import make_event
from tests.helpers.facts import make_fact, up_to
from tests.model.broker import ModelBroker, ModelBus
from tests.model.cluster import ModelPool
from tests.model.database import ModelDatabase
from tests.model.world import VirtualLoop

Run = Callable[[Coroutine[Any, Any, Any]], Any]


@pytest.fixture
def loop() -> Iterator[VirtualLoop]:
    loop = VirtualLoop()
    yield loop
    loop.close()


async def open_connection(*, awaited: str) -> FactJournalConnection:
    """A connection that has heard of a fact, on behalf of clients that await the orders of one customer."""
    database = ModelDatabase()
    connection = FactJournalConnection(
        ModelBus(ModelBroker(None)),  # type: ignore[arg-type]  # nothing is sent
        ModelPool(database),
        node="here",
        is_awaited=lambda events: any(event.customer_id == awaited for event in events),
    )
    connection.receive(encode(make_fact(identity=database.identity(), after=up_to(4), upto=up_to(4), seq=1)))
    await connection.identity(None, ())
    await connection.page(Position(up_to(4)), None, 0, 100, 1000)
    return connection


def message(number: int, customer_id: str) -> bytes:
    event = make_event(number, number, customer_id=customer_id)
    return encode(
        make_fact(event, identity=ModelDatabase().identity(), after=up_to(number - 1), upto=up_to(number), seq=number)
    )


def test_awaited_facts_end_the_wait_and_others_gather(loop: VirtualLoop) -> None:
    async def seconds_waited(connection: FactJournalConnection, *messages: bytes) -> float:
        for found in messages:
            loop.call_later(0.01, connection.receive, found)
        before = loop.time()
        await connection.wait_for_notify(10.0)
        return loop.time() - before

    async def run() -> None:
        connection = await open_connection(awaited="anna")
        assert await seconds_waited(connection, message(5, "anna")) == pytest.approx(0.01)
        await connection.page(Position(up_to(4)), None, 0, 100, 1000)
        waited = await seconds_waited(connection, message(6, "zoe"), message(7, "zoe"))
        assert waited == pytest.approx(0.01 + GATHER_INTERVAL)
        page = await connection.page(Position(up_to(5)), None, 0, 100, 1000)
        assert [event.id for event in page.events] == [6, 7]
        # An awaited one takes along what has gathered.
        assert await seconds_waited(connection, message(8, "zoe"), message(9, "anna")) == pytest.approx(0.01)
        page = await connection.page(Position(up_to(7)), None, 0, 100, 1000)
        assert [event.id for event in page.events] == [8, 9]

    loop.run_until_complete(run())


def test_silence_ends_the_wait(loop: VirtualLoop) -> None:
    async def run() -> None:
        connection = await open_connection(awaited="anna")
        before = loop.time()
        while loop.time() - before <= SILENCE:
            await connection.wait_for_notify(60.0)
        assert loop.time() - before == pytest.approx(SILENCE, abs=0.2)

    loop.run_until_complete(run())


def test_a_fresh_read_that_fails_is_still_due(loop: VirtualLoop) -> None:
    """Else the clients that wait for it would be served after a read that has asked no one."""

    async def run() -> None:
        connection = await open_connection(awaited="anna")
        pool = connection._reads
        assert isinstance(pool, ModelPool)
        connection.wake()
        pool.is_down = True
        with pytest.raises(ConnectionLost):
            await connection.page(Position(up_to(4)), None, 0, 100, 1000)
        pool.is_down = False
        pool.database.crashes += 1  # so the pool's connection is another one, and the page is not used
        for reads in (1, 2):
            await connection.page(Position(up_to(4)), None, 0, 100, 1000)
            assert pool.pages == 1 + reads
            await connection.identity(None, ())
        await connection.page(Position(up_to(4)), None, 0, 100, 1000)
        assert pool.pages == 3

    loop.run_until_complete(run())


def test_a_fresh_read_that_is_asked_for_within_another_read_is_not_waited_for(loop: VirtualLoop) -> None:
    async def run() -> None:
        connection = await open_connection(awaited="anna")
        connection.wake()
        loop.call_later(0.01, connection.receive, message(5, "anna"))
        await connection.page(Position(up_to(4)), up_to(5), 0, 100, 1000)
        before = loop.time()
        await connection.wait_for_notify(10.0)
        assert loop.time() == before

    loop.run_until_complete(run())
