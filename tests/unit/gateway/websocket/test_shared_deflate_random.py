"""Random clients of the stream that all follow: who comes, lags, goes away for a while, and is ended."""

from __future__ import annotations

import asyncio
import random

import pytest

from push.delivery.batch import Batch
from push.protocol.access import ANALYTICS_TOPIC, ORDERS_TOPIC
from push.protocol.messages import CloseCode
from tests.helpers.inflating_client import BOTH, House, Line


@pytest.mark.parametrize("seed", [*range(12), None])
async def test_random_clients_can_read_all_and_miss_nothing(seed: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    seed = random.randrange(2**32) if seed is None else seed
    print(f"seed {seed}")
    choose = random.Random(seed)
    monkeypatch.setattr("gateway.websocket.shared_deflate.JOIN_COST_BYTES", choose.choice([0, 50, 400]))
    monkeypatch.setattr("gateway.websocket.shared_deflate.JOIN_INTERVAL_BYTES", choose.choice([2000, 20_000, 10**9]))
    monkeypatch.setattr("gateway.websocket.shared_deflate.MAX_LAG_BYTES", choose.choice([5000, 10**7]))
    monkeypatch.setattr("push.delivery.totals_throttle.TOTALS_INTERVAL", choose.choice([0.0, 0.001]))
    monkeypatch.setattr("push.delivery.cohort.MAX_MEMBERS", choose.choice([1, 3, 1000]))
    house = House(choose.choice([40, 400]))
    lines = [house.line(compression=choose.random() < 0.8) for _ in range(4)]
    # Of each: the numbers of the events that it has to get, and the pongs; whether its topics ever changed.
    wanted: dict[Line, list[int]] = {line: [] for line in lines}
    pongs: dict[Line, int] = dict.fromkeys(lines, 0)
    straight = set(lines)
    gone: list[Line] = []

    def publish(count: int) -> None:
        for line in lines:
            if ORDERS_TOPIC in line.session.topics:
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
                choose.choice([line.pause_writing, line.resume_writing])()
            case 4 if len(lines) < 12:
                lines.append(house.line(compression=choose.random() < 0.8, conflate=choose.choice([None, None, 10])))
                wanted[lines[-1]], pongs[lines[-1]] = [], 0
                straight.add(lines[-1])
            case 5 if choose.random() < 0.3:
                straight.discard(line)
                line.session.set_topics(
                    choose.choice([BOTH, BOTH, frozenset({ORDERS_TOPIC}), frozenset({ANALYTICS_TOPIC}), frozenset()])
                )
                house.hub.topics_changed(line.session)
            case 6:
                pongs[line] += 1
                line.session.send(Batch([b'{"type":"pong","n":%d}' % pongs[line]]))
            case 7 if choose.random() < 0.1:
                line.session.schedule_totals()
            case 8 if choose.random() < 0.05:
                line.session.close(CloseCode.DRAIN)
                line.resume_writing()
                line.flush()
            case _:
                await house.turns(choose.choice([1, 2, 4]))
        assert house.fanout._shared_deflate._uncompressed_bytes >= 0
        assert house.fanout._shared_deflate._follower_count == sum(line.stands_at is not None for line in lines)
        for line in [line for line in lines if line.session.close_code is not None]:
            lines.remove(line)
            gone.append(line)
            house.hub.remove(line.session)
            house.fanout.remove_follower(line)
    for line in lines:
        line.resume_writing()
        line.flush()
    for _ in range(3):
        publish(1)
        await asyncio.sleep(0.01)

    for line in lines + gone:
        # The totals are as of the last event, whatever they were told with.
        last = line.browser.frames[0].get("total_orders") if line.browser.frames and line in straight else None
        due = iter(wanted[line])
        for frame in line.browser.frames:
            if frame["type"] == "event":
                assert frame["n"] == next(due)
                last = last if last is None else frame["n"]
            elif frame["type"] == "bulk":
                assert line.conflates
                *_, missed = (next(due) for _ in range(frame["events"]))
                last = last if last is None else missed
            elif frame["type"] == "analytics_update" and last is not None:
                assert frame["total_orders"] == last
        if line.session.close_code is not CloseCode.SLOW_CONSUMER:
            assert next(due, None) is None
            assert [f["n"] for f in line.browser.frames if f["type"] == "pong"] == list(range(1, pongs[line] + 1))
    for line in lines:
        if line.session.subscription.sees_everything and line.session.close_code is None:
            assert line.told[-1] == house.published
    assert sum(line.browser.compressed for line in lines + gone) > 100
