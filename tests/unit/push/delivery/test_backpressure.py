"""How long publishing waits for congested sessions, by a clock of the test's own."""

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
from tests.helpers.builders import make_event
from tests.helpers.fake_transport import FakeTransport

MAX_MESSAGES = 200


class Reader:
    """A client that takes one batch at a time, when the test says so."""

    def __init__(self, hub: Hub) -> None:
        self.session = Session(SendQueue(10, 1000), FakeTransport())
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
    """Four clients, each with more than half of its bound waiting."""
    hub = Hub(max_messages=MAX_MESSAGES)
    readers = [Reader(hub) for _ in range(4)]
    hub._schedule_pass = lambda: None  # type: ignore[method-assign]
    for _ in range(MAX_MESSAGES):
        hub.publish([make_event()], Totals())
    assert all(reader.is_congested for reader in readers)
    return readers


class Clock:
    """Advances by a millisecond with each sleep of the code under test, and calls ``on_tick`` with the time in milliseconds."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, on_tick: Callable[[int], None]) -> None:
        self._ms = 0
        self._on_tick = on_tick
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
        self._on_tick(self._ms)


async def waited(readers: list[Reader], clock: Clock, published_bytes: int = 0) -> float:
    """Seconds on the clock until publishing may go on."""
    await wait_while_congested([reader.session for reader in readers], len(readers), published_bytes)
    return clock.now


async def test_the_majority_is_waited_for_while_it_makes_progress_however_slow(
    readers: list[Reader], monkeypatch: pytest.MonkeyPatch
) -> None:
    def on_tick(ms: int) -> None:
        if ms % 900 == 0:
            for reader in readers[:3]:
                reader.read(20)

    assert 4.4 < await waited(readers, Clock(monkeypatch, on_tick)) < 4.6
    assert [reader.is_congested for reader in readers] == [False, False, False, True]


@pytest.mark.parametrize(("published_bytes", "seconds"), [(0, STALL_SECONDS), (10**9, MAX_STALL_SECONDS)])
async def test_a_stalled_majority_is_given_up(
    readers: list[Reader], monkeypatch: pytest.MonkeyPatch, published_bytes: int, seconds: float
) -> None:
    readers[0].read(MAX_MESSAGES)
    clock = Clock(monkeypatch, lambda ms: None)
    assert seconds <= await waited(readers, clock, published_bytes) <= seconds + 0.01


async def test_the_slower_half_has_twice_the_time_that_the_faster_half_needed(
    readers: list[Reader], monkeypatch: pytest.MonkeyPatch
) -> None:
    def on_tick(ms: int) -> None:
        if ms == 500:
            for reader in readers[:2]:
                reader.read(MAX_MESSAGES)
        if ms % 15 == 0:
            for reader in readers[2:]:
                reader.read(1)

    assert 1.0 <= await waited(readers, Clock(monkeypatch, on_tick)) <= 1.01
    assert [reader.is_congested for reader in readers] == [False, False, True, True]


async def test_the_slower_half_has_the_time_that_a_slow_machine_needs_for_its_bytes(
    readers: list[Reader], monkeypatch: pytest.MonkeyPatch
) -> None:
    for reader in readers[:2]:  # the kernel took it at once
        reader.read(MAX_MESSAGES)

    def on_tick(ms: int) -> None:
        if ms % 10 == 0:
            for reader in readers[2:]:
                reader.read(1)

    assert 0.9 < await waited(readers, Clock(monkeypatch, on_tick), 25_000_000) < 1.1
    assert not any(reader.is_congested for reader in readers)


async def test_a_stalled_minority_is_not_waited_for(readers: list[Reader], monkeypatch: pytest.MonkeyPatch) -> None:
    for reader in readers[:2]:
        reader.read(MAX_MESSAGES)

    def on_tick(ms: int) -> None:
        readers[2].read(1)  # it is no longer congested after 0.1 s

    slow_seconds = 3_000_000 / 25e6
    took = await waited(readers, Clock(monkeypatch, on_tick), 3_000_000)
    assert [reader.is_congested for reader in readers] == [False, False, False, True]
    assert 0.1 <= took <= 0.1 + slow_seconds + 0.01


async def test_one_stalled_session_delays_the_others_by_the_minimum_wait(
    readers: list[Reader], monkeypatch: pytest.MonkeyPatch
) -> None:
    for reader in readers[:3]:
        reader.read(MAX_MESSAGES)
    assert await waited(readers, Clock(monkeypatch, lambda ms: None), 350_000) <= MIN_WAIT_SECONDS + 0.01
