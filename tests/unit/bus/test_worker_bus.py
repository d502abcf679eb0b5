"""The bus of workers, without processes: the exchange and its workers call each other at once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import bus.worker_bus
from bus.worker_bus import FactExchange, WorkerBus
from push.errors import BusUnavailable


class Wiring:
    """An exchange and its workers. ``deaf`` workers drop what is sent to them."""

    def __init__(self) -> None:
        self.exchange = FactExchange()
        self.buses: dict[int, WorkerBus] = {}
        self.received: dict[int, list[bytes]] = {}
        self.deaf: set[int] = set()

    def add(self, worker_id: int) -> WorkerBus:
        def to_worker(kind: str, content: Any = None, data: bytes = b"") -> bool:
            if worker_id in self.deaf:
                return False
            return found.handle(kind, content, data)

        def to_supervisor(kind: str, content: Any = None, data: bytes = b"") -> bool:
            return self.exchange.handle(worker_id, to_worker, kind, content, data)

        found = self.buses[worker_id] = WorkerBus(to_supervisor)
        self.received[worker_id] = []
        found.subscribe(self.received[worker_id].append)
        to_supervisor("hello")
        return found

    @property
    def relays(self) -> list[int]:
        return [worker_id for worker_id, found in self.buses.items() if found.is_relay]

    def remove(self, worker_id: int) -> None:
        del self.buses[worker_id]
        self.exchange.remove(worker_id)


@pytest.fixture
async def wiring() -> Wiring:
    found = Wiring()
    for worker_id in (1, 2, 3):
        found.add(worker_id)
    return found


async def test_facts_reach_the_other_workers_and_are_kept(wiring: Wiring) -> None:
    for number in range(3):
        await wiring.buses[1].publish(b"%d" % number)
    assert wiring.received == {1: [], 2: [b"0", b"1", b"2"], 3: [b"0", b"1", b"2"]}
    late = wiring.add(4)
    assert await late.stored(2) == [b"1", b"2"]
    assert await late.stored(10) == [b"0", b"1", b"2"]


async def test_only_the_newest_facts_are_kept(wiring: Wiring, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bus.worker_bus, "MAX_FACTS", 2)
    for message in (b"a", b"b", b"c"):
        await wiring.buses[1].publish(message)
    assert await wiring.buses[2].stored(10) == [b"b", b"c"]
    monkeypatch.setattr(bus.worker_bus, "MAX_BYTES", 3)
    await wiring.buses[1].publish(b"ddd")
    assert await wiring.buses[2].stored(10) == [b"ddd"]


async def test_the_first_worker_is_the_relay_and_another_one_when_it_ends(wiring: Wiring) -> None:
    roles: list[bool] = []
    wiring.buses[2].on_role = roles.append
    assert wiring.relays == [1]
    wiring.remove(3)
    assert wiring.relays == [1]
    wiring.remove(1)
    assert wiring.relays == [2]
    assert roles == [True]
    wiring.remove(2)
    wiring.add(3)
    assert wiring.relays == [3]


async def test_a_relay_that_hangs_is_replaced(wiring: Wiring, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bus.worker_bus, "BEAT_INTERVAL", 0.01)
    beating = asyncio.create_task(wiring.buses[1].run())
    await asyncio.sleep(0.05)
    wiring.exchange.replace_silent_relay()
    assert wiring.relays == [1]
    beating.cancel()
    await asyncio.wait([beating])
    monkeypatch.setattr(bus.worker_bus, "RELAY_TIMEOUT", -1.0)
    wiring.exchange.replace_silent_relay()
    assert wiring.relays == [2]
    wiring.remove(1)
    wiring.remove(3)
    wiring.exchange.replace_silent_relay()
    assert wiring.relays == [2], "there is no other"


async def test_a_relay_that_was_replaced_unawares_is_told_when_it_says_that_it_lives(
    wiring: Wiring, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bus.worker_bus, "RELAY_TIMEOUT", -1.0)
    wiring.deaf = {1}
    wiring.exchange.replace_silent_relay()
    wiring.deaf = set()
    assert wiring.relays == [1, 2]
    monkeypatch.setattr(bus.worker_bus, "BEAT_INTERVAL", 0.01)
    beating = [asyncio.create_task(found.run()) for found in wiring.buses.values()]
    await asyncio.sleep(0.05)
    assert wiring.relays == [2]
    for task in beating:
        task.cancel()
    await asyncio.wait(beating)


async def test_the_relay_reads_for_another_worker(wiring: Wiring) -> None:
    reads = 0

    async def read() -> bytes:
        nonlocal reads
        reads += 1
        await asyncio.sleep(0)
        return b"answer"

    for found in wiring.buses.values():
        found.serve_reads(read)
    answers = await asyncio.gather(wiring.buses[2].request_read(), wiring.buses[3].request_read())
    assert set(answers) == {b"answer"}
    assert reads == 2


async def test_without_an_answer_the_bus_says_so(wiring: Wiring, monkeypatch: pytest.MonkeyPatch) -> None:
    async def read() -> bytes:
        raise BusUnavailable("not now")

    wiring.buses[1].serve_reads(read)
    with pytest.raises(BusUnavailable):
        await wiring.buses[2].request_read()
    wiring.deaf = {1}
    with pytest.raises(BusUnavailable):
        await wiring.buses[2].request_read()
    monkeypatch.setattr(bus.worker_bus, "REQUEST_TIMEOUT", 0.01)
    wiring.deaf = {2}
    with pytest.raises(BusUnavailable):
        await wiring.buses[2].stored(1)
