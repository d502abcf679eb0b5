"""How often a change of the totals is announced."""

from __future__ import annotations

import asyncio

from push.delivery.totals_throttle import TOTALS_INTERVAL, TotalsThrottle


async def test_first_change_is_announced_at_once_and_later_ones_together_after_the_interval() -> None:
    loop = asyncio.get_running_loop()
    times: list[float] = []
    announced = asyncio.Event()

    def announce() -> None:
        times.append(loop.time())
        announced.set()

    throttle = TotalsThrottle(announce)
    throttle.changed()
    assert len(times) == 1
    announced.clear()
    for _ in range(3):
        throttle.changed()
    assert len(times) == 1
    async with asyncio.timeout(30):
        await announced.wait()
    assert times[1] - times[0] >= TOTALS_INTERVAL * 0.9
    await asyncio.sleep(TOTALS_INTERVAL * 1.5)
    assert len(times) == 2
    throttle.changed()
    assert len(times) == 3
    assert not throttle.stop()


async def test_stop_cancels_the_timer_and_reports_an_unannounced_change() -> None:
    times: list[float] = []
    throttle = TotalsThrottle(lambda: times.append(0.0))
    assert not throttle.stop()
    throttle.changed()
    throttle.changed()
    assert throttle.stop()
    await asyncio.sleep(TOTALS_INTERVAL * 1.5)
    assert len(times) == 1
