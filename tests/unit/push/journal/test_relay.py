"""The relay on the model database: every committed event is published once, in order, across connections and failures."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Never

import pytest

from push.errors import ConnectionLost
from push.journal.events import EventId, JournalIdentity, Page, Position, Snapshot
from push.journal.notify_policy import NotifyMode
from push.journal.recent_events import RecentEvents
from push.journal.relay import Relay
from push.journal.totals import Totals
from push.metrics import Metrics
from tests.helpers.following import RecordingSink, commit, following, read_again
from tests.model.database import ModelConnection, ModelDatabase
from tests.support import TIMEOUT_SECONDS, within


class RecordingConnection(ModelConnection):
    """Counts the calls that the relay makes."""

    def __init__(self, database: ModelDatabase) -> None:
        super().__init__(database)
        self.calls: list[str] = []
        self.delivered: list[EventId] = []
        self.reported = 0
        # The ids below which each page began.
        self.pages: list[int] = []

    async def identity(self, epoch: str | None, delivered: Sequence[EventId]) -> JournalIdentity:
        self.calls.append("identity")
        self.delivered = list(delivered)
        return await super().identity(epoch, delivered)

    async def page(self, after: Position, upto: Snapshot | None, past_id: int, max_events: int, max_bytes: int) -> Page:
        self.calls.append("page")
        self.pages.append(past_id)
        return await super().page(after, upto, past_id, max_events, max_bytes)

    async def require_notify(self) -> bool:
        self.calls.append("require_notify")
        return await super().require_notify()

    async def release_notify(self) -> None:
        self.calls.append("release_notify")
        await super().release_notify()

    async def notify_on_behalf(self, event_count: int) -> None:
        self.calls.append("notify_on_behalf")
        self.reported += event_count
        await super().notify_on_behalf(event_count)


@pytest.fixture
def database() -> ModelDatabase:
    return ModelDatabase()


@pytest.fixture
def sink() -> RecordingSink:
    return RecordingSink()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


def value(metrics: Metrics, name: str) -> float | None:
    return metrics.registry.get_sample_value(name)


async def test_committed_events_are_published_once_and_in_order(database: ModelDatabase, sink: RecordingSink) -> None:
    relay = Relay(sink)
    async with following(relay, ModelConnection(database)):
        for number in range(5):
            commit(database, number, number + 10)
            await read_again(relay)
        await read_again(relay)
        assert sink.order_ids == [0, 10, 1, 11, 2, 12, 3, 13, 4, 14]
        assert sink.totals == relay.totals == database.totals()


async def test_events_from_before_the_start_are_in_the_totals_only(database: ModelDatabase, sink: RecordingSink) -> None:
    commit(database, 1, 2)
    relay = Relay(sink)
    async with following(relay, ModelConnection(database)):
        assert sink.events == []
        assert sink.totals == Totals().plus(database.journal)
        assert sink.gaps == 0


async def test_identity_that_is_written_anew_is_checked_before_anything_is_published(
    database: ModelDatabase, sink: RecordingSink
) -> None:
    relay = Relay(sink)
    connection = RecordingConnection(database)
    async with following(relay, connection):
        (known,) = commit(database, 1)
        await read_again(relay)
        connection.calls.clear()
        database.identity_version += 1
        commit(database, 2)
        await read_again(relay)
        reads = [call for call in connection.calls if call in ("page", "identity")]
        assert reads[:3] == ["page", "identity", "page"]
        assert reads.count("identity") == 1
        assert known.event_id in connection.delivered
        assert sink.order_ids == [1, 2]


async def test_newest_event_from_before_the_start_is_looked_up_after_a_lost_connection(database: ModelDatabase) -> None:
    """It is not in memory, and tells whether the database has gone back to before the start."""
    _, newest = commit(database, 1) + commit(database, 2)
    relay = Relay(RecordingSink())
    for _ in range(2):
        connection = RecordingConnection(database)
        async with following(relay, connection):
            pass
    assert connection.delivered == [newest.event_id]


async def test_open_transaction_is_published_when_it_commits(database: ModelDatabase, sink: RecordingSink) -> None:
    relay = Relay(sink)
    async with following(relay, ModelConnection(database)):
        slow = database.begin(repeatable_read=False)
        database.write(slow, 1)
        commit(database, 2)
        await read_again(relay)
        assert sink.order_ids == [2]
        database.commit(slow, notify=True)
        await read_again(relay)
        assert sink.order_ids == [2, 1]


async def test_states_from_start_to_a_lost_connection(database: ModelDatabase, metrics: Metrics) -> None:
    relay = Relay(RecordingSink(), metrics)

    def state() -> tuple[str | None, str | None, bool, float | None]:
        return relay.not_ready_reason, relay.epoch, relay.started.is_set(), value(metrics, "orderwire_ready")

    assert state() == ("waiting for the database", None, False, 0)
    connection = ModelConnection(database)
    async with following(relay, connection) as task:
        assert state() == (None, database.epoch, True, 1)
        connection.cut()
        await asyncio.wait([task], timeout=TIMEOUT_SECONDS)
        assert isinstance(task.exception(), ConnectionLost)
    assert state() == ("the connection to the database is lost", database.epoch, True, 0)


async def test_a_refused_query_is_named_instead_of_a_lost_connection(database: ModelDatabase, metrics: Metrics) -> None:
    class Refused(ModelConnection):
        async def page(self, *_: object) -> Never:
            raise ConnectionLost("permission denied", "the role web may not read the journal")

    relay = Relay(RecordingSink(), metrics)
    with pytest.raises(ConnectionLost):
        await relay.follow(Refused(database))
    assert relay.not_ready_reason == "the role web may not read the journal"


async def test_connection_stays_lost_since_it_was_read_last(database: ModelDatabase, sink: RecordingSink) -> None:
    """However often another one fails before it is read: otherwise clients would not be told (``feed_monitor``)."""

    class Refusing(ModelConnection):
        async def identity(self, epoch: str | None, delivered: Sequence[EventId]) -> JournalIdentity:
            raise ConnectionLost("refused")

    relay = Relay(sink)
    async with following(relay, ModelConnection(database)):
        await within(TIMEOUT_SECONDS, relay.started.wait(), "the first read")
    lost_at = relay.lost_at
    assert lost_at is not None
    for _ in range(2):
        await asyncio.sleep(0.001)
        with pytest.raises(ConnectionLost):
            await relay.follow(Refusing(database))
        assert relay.lost_at == lost_at
    async with following(relay, ModelConnection(database)):
        await read_again(relay)
        assert relay.lost_at is None


async def test_next_connection_closes_the_gap(database: ModelDatabase, sink: RecordingSink, metrics: Metrics) -> None:
    relay = Relay(sink, metrics)
    async with following(relay, ModelConnection(database)):
        commit(database, 1)
        await read_again(relay)
    assert value(metrics, "orderwire_listener_reconnects_total") == 0
    commit(database, 2, 3)
    async with following(relay, ModelConnection(database)):
        assert sink.order_ids == [1, 2, 3]
        assert sink.gaps == 0
    assert relay.connection_count == 2
    assert value(metrics, "orderwire_listener_reconnects_total") == 1
    assert value(metrics, "orderwire_catch_up_events_sum") == 2


async def test_wait_for_a_fresh_read_needs_a_connection(database: ModelDatabase, sink: RecordingSink) -> None:
    relay = Relay(sink)
    async with following(relay, ModelConnection(database)):
        commit(database, 1)
        await within(TIMEOUT_SECONDS, relay.read_barrier.wait_for_fresh_read(), "a read")
        assert sink.order_ids == [1]
    commit(database, 2)
    await within(TIMEOUT_SECONDS, relay.read_barrier.wait_for_fresh_read(), "no read")
    assert sink.order_ids == [1]


# -------------------------------------------------------------------- pages


@pytest.fixture
def two_events_a_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("push.journal.relay.PAGE_EVENTS", 2)


@pytest.mark.usefixtures("two_events_a_page")
async def test_large_read_waits_for_the_sink_between_pages(database: ModelDatabase, sink: RecordingSink) -> None:
    relay = Relay(sink)
    async with following(relay, ModelConnection(database)):
        before = relay.read_snapshot
        sink.writable.clear()
        commit(database, 1, 2, 3, 4, 5)
        while not sink.waits:
            await asyncio.sleep(0)
        for _ in range(20):
            await asyncio.sleep(0)
        assert sink.order_ids == [1, 2], "the sink is full"
        assert relay.not_ready_reason == "catching up"
        assert relay.read_snapshot == before
        sink.writable.set()
        await read_again(relay)
        assert sink.order_ids == [1, 2, 3, 4, 5]
        assert sink.waits == [2, 4, 5]
        assert relay.not_ready_reason is None


@pytest.mark.usefixtures("two_events_a_page")
async def test_next_connection_continues_after_the_last_page(database: ModelDatabase, sink: RecordingSink) -> None:
    relay = Relay(sink)
    async with following(relay, ModelConnection(database)):
        sink.writable.clear()
        commit(database, 1, 2, 3)
        while not sink.waits:
            await asyncio.sleep(0)
    sink.writable.set()
    commit(database, 4)
    connection = RecordingConnection(database)
    async with following(relay, connection):
        assert sink.order_ids == [1, 2, 3, 4]
    assert connection.pages[0] == sink.events[1].id, "the first page begins after the last event published"


@pytest.mark.usefixtures("two_events_a_page")
async def test_upper_snapshot_of_a_large_read_ends_at_its_newest_event(database: ModelDatabase, sink: RecordingSink) -> None:
    """The database may crash between two pages, and assign later transaction ids again."""
    relay = Relay(sink)
    async with following(relay, ModelConnection(database)):
        sink.writable.clear()
        events = commit(database, 1, 2, 3)
        database.end_without_rows()
        while not sink.waits:
            await asyncio.sleep(0)
        newest = events[-1].txid
        assert relay._partial_read == (Snapshot(newest + 1, newest + 1), sink.events[-1].id)


@pytest.mark.usefixtures("two_events_a_page")
async def test_watermark_is_retained_once_the_read_is_complete(database: ModelDatabase, sink: RecordingSink) -> None:
    relay = Relay(sink)
    relay.recent_events = RecentEvents(max_events=3)
    async with following(relay, ModelConnection(database)):
        sink.writable.clear()
        commit(database, 1, 2, 3, 4, 5)
        while not sink.waits:
            await asyncio.sleep(0)
        sink.writable.set()  # for one more page
        sink.writable.clear()
        while len(sink.waits) < 2:
            await asyncio.sleep(0)
        assert sink.order_ids == [1, 2, 3, 4]
        waiting = asyncio.create_task(relay.wait_until_watermark_retained())
        for _ in range(20):
            await asyncio.sleep(0)
        assert not waiting.done(), "events after the watermark have been dropped"
        sink.writable.set()
        await within(TIMEOUT_SECONDS, asyncio.wait_for(waiting, TIMEOUT_SECONDS), "the end of the read")
        assert relay.recent_events.has_since(relay.watermark.seq)


# -------------------------------------------------------------------- positions that lose their meaning


async def test_another_epoch_starts_anew_and_announces_a_gap(database: ModelDatabase, sink: RecordingSink) -> None:
    relay = Relay(sink)
    async with following(relay, ModelConnection(database)):
        commit(database, 1)
        await read_again(relay)
        seq = relay.watermark.seq
        database.epoch = "ffffffff"
        await read_again(relay)
        assert sink.gaps == 1
        assert relay.epoch == "ffffffff"
        assert relay.recent_events.since(seq) is None
        assert sink.totals == database.totals()
        commit(database, 2)
        await read_again(relay)
        assert sink.order_ids == [1, 2]
        assert sink.gaps == 1


async def test_journal_trimmed_beyond_the_watermark_is_a_gap(database: ModelDatabase, sink: RecordingSink) -> None:
    relay = Relay(sink)
    async with following(relay, ModelConnection(database)):
        (event,) = commit(database, 1)
        await read_again(relay)
        database.trimmed_txid = event.txid
        await read_again(relay)
        assert sink.gaps == 0, "the watermark sees everything that was trimmed"
    (event,) = commit(database, 2)
    database.trimmed_txid = event.txid
    commit(database, 3)
    async with following(relay, ModelConnection(database)):
        assert sink.gaps == 1
        assert sink.order_ids == [1]
        assert sink.totals == database.totals()


async def test_identity_is_checked_again_on_request_only(database: ModelDatabase) -> None:
    relay = Relay(RecordingSink())
    connection = RecordingConnection(database)
    async with following(relay, connection):
        await read_again(relay)
        assert connection.calls.count("identity") == 1
        relay.recheck_identity()
        await read_again(relay)
        await read_again(relay)
        assert connection.calls.count("identity") == 2


async def test_snapshots_end_at_the_newest_event(database: ModelDatabase) -> None:
    """What was rolled back after it may not be on disk, and its id may be assigned again after a crash."""
    relay = Relay(RecordingSink())
    async with following(relay, ModelConnection(database)):
        (event,) = commit(database, 1)
        database.end_without_rows()
        await read_again(relay)
        assert relay.read_snapshot == Snapshot(event.txid + 2, event.txid + 2)
        assert relay.watermark.snapshot == Snapshot(event.txid + 1, event.txid + 1)
        assert relay.crash_safe(relay.read_snapshot) == relay.watermark.snapshot
        assert relay.crash_safe(relay.read_snapshot, event.txid + 1) == relay.read_snapshot


async def test_published_means_a_read_that_started_after_the_call(database: ModelDatabase) -> None:
    relay = Relay(RecordingSink())
    connection = RecordingConnection(database)
    async with following(relay, connection):
        pages = len(connection.pages)
        await within(TIMEOUT_SECONDS, relay.wait_until_published(Snapshot(1, 1)), "a read")
        assert len(connection.pages) > pages, "although that snapshot was covered before"


async def test_snapshot_of_the_future_is_waited_for(database: ModelDatabase) -> None:
    relay = Relay(RecordingSink())
    async with following(relay, ModelConnection(database)):
        (event,) = commit(database, 1)
        await read_again(relay)
        waiting = asyncio.create_task(relay.wait_until_published(Snapshot(event.txid + 2, event.txid + 2)))
        await read_again(relay)
        assert not waiting.done()
        commit(database, 2)
        await asyncio.wait_for(waiting, TIMEOUT_SECONDS)


async def test_correction_adds_to_the_totals(database: ModelDatabase, sink: RecordingSink) -> None:
    relay = Relay(sink)
    async with following(relay, ModelConnection(database)):
        commit(database, 1)
        await read_again(relay)
        before = relay.totals
        relay.correct_totals(Totals(2, -before.revenue, 1))
        assert sink.totals == relay.totals == Totals(before.orders + 2, before.revenue - before.revenue, before.pending + 1)


# -------------------------------------------------------------------- notifications or polling


async def test_notify_is_required_before_each_read(database: ModelDatabase, metrics: Metrics) -> None:
    relay = Relay(RecordingSink(), metrics, NotifyMode.ALWAYS)
    connection = RecordingConnection(database)
    async with following(relay, connection):
        await read_again(relay)
        await read_again(relay)
        # The first read is that of the start.
        assert connection.calls[:4] == ["identity", "page", "require_notify", "page"]
        assert connection in database.notify_required
        assert value(metrics, "orderwire_notify_suppressed") == 0
        assert "release_notify" not in connection.calls


async def test_polling_finds_events_without_a_notification(database: ModelDatabase, sink: RecordingSink) -> None:
    metrics = Metrics()
    relay = Relay(sink, metrics, NotifyMode.NEVER)
    connection = RecordingConnection(database)
    async with following(relay, connection):
        await read_again(relay)
        assert value(metrics, "orderwire_notify_suppressed") == 1
        assert "require_notify" not in connection.calls
        assert connection not in database.notify_required
        transaction = database.begin(repeatable_read=False)
        database.write(transaction, 7)
        database.commit(transaction, notify=False)
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while sink.order_ids != [7]:
                await asyncio.sleep(0.005)


async def test_waiting_writers_are_counted_after_reads_that_found_events(database: ModelDatabase, sink: RecordingSink) -> None:
    class ContendedConnection(RecordingConnection):
        async def notify_waiters(self) -> int:
            self.calls.append("notify_waiters")
            return 100

    relay = Relay(sink, notify_mode=NotifyMode.AUTO)
    connection = ContendedConnection(database)
    async with following(relay, connection):
        for _ in range(3):
            await read_again(relay)
        assert "notify_waiters" not in connection.calls
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while "release_notify" not in connection.calls:
                commit(database, 1)
                await read_again(relay)
        assert connection.calls.count("notify_waiters") == 1
        assert connection not in database.notify_required


async def test_without_clients_notifications_are_answered_later(
    database: ModelDatabase, sink: RecordingSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("push.journal.relay.UNWATCHED_INTERVAL", 1e9)
    relay = Relay(sink)
    sink.clients = 0
    connection = RecordingConnection(database)
    async with following(relay, connection):
        await read_again(relay)
        pages = len(connection.pages)
        commit(database, 7)
        await asyncio.sleep(0.1)
        assert len(connection.pages) == pages
        # A client that connects asks for a read, and does not wait.
        await within(TIMEOUT_SECONDS, read_again(relay), "a read")
        assert sink.order_ids == [7]
        sink.clients = 1
        await read_again(relay)
        commit(database, 8)
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while sink.order_ids != [7, 8]:
                await asyncio.sleep(0.005)


async def test_polling_relay_reports_its_events_to_other_listeners(
    database: ModelDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("push.journal.relay.NOTIFY_INTERVAL", 0.01)
    relay = Relay(RecordingSink(), notify_mode=NotifyMode.NEVER)
    connection = RecordingConnection(database)
    async with following(relay, connection):
        commit(database, 1, 2, 3)
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while connection.reported < 3:
                await asyncio.sleep(0.01)
        assert connection.reported == 3
        await asyncio.sleep(0.1)
        assert connection.reported == 3, "each event is reported once"


async def test_writer_that_may_skip_its_notification_makes_the_relay_poll(
    database: ModelDatabase, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("push.journal.relay.FALLBACK_POLL_INTERVAL", 2 * TIMEOUT_SECONDS)
    relay = Relay(RecordingSink(), metrics)
    writer = database.begin(repeatable_read=False)
    database.write(writer, 1)
    writer.skipping = True
    connection = RecordingConnection(database)
    async with following(relay, connection):
        await read_again(relay)
        assert value(metrics, "orderwire_notify_suppressed") == 1
        database.commit(writer, notify=False)
        async with asyncio.timeout(TIMEOUT_SECONDS):
            # Without the fallback read. The read that finds the event begins after the metric is set.
            while value(metrics, "orderwire_notify_suppressed") != 0 or relay.totals != database.totals():
                await asyncio.sleep(0.005)


async def test_full_notification_queue_is_logged_once(database: ModelDatabase, caplog: pytest.LogCaptureFixture) -> None:
    relay = Relay(RecordingSink())
    relay.update_queue_usage(0.1)
    assert not caplog.records
    relay.update_queue_usage(0.4)
    relay.update_queue_usage(0.45)
    assert ["the notification queue is 40 % full" in record.getMessage() for record in caplog.records] == [True]
