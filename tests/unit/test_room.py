"""How long what comes next waits, by a clock of the test's own."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pytest

from push.delivery.backpressure import MAX_STALL_SECONDS, MIN_WAIT_SECONDS, STALL_SECONDS, wait_while_congested
from push.delivery.hub import Hub
from push.delivery.send_queue import SendQueue
from push.delivery.session import Session
from push.journal.totals import Totals
from push.protocol.access import ANONYMOUS_GRANT
from tests.unit.carried import Carried
from tests.unit.test_positions import an_event

BOUND = 200
Wait = Callable[..., float]


class Reader:
    """A client that has more than half of its bound waiting: it takes a batch at a time, when it is told to."""

    def __init__(self, hub: Hub) -> None:
        self.session = Session(SendQueue(10, 1000), Carried())
        hub.add(self.session)
        self.session.apply_grant(ANONYMOUS_GRANT, ANONYMOUS_GRANT.default_topics())
        hub.go_live(self.session)

    def read(self, batches: int) -> None:
        for _ in range(batches):
            self.session.take(1)

    @property
    def is_congested(self) -> bool:
        return self.session.is_congested


@pytest.fixture
def readers() -> list[Reader]:
    hub = Hub(max_messages=BOUND)
    readers = [Reader(hub) for _ in range(4)]
    hub._schedule_pass = lambda: None  # type: ignore[method-assign]
    hub._announce_totals = lambda: None  # type: ignore[method-assign]
    for _ in range(BOUND):
        hub.publish([an_event()], Totals())
    assert all(reader.is_congested for reader in readers)
    return readers


class Clock:
    """Goes on when somebody sleeps, by milliseconds, and calls ``happens`` with each."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, happens: Callable[[int], None]) -> None:
        self._ms = 0
        self._happens = happens
        loop = SimpleNamespace(time=lambda: self.now)
        monkeypatch.setattr(
            "push.delivery.backpressure.asyncio", SimpleNamespace(get_running_loop=lambda: loop, sleep=self._sleep)
        )

    @property
    def now(self) -> float:
        return self._ms / 1000

    async def _sleep(self, seconds: float) -> None:
        assert seconds == 0.001
        self._ms += 1
        self._happens(self._ms)


async def waited(readers: list[Reader], clock: Clock, published_bytes: int = 0) -> float:
    await wait_while_congested([reader.session for reader in readers], len(readers), published_bytes)
    return clock.now


async def test_most_of_them_are_waited_for_as_long_as_they_get_on_however_slowly(
    readers: list[Reader], monkeypatch: pytest.MonkeyPatch
) -> None:
    def happens(ms: int) -> None:
        if ms % 900 == 0:
            for reader in readers[:3]:
                reader.read(20)

    assert 4.4 < await waited(readers, Clock(monkeypatch, happens)) < 4.6
    assert [reader.is_congested for reader in readers] == [False, False, False, True]


@pytest.mark.parametrize(("published_bytes", "seconds"), [(0, STALL_SECONDS), (10**9, MAX_STALL_SECONDS)])
async def test_most_of_them_are_not_waited_for_when_they_are_stuck(
    readers: list[Reader], monkeypatch: pytest.MonkeyPatch, published_bytes: int, seconds: float
) -> None:
    readers[0].read(BOUND)
    clock = Clock(monkeypatch, lambda ms: None)
    assert seconds <= await waited(readers, clock, published_bytes) <= seconds + 0.01


async def test_the_slower_half_has_twice_as_long_as_the_faster_one_needed(
    readers: list[Reader], monkeypatch: pytest.MonkeyPatch
) -> None:
    def happens(ms: int) -> None:
        if ms == 500:
            for reader in readers[:2]:
                reader.read(BOUND)
        if ms % 15 == 0:
            for reader in readers[2:]:
                reader.read(1)

    assert 1.0 <= await waited(readers, Clock(monkeypatch, happens)) <= 1.01
    assert [reader.is_congested for reader in readers] == [False, False, True, True]


async def test_the_slower_half_has_as_long_as_it_needs_on_a_slow_machine(
    readers: list[Reader], monkeypatch: pytest.MonkeyPatch
) -> None:
    for reader in readers[:2]:  # the kernel took it at once
        reader.read(BOUND)

    def happens(ms: int) -> None:
        if ms % 10 == 0:
            for reader in readers[2:]:
                reader.read(1)

    assert 0.9 < await waited(readers, Clock(monkeypatch, happens), 25_000_000) < 1.1
    assert not any(reader.is_congested for reader in readers)


async def test_the_few_that_are_stuck_are_not_waited_for(readers: list[Reader], monkeypatch: pytest.MonkeyPatch) -> None:
    for reader in readers[:2]:
        reader.read(BOUND)

    def happens(ms: int) -> None:
        readers[2].read(1)  # it gets on until 0.1

    slow = 3_000_000 / 25e6
    took = await waited(readers, Clock(monkeypatch, happens), 3_000_000)
    assert [reader.is_congested for reader in readers] == [False, False, False, True]
    assert 0.1 <= took <= 0.1 + slow + 0.01


async def test_one_that_is_stuck_costs_the_others_nothing_to_speak_of(
    readers: list[Reader], monkeypatch: pytest.MonkeyPatch
) -> None:
    for reader in readers[:3]:
        reader.read(BOUND)
    assert await waited(readers, Clock(monkeypatch, lambda ms: None), 350_000) <= MIN_WAIT_SECONDS + 0.01
