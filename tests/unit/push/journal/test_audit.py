"""The audit corrects totals that are wrong, and leaves alone those that it cannot compare."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from push.errors import StoreError
from push.journal.audit import Audit
from push.journal.events import Snapshot
from push.journal.queries import Baseline
from push.journal.recent_events import RecentEvents
from push.journal.relay import Relay
from push.journal.totals import Totals
from push.metrics import Metrics
from tests.helpers.following import RecordingSink, commit, following, read_again
from tests.model.database import ModelConnection, ModelDatabase, ModelReader
from tests.support import TIMEOUT_SECONDS


class DriftingReader(ModelReader):
    """A table of orders that silent changes have changed by ``drift``."""

    def __init__(self, database: ModelDatabase) -> None:
        super().__init__(database)
        self.drift = Totals()
        self.scans = 0
        self.failures = 0

    async def scan_totals(self) -> Baseline:
        self.scans += 1
        if self.failures:
            self.failures -= 1
            raise StoreError("the database does not answer")
        baseline = await super().scan_totals()
        return replace(baseline, totals=baseline.totals + self.drift)


class Site:
    def __init__(self, database: ModelDatabase) -> None:
        self.database = database
        self.sink = RecordingSink()
        self.relay = Relay(self.sink)
        self.reader = DriftingReader(database)
        self.metrics = Metrics()
        self.audit = Audit(self.relay, self.reader, self.metrics)

    @property
    def corrections(self) -> float | None:
        return self.metrics.registry.get_sample_value("orderwire_totals_corrections_total")


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    database = ModelDatabase()
    commit(database, 1, 2)
    site = Site(database)
    async with following(site.relay, ModelConnection(database)):
        yield site


async def test_right_totals_are_left_alone(site: Site) -> None:
    site.relay.totals_verified = False
    assert await site.audit.run_once() is None
    assert site.relay.totals_verified
    assert site.corrections == 0
    assert site.relay.totals == site.database.totals()


async def test_drift_is_corrected_counted_and_logged(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    before = site.relay.totals
    site.reader.drift = Totals(3, before.revenue, -1)
    assert await site.audit.run_once() == site.reader.drift
    assert site.sink.totals == site.relay.totals == Totals(before.orders + 3, before.revenue * 2, before.pending - 1)
    assert site.corrections == 1
    assert "the totals had drifted by +3 orders, +3 revenue, -1 pending: corrected" in caplog.text
    assert await site.audit.run_once() is None
    assert site.corrections == 1


async def test_events_published_after_the_scan_are_no_drift(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    scan = site.reader.scan_totals

    async def scan_then_commit() -> Baseline:
        baseline = await scan()
        commit(site.database, 3, 4)
        await read_again(site.relay)
        return baseline

    monkeypatch.setattr(site.reader, "scan_totals", scan_then_commit)
    assert await site.audit.run_once() is None
    assert site.relay.totals == site.database.totals()
    assert site.corrections == 0


async def test_another_epoch_makes_the_relay_check_the_journal(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    site.reader.database = other = ModelDatabase()
    other.epoch = "ffffffff"
    assert await site.audit.run_once() is None
    assert site.reader.scans == 0
    assert site.relay._identity_check_due
    assert "another epoch" in caplog.text


async def test_states_across_a_reconnect_are_not_compared(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The database may have crashed in between, and transaction ids may have been assigned again."""
    site.reader.drift = Totals(1)
    site.relay.totals_verified = False
    scan = site.reader.scan_totals

    async def scan_then_reconnect() -> Baseline:
        baseline = await scan()
        site.relay._connection_count += 1
        return baseline

    monkeypatch.setattr(site.reader, "scan_totals", scan_then_reconnect)
    assert await site.audit.run_once() is None
    assert not site.relay.totals_verified
    assert site.corrections == 0


async def test_scan_that_memory_does_not_reach_back_to_is_not_compared(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.reader.drift = Totals(1)
    site.relay.totals_verified = False
    site.relay.recent_events = RecentEvents(max_events=1)
    site.relay.recent_events.reset(site.relay.watermark.snapshot)
    scan = site.reader.scan_totals

    async def scan_then_commit_much() -> Baseline:
        baseline = await scan()
        for order_id in range(3, 6):
            commit(site.database, order_id)
            await read_again(site.relay)
        return baseline

    monkeypatch.setattr(site.reader, "scan_totals", scan_then_commit_much)
    assert await site.audit.run_once() is None
    assert not site.relay.totals_verified


async def test_relay_that_does_not_reach_the_scan_is_a_timeout(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("push.journal.audit.PUBLISH_TIMEOUT", 0.02)
    scan = site.reader.scan_totals

    async def scan_of_the_future() -> Baseline:
        return replace(await scan(), snapshot=Snapshot(10**6, 10**6))

    monkeypatch.setattr(site.reader, "scan_totals", scan_of_the_future)
    with pytest.raises(TimeoutError):
        await site.audit.run_once()


@contextlib.asynccontextmanager
async def running(audit: Audit, interval_seconds: float) -> AsyncIterator[None]:
    task = asyncio.create_task(audit.run(interval_seconds))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_first_audit_is_repeated_until_one_could_compare(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("push.journal.audit.FIRST_AUDIT_DELAY", 0.01)
    site.relay.totals_verified = False
    site.reader.failures = 2
    started_at = asyncio.get_running_loop().time()
    async with running(site.audit, interval_seconds=3600), asyncio.timeout(TIMEOUT_SECONDS):
        while not site.relay.totals_verified:
            await asyncio.sleep(0.005)
        assert site.reader.scans == 3
        assert asyncio.get_running_loop().time() - started_at >= 0.01 + 0.02 + 0.04, "the pauses double"
        await asyncio.sleep(0.1)
        assert site.reader.scans == 3, "the next one comes after the interval"


async def test_audit_waits_for_the_relay_to_start() -> None:
    site = Site(ModelDatabase())
    async with running(site.audit, interval_seconds=0.001), asyncio.timeout(TIMEOUT_SECONDS):
        await asyncio.sleep(0.02)
        assert site.reader.scans == 0
        async with following(site.relay, ModelConnection(site.database)):
            while not site.reader.scans:
                await asyncio.sleep(0.001)
