"""The stream that all follow: each client can inflate all that it gets, and that is what it is to get."""

from __future__ import annotations

import asyncio
import json
import random
import zlib
from collections.abc import Iterator
from typing import Any

import pytest

from gateway.fanout import Fanout
from gateway.stream import Segment
from push.access import ANALYTICS, ANYBODY, ORDERS
from push.batch import CHUNK_BYTES, Batch
from push.frames import Close
from push.hub import Hub
from push.metrics import Metrics
from push.sendqueue import SendQueue
from push.session import Session
from push.totals import Totals
from tests.fuzz.octets import COMPRESSED, FINAL, PING, TEXT
from tests.unit.test_positions import an_event

BOTH = frozenset({ORDERS, ANALYTICS})


class Browser:
    """The other end: what it has read. One window for the whole connection."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(-15)
        self.frames: list[Any] = []
        self.compressed = 0
        self.bytes = 0

    def read(self, data: bytes) -> None:
        self.bytes += len(data)
        for head, payload in self._split(data):
            if head == FINAL | PING:
                continue
            if head == FINAL | COMPRESSED | TEXT:
                payload = self._inflate.decompress(payload + b"\x00\x00\xff\xff")
                self.compressed += 1
            else:
                assert head == FINAL | TEXT
            self.frames.append(json.loads(payload))

    @staticmethod
    def _split(data: bytes) -> Iterator[tuple[int, bytes]]:
        while data:
            size, start = data[1], 2
            if size > 125:
                start = 4 if size == 126 else 10
                size = int.from_bytes(data[2:start], "big")
            yield data[0], data[start : start + size]
            data = data[start + size :]


class Line:
    """A client of the fan-out, as gateway.websocket has it, whose transport can be full."""

    def __init__(self, hub: Hub, fanout: Fanout, *, compression: bool = True) -> None:
        self.at: Segment | None = None
        self.browser = Browser()
        self.full = False
        self._fanout = fanout
        self._compression = compression
        self._due = False
        self.session = Session(SendQueue(1000, 10**6), self._on_output, on_round=self.flush)
        hub.enter(self.session)
        self.session.admit(ANYBODY, BOTH)
        self.session.open(hub.totals_batch)
        hub.go_live(self.session)

    def _on_output(self) -> None:
        if not self._due:
            self._due = True
            self._fanout.due(self)

    def flush(self) -> None:
        self._due = False
        session = self.session
        while not self.full and (batches := session.take(CHUNK_BYTES)):
            follower = self if self._compression and session.gets_all else None
            if follower is None and self.at is not None:
                self._fanout.leave(self)
            frames, size = self._fanout.encoded(batches, follower)
            self.browser.read(frames)
            if size < CHUNK_BYTES:
                break

    def cut(self) -> None:
        raise AssertionError("a fault of our own")

    @property
    def events(self) -> list[int]:
        return [frame["n"] for frame in self.browser.frames if frame["type"] == "event"]

    @property
    def told(self) -> list[int]:
        """The totals that came, and the number of the event before each."""
        return [frame["total_orders"] for frame in self.browser.frames if frame["type"] == "analytics_update"]


class House:
    """The hub and its fan-out."""

    def __init__(self, max_frames: int = 100) -> None:
        self.hub = Hub(max_frames=max_frames)
        self.fanout = Fanout(Metrics())
        self.published = 0

    def line(self, *, compression: bool = True) -> Line:
        return Line(self.hub, self.fanout, compression=compression)

    def publish(self, count: int = 1, size: int = 150) -> None:
        events = []
        for _ in range(count):
            self.published += 1
            text = json.dumps({"type": "event", "n": self.published, "text": f"x{self.published % 7} " * (size // 4)})
            events.append(an_event(frame=text.encode()))
        self.hub.publish(events, Totals(self.published))

    async def turns(self, count: int = 4) -> None:
        for _ in range(count):
            await asyncio.sleep(0)


@pytest.fixture
def quick_totals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("push.hub.TOTALS_SECONDS", 0.0)


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
    lines[1].session.totals_changed()
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
    part.session.follow(frozenset({ORDERS}))
    house.hub.topics_changed(part.session)
    house.publish(3)
    await house.turns()
    assert (part.events, part.told) == ([1, 2, 3, 4], [0, 1])
    assert part.browser.compressed == 2
    assert part.at is None
    assert whole.browser.compressed == 2 + 4


async def test_who_was_away_for_a_while_waits_for_a_point_to_join(quick_totals: None) -> None:
    house = House()
    lines = [house.line() for _ in range(9)]
    house.publish()
    await house.turns()
    away = lines[4]
    away.session.follow(frozenset({ANALYTICS}))
    house.hub.topics_changed(away.session)
    house.publish()
    # It is back before anybody has been told of the second event: the chain goes on with that one.
    away.session.follow(BOTH)
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
    slow.full = True
    for _ in range(10):
        house.publish()
        await house.turns()
    slow.full = False
    slow.flush()
    assert slow.events == quick.events == list(range(1, 13))
    assert slow.told == quick.told  # the older ones too: what comes after them refers to them
    assert len(slow.browser.frames) - slow.browser.compressed == len(quick.browser.frames) - quick.browser.compressed


async def test_a_newcomer_does_not_begin_anew_while_others_lag(quick_totals: None) -> None:
    house = House()
    slow = house.line()
    house.publish()
    await house.turns()
    slow.full = True
    house.publish()
    await house.turns()
    new = house.line()
    for _ in range(10):
        house.publish()
        await house.turns()
    assert new.browser.compressed == 0
    slow.full = False
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
    leaving.full = True
    house.publish()
    await house.turns()
    leaving.full = False
    leaving.session.end(Close.DRAIN)
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
    away.session.follow(frozenset({ANALYTICS}))
    house.hub.topics_changed(away.session)
    house.publish()
    away.session.follow(BOTH)
    house.hub.topics_changed(away.session)
    await house.turns()
    assert staying.events == [1, 2]
    before = away.browser.compressed
    away.session.totals_changed()
    await house.turns()
    assert (away.events, away.told) == ([1], [0, 1, 2])
    assert away.browser.compressed == before


async def test_nobody_holds_what_all_have_got(quick_totals: None) -> None:
    house = House()
    lines = [house.line() for _ in range(3)]
    house.publish()
    await house.turns()
    start = lines[0].at
    assert start is not None
    lines[2].session.follow(frozenset({ORDERS}))
    house.hub.topics_changed(lines[2].session)
    for _ in range(10):
        house.publish()
        await house.turns()
    held = []
    for line in lines:
        segment = line.at
        while segment is not None:
            held.append(segment)
            segment = segment.next
    assert len(held) == 2


@pytest.mark.parametrize("seed", [*range(12), None])
async def test_random_clients_can_read_all_and_miss_nothing(seed: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    seed = random.randrange(2**32) if seed is None else seed
    print(f"seed {seed}")
    choose = random.Random(seed)
    monkeypatch.setattr("gateway.stream.JOINING_COSTS", choose.choice([0, 50, 400]))
    monkeypatch.setattr("gateway.stream.JOINING_PAUSE", choose.choice([2000, 20_000, 10**9]))
    monkeypatch.setattr("push.hub.TOTALS_SECONDS", choose.choice([0.0, 0.001]))
    house = House(choose.choice([40, 400]))
    lines = [house.line(compression=choose.random() < 0.8) for _ in range(4)]
    # Of each: the numbers of the events that it has to get, and the pongs; whether its topics ever changed.
    wanted: dict[Line, list[int]] = {line: [] for line in lines}
    pongs: dict[Line, int] = dict.fromkeys(lines, 0)
    straight = set(lines)
    gone: list[Line] = []

    def publish(count: int) -> None:
        for line in lines:
            if ORDERS in line.session.topics:
                wanted[line] += range(house.published + 1, house.published + count + 1)
        house.publish(count, choose.choice([20, 200, 2000]))

    for _ in range(1500):
        if not lines:
            break
        line = choose.choice(lines)
        match choose.randrange(12):
            case 0 | 1 | 2:
                publish(choose.choice([1, 1, 1, 2, 5, 30]))
            case 3:
                line.full = choose.random() < 0.5
                if not line.full:
                    line.flush()
            case 4 if len(lines) < 12:
                lines.append(house.line(compression=choose.random() < 0.8))
                wanted[lines[-1]], pongs[lines[-1]] = [], 0
                straight.add(lines[-1])
            case 5 if choose.random() < 0.3:
                straight.discard(line)
                line.session.follow(choose.choice([BOTH, BOTH, frozenset({ORDERS}), frozenset({ANALYTICS}), frozenset()]))
                house.hub.topics_changed(line.session)
            case 6:
                pongs[line] += 1
                line.session.send(Batch([b'{"type":"pong","n":%d}' % pongs[line]]))
            case 7 if choose.random() < 0.1:
                line.session.totals_changed()
            case 8 if choose.random() < 0.05:
                line.session.end(Close.DRAIN)
                line.full = False
                line.flush()
            case _:
                await house.turns(choose.choice([1, 2, 4]))
        assert house.fanout._stream._missed >= 0
        for line in [line for line in lines if line.session.close is not None]:
            lines.remove(line)
            gone.append(line)
            house.hub.leave(line.session)
            house.fanout.leave(line)
    for line in lines:
        line.full = False
        line.flush()
    for _ in range(3):
        publish(1)
        await asyncio.sleep(0.01)

    for line in lines + gone:
        if line.session.close is Close.SLOW_CONSUMER:
            assert line.events == wanted[line][: len(line.events)]
        else:
            assert line.events == wanted[line]
            assert [f["n"] for f in line.browser.frames if f["type"] == "pong"] == list(range(1, pongs[line] + 1))
        if line in straight and line.browser.frames:
            # The totals are as of the last event, whatever they were told with.
            last = line.browser.frames[0]["total_orders"]
            for frame in line.browser.frames:
                if frame["type"] == "event":
                    last = frame["n"]
                elif frame["type"] == "analytics_update":
                    assert frame["total_orders"] == last
    for line in lines:
        if line.session.gets_all and line.session.close is None:
            assert line.told[-1] == house.published
    assert sum(line.browser.compressed for line in lines + gone) > 100
