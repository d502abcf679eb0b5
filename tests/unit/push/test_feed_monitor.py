"""When clients are told that events do not flow, and what."""

from __future__ import annotations

import asyncio

import pytest

from push.errors import StoreError
from push.feed_monitor import CATCHING_UP, NO_ANSWER, NOT_RECORDED, FeedMonitor
from push.journal.relay import Relay
from push.metrics import Metrics
from push.protocol.messages import FeedStatus, encode
from tests.helpers.following import RecordingSink, following
from tests.model.database import ModelConnection, ModelDatabase
from tests.support import TIMEOUT_SECONDS, within

NOW = 1000.0
LOST = StoreError.public_text


class Audience:
    def __init__(self) -> None:
        self.told: asyncio.Queue[FeedStatus] = asyncio.Queue()

    async def announce_feed_status(self, status: FeedStatus) -> None:
        self.told.put_nowait(status)


@pytest.mark.parametrize(
    ("live", "lost_for", "silent_for", "caught_up", "problem", "reason"),
    [
        (True, None, 1.1, True, None, None),
        # A connection that is replaced at once.
        (True, 0.05, 1.0, False, None, None),
        (True, 1.9, 2.9, False, None, None),
        (True, 2.0, 3.0, False, None, LOST),
        # It was announced: the next connection must be read to its end first.
        (False, 0.05, 1.0, False, None, LOST),
        (False, None, 0.1, False, None, CATCHING_UP),
        (False, None, 0.1, True, None, None),
        # A large change that takes long to publish: events flow.
        (True, None, 0.1, False, None, None),
        # Not known to be lost, and nothing is read.
        (True, None, 4.9, True, None, None),
        (True, None, 5.0, True, None, NO_ANSWER),
        (True, None, 1.0, True, "the trigger x of shop.orders is missing", NOT_RECORDED),
        (True, 3.0, 3.0, False, "the trigger x of shop.orders is missing", LOST),
    ],
)
def test_reasons(
    live: bool, lost_for: float | None, silent_for: float, caught_up: bool, problem: str | None, reason: str | None
) -> None:
    relay = Relay(RecordingSink())
    relay.lost_at = None if lost_for is None else NOW - lost_for
    relay.progressed_at = NOW - silent_for
    relay._not_ready_reason = None if caught_up else "catching up"
    relay.attachment_problem = problem
    monitor = FeedMonitor(relay, Audience())
    monitor._status = FeedStatus(live, 0.0, None if live else LOST)
    assert monitor._reason(NOW) == reason


async def test_each_change_is_announced_once_with_the_time_up_to_which_all_is_delivered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("push.feed_monitor.CHECK_INTERVAL", 0.001)
    monkeypatch.setattr("push.feed_monitor.RECONNECT_GRACE", 0.0)
    metrics, audience, database = Metrics(), Audience(), ModelDatabase()
    relay = Relay(RecordingSink(), metrics)
    running = asyncio.create_task(FeedMonitor(relay, audience, metrics).run())
    try:
        assert metrics.registry.get_sample_value("orderwire_feed_live") == 0, "no client is let in yet"
        async with following(relay, ModelConnection(database)):
            await within(TIMEOUT_SECONDS, relay.started.wait(), "events flow")
        told = await within(TIMEOUT_SECONDS, audience.told.get(), "the loss")
        assert (told.live, told.since, told.reason) == (False, relay.as_of, LOST)
        assert metrics.registry.get_sample_value("orderwire_feed_live") == 0
        async with following(relay, ModelConnection(database)):
            again = await within(TIMEOUT_SECONDS, audience.told.get(), "events flow again")
            while again.reason == CATCHING_UP:
                again = await within(TIMEOUT_SECONDS, audience.told.get(), "events flow again")
            assert (again.live, again.reason) == (True, None)
            assert again.since >= told.since
            assert metrics.registry.get_sample_value("orderwire_feed_live") == 1
    finally:
        running.cancel()
        await asyncio.wait([running])


def test_as_of_is_not_later_than_the_last_check_that_found_the_tables_in_order() -> None:
    relay = Relay(RecordingSink())
    relay._last_read_began_at, relay.attachment_checked_at = 100.0, 90.0
    assert relay.as_of == 100.0
    relay.attachment_problem = "the trigger is missing"
    assert relay.as_of == 90.0
    relay._last_read_began_at = 80.0
    assert relay.as_of == 80.0


def test_message() -> None:
    assert encode(FeedStatus(False, 1717243200.25, "why")) == (
        b'{"type":"feed_status","live":false,"since":"2024-06-01T12:00:00.250Z","reason":"why"}'
    )
    assert encode(FeedStatus(True, 1717243200.0)) == b'{"type":"feed_status","live":true,"since":"2024-06-01T12:00:00.000Z"}'
