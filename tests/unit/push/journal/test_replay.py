"""What a cursor misses: planned from memory or from the journal, and read in pages."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from types import SimpleNamespace

import pytest

from push.errors import BadCursor, StoreError
from push.journal.events import Cursor, Event, EventId, Page, Position, Snapshot
from push.journal.queries import EventCount, EventOwner
from push.journal.recent_events import RecentEvents
from push.journal.relay import Relay
from push.journal.replay import GapError, Replay, ReplayPlanner
from tests.helpers.following import RecordingSink, commit, following, read_again
from tests.model.database import EPOCH, MAX_TRANSACTIONS, ModelConnection, ModelDatabase, ModelReader
from tests.support import TIMEOUT_SECONDS

CLIENT = "a client"


class RecordingReader(ModelReader):
    """Counts the queries."""

    def __init__(self, database: ModelDatabase) -> None:
        super().__init__(database)
        self.calls: list[str] = []
        self.running = self.most_running = 0
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    @contextlib.asynccontextmanager
    async def _query(self, name: str) -> AsyncIterator[None]:
        self.calls.append(name)
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            await self.may_answer.wait()
            yield
        finally:
            self.running -= 1

    async def writer_snapshot(self, event_id: EventId) -> Snapshot | None:
        async with self._query("writer_snapshot"):
            return await super().writer_snapshot(event_id)

    async def max_transactions(self) -> int:
        async with self._query("max_transactions"):
            return await super().max_transactions()

    async def count(self, after: Position, upto: Snapshot, past_id: int, limit: int) -> EventCount:
        async with self._query("count"):
            return await super().count(after, upto, past_id, limit)

    async def page(self, after: Position, upto: Snapshot | None, past_id: int, max_events: int, max_bytes: int) -> Page:
        async with self._query("page"):
            return await super().page(after, upto, past_id, max_events, max_bytes)

    async def customer_page(
        self, owner: EventOwner, after: Position, upto: Snapshot | None, past_id: int, max_events: int, max_bytes: int
    ) -> Page:
        async with self._query("customer_page"):
            return await super().customer_page(owner, after, upto, past_id, max_events, max_bytes)


class Server:
    """A relay that follows the database, and a planner."""

    def __init__(self, database: ModelDatabase, max_replayed: int = 100) -> None:
        self.database = database
        self.relay = Relay(RecordingSink())
        self.reader = RecordingReader(database)
        self.planner = ReplayPlanner(self.relay, self.reader, max_replayed)

    async def commit(self, *order_ids: int) -> list[Event]:
        """Commit, and publish."""
        events = commit(self.database, *order_ids)
        await read_again(self.relay)
        return events

    async def replay(self, cursor: Cursor | str) -> tuple[Replay, list[Event]]:
        replay = await self.planner.plan(str(cursor), CLIENT)
        pages = [events async for events in self.planner.read_events(replay, CLIENT)]
        assert all(pages), "no page is empty"
        return replay, [event for events in pages for event in events]


@pytest.fixture
def database() -> ModelDatabase:
    return ModelDatabase()


@contextlib.asynccontextmanager
async def started(database: ModelDatabase, max_replayed: int = 100) -> AsyncIterator[Server]:
    """A server that remembers no event from before its start."""
    server = Server(database, max_replayed)
    async with following(server.relay, ModelConnection(database)):
        yield server


@pytest.fixture
async def server(database: ModelDatabase) -> AsyncIterator[Server]:
    async with started(database) as server:
        yield server


def cursor_of(event: Event) -> Cursor:
    return Cursor(EPOCH, event.event_id)


def position(server: Server) -> Cursor:
    """The position of a client that connects to this server."""
    watermark = server.relay.watermark
    return Cursor(EPOCH, watermark.snapshot, witness=watermark.newest_event)


def ids(events: Sequence[Event]) -> list[int]:
    return [event.id for event in events]


async def gap(server: Server, cursor: Cursor | str) -> str:
    """The reason why this cursor cannot be resumed from."""
    with pytest.raises(GapError) as caught:
        await server.planner.plan(str(cursor), CLIENT)
    return str(caught.value)


# -------------------------------------------------------------------- from memory


async def test_recent_gap_is_replayed_from_memory(server: Server) -> None:
    first = (await server.commit(1))[0]
    missed = await server.commit(2, 3)
    replay, events = await server.replay(cursor_of(first))
    assert events == missed
    assert replay.count == 2
    assert replay.next_seq == server.relay.recent_events.next_seq
    assert server.reader.calls == []


async def test_newest_event_and_newest_snapshot_miss_nothing(server: Server) -> None:
    (event,) = await server.commit(1)
    for cursor in (cursor_of(event), position(server)):
        replay, events = await server.replay(cursor)
        assert (replay.count, events) == (0, [])
    assert server.reader.calls == []


async def test_position_within_a_transaction_misses_its_later_rows(server: Server) -> None:
    events = await server.commit(1, 2, 3)
    assert (await server.replay(cursor_of(events[0])))[1] == events[1:]


async def test_event_that_committed_late_is_replayed(server: Server, database: ModelDatabase) -> None:
    """Its id is below that of the cursor, whose writer did not see it."""
    slow = database.begin(repeatable_read=False)
    database.write(slow, 1)
    (newer,) = await server.commit(2)
    database.commit(slow, notify=True)
    await read_again(server.relay)
    assert ids((await server.replay(cursor_of(newer)))[1]) == ids(slow.rows)
    assert slow.rows[0].id < newer.id


async def test_too_many_missed_events_in_memory_are_a_gap(database: ModelDatabase) -> None:
    async with started(database, max_replayed=2) as server:
        (first,) = await server.commit(1)
        await server.commit(2, 3)
        assert len((await server.replay(cursor_of(first)))[1]) == 2
        await server.commit(4)
        assert await gap(server, cursor_of(first)) == "too much to replay"
        assert server.reader.calls == []


async def test_other_tasks_run_while_a_cursor_is_compared_with_the_memory(
    database: ModelDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("push.journal.replay.COMPARED_EVENTS", 2)
    monkeypatch.setattr("push.journal.replay.PAGE_EVENTS", 2)
    async with started(database) as server:
        (first,) = await server.commit(1)
        missed = await server.commit(2, 3, 4, 5, 6, 7)
        replaying = asyncio.create_task(server.replay(cursor_of(first)))
        ticks = 0
        while not replaying.done():
            ticks += 1
            await asyncio.sleep(0)
        assert (await replaying)[1] == missed
        assert ticks >= 2 + 2


async def test_events_published_while_a_cursor_is_compared_with_the_memory_are_not_skipped(
    database: ModelDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("push.journal.replay.COMPARED_EVENTS", 1)
    async with started(database) as server:
        (first,) = await server.commit(1)
        await server.commit(2, 3, 4)
        planning = asyncio.create_task(server.planner.plan(str(cursor_of(first)), CLIENT))
        await asyncio.sleep(0)
        assert not planning.done()
        server.relay.recent_events.append(meanwhile := commit(database, 5))
        replay = await planning
        assert replay.count == 3
        assert server.relay.recent_events.since(replay.next_seq) == meanwhile


# -------------------------------------------------------------------- from the journal


async def test_replay_from_the_journal_after_a_restart(database: ModelDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("push.journal.replay.PAGE_EVENTS", 2)
    first, *missed = commit(database, 1, 2, 3, 4) + commit(database, 5)
    async with started(database) as server:
        later = await server.commit(6)
        replay, events = await server.replay(cursor_of(first))
        assert ids(events) == ids(missed) + ids(later)
        assert replay.count == 5
        assert server.relay.recent_events.since(replay.next_seq) == []
        assert server.reader.calls == ["writer_snapshot", "count", "page", "page", "page"]


async def test_replay_continues_in_memory_where_the_plan_ends(database: ModelDatabase) -> None:
    (first,) = commit(database, 1)
    commit(database, 2)
    async with started(database) as server:
        replay = await server.planner.plan(str(cursor_of(first)), CLIENT)
        later = await server.commit(3)
        from_journal = [event async for events in server.planner.read_events(replay, CLIENT) for event in events]
        assert [int(event.key) for event in from_journal] == [2]
        assert server.relay.recent_events.since(replay.next_seq) == later


async def test_events_published_while_the_replay_is_planned_are_not_skipped(database: ModelDatabase) -> None:
    """The spans end at the watermark of the beginning, so memory has to be read from that watermark on."""
    (first,) = commit(database, 1)
    async with started(database) as server:
        server.reader.may_answer.clear()
        planning = asyncio.create_task(server.planner.plan(str(cursor_of(first)), CLIENT))
        while not server.reader.calls:
            await asyncio.sleep(0)
        meanwhile = await server.commit(2)
        server.reader.may_answer.set()
        replay = await asyncio.wait_for(planning, TIMEOUT_SECONDS)
        assert replay.count == 0
        assert server.relay.recent_events.since(replay.next_seq) == meanwhile


async def test_cursor_between_two_pages_of_history_is_resumed(database: ModelDatabase) -> None:
    """It misses the rest of its pages, and what has been committed since."""
    events = commit(database, 1, 2, 3)
    async with started(database) as server:
        upto = position(server)
        later = await server.commit(4)
        assert isinstance(upto.after, Snapshot)
        cursor = Cursor(EPOCH, Snapshot(1, 1), upto.after, events[0].id, upto.witness)
        replay, replayed = await server.replay(cursor)
        assert ids(replayed) == ids(events[1:]) + ids(later)
        assert replay.count == 3


async def test_too_many_missed_events_in_the_journal_are_a_gap(database: ModelDatabase) -> None:
    events = commit(database, 1, 2, 3, 4)
    async with started(database, max_replayed=2) as server:
        assert await gap(server, cursor_of(events[0])) == "too much to replay"
        assert (await server.replay(cursor_of(events[1])))[1] == events[2:]


async def test_event_that_is_not_in_the_journal_is_a_gap(server: Server) -> None:
    await server.commit(1)
    assert await gap(server, Cursor(EPOCH, EventId(5, 5, 0))) == "the event is not in the journal"


@pytest.mark.parametrize("in_memory", [True, False])
async def test_cursors_of_another_history_are_a_gap(database: ModelDatabase, in_memory: bool) -> None:
    """A backup of the files was put back: the numbers of transactions and events have been given out again."""
    (event,) = commit(database, 1)
    async with started(database) as server:
        if in_memory:
            (event,) = await server.commit(1)
        elsewhere = event.event_id._replace(tag=7)
        upto = position(server).after
        assert isinstance(upto, Snapshot)
        assert await gap(server, Cursor(EPOCH, elsewhere)) == "the event is not in the journal"
        for witness in (elsewhere, None):
            for cursor in (Cursor(EPOCH, upto, witness=witness), Cursor(EPOCH, Snapshot(1, 1), upto, 0, witness)):
                assert await gap(server, cursor) == "of another history: the database has been put back"
                with pytest.raises(GapError):
                    await server.planner.history_page(str(cursor), limit=10, client=CLIENT)


async def test_witness_that_has_been_trimmed_is_no_gap(database: ModelDatabase) -> None:
    (event,) = commit(database, 1)
    async with started(database) as server:
        known, unknown = position(server), position(server)._replace(witness=None)
    database.journal.clear()
    database.trimmed_txid = event.txid
    async with started(database) as server:
        for cursor in (known, unknown):
            assert (await server.replay(cursor))[0].count == 0


async def test_another_epoch_in_the_database_is_a_gap(database: ModelDatabase) -> None:
    """The relay has not read it yet."""
    first, _ = commit(database, 1) + commit(database, 2)
    async with started(database) as server:
        server.relay.read_barrier.detach()
        replay = await server.planner.plan(str(cursor_of(first)), CLIENT)
        database.epoch = "ffffffff"
        with pytest.raises(GapError, match="another epoch"):
            [_ async for _ in server.planner.read_events(replay, CLIENT)]
        with pytest.raises(GapError, match="another epoch"):
            await server.planner.history_page(str(cursor_of(first)), limit=10, client=CLIENT)
        server.planner._replay_cache._tasks.clear()
        assert await gap(server, cursor_of(first)) == "another epoch"


async def test_trimmed_position_is_a_gap(database: ModelDatabase) -> None:
    first, second = commit(database, 1) + commit(database, 2)
    async with started(database) as server:
        database.trimmed_txid = first.txid - 1
        await server.replay(cursor_of(first))
    database.trimmed_txid = first.txid
    async with started(database) as server:
        assert await gap(server, cursor_of(first)) == "older than the journal"
        await server.replay(cursor_of(second))


async def test_events_trimmed_during_the_replay_are_a_gap(database: ModelDatabase) -> None:
    first, second = commit(database, 1) + commit(database, 2)
    async with started(database) as server:
        replay = await server.planner.plan(str(cursor_of(first)), CLIENT)
        database.trimmed_txid = second.txid
        with pytest.raises(GapError, match="older than the journal"):
            [_ async for _ in server.planner.read_events(replay, CLIENT)]


@pytest.mark.parametrize("upto", [None, 5])
async def test_snapshot_of_the_future_is_a_gap(server: Server, upto: int | None) -> None:
    (event,) = await server.commit(1)
    future = Snapshot(event.txid + 50, event.txid + 50)
    cursor = Cursor(EPOCH, future) if upto is None else Cursor(EPOCH, Snapshot(1, 1), future, upto)
    assert await gap(server, cursor) == "from the future"


async def test_snapshot_of_a_server_that_is_ahead_is_no_gap(server: Server, database: ModelDatabase) -> None:
    """It is newer than what this server has read, but not newer than the database."""
    async with started(database) as other:
        server.relay.read_barrier.detach()
        server.relay.read_barrier.attach(lambda: None)
        commit(database, 1)
        await read_again(other.relay)
        replay, events = await server.replay(position(other))
        assert (replay.count, events) == (0, [])


@pytest.mark.parametrize("text", ["", "what", f"{EPOCH}-", "ffffffff-1-0-1"])
async def test_other_texts_and_other_epochs_are_a_gap(server: Server, text: str) -> None:
    assert await gap(server, text) in ("not a cursor", "another epoch")


async def test_no_cursor_is_accepted_before_the_start(database: ModelDatabase) -> None:
    assert await gap(Server(database), f"{EPOCH}-1-0-1") == "another epoch"


async def test_read_larger_than_memory_makes_the_client_come_back(
    database: ModelDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("push.journal.replay.WATERMARK_WAIT_TIMEOUT", 0.02)
    (first,) = commit(database, 1)
    async with started(database) as server:
        pass  # from here on it reads no more
    server.relay.recent_events = RecentEvents(max_events=1)
    server.relay.recent_events.reset(server.relay.watermark.snapshot)
    server.relay.recent_events.append(commit(database, 2, 3))  # published, but the watermark has not advanced yet
    with pytest.raises(StoreError, match="a large change is being published"):
        await server.planner.plan(str(cursor_of(first)), CLIENT)


def wide(snapshot: Snapshot, running: int) -> Snapshot:
    """As old as ``snapshot``, with so many running transactions."""
    first = snapshot.xmax - running
    return Snapshot(first, snapshot.xmax, tuple(range(first, snapshot.xmax)))


async def test_cursor_with_more_running_transactions_than_the_database_can_have_is_a_gap(
    database: ModelDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("push.journal.replay.time", SimpleNamespace(monotonic=lambda: 1000.0))  # answers are kept
    commit(database, *range(1, 4))
    database.skip_transactions(2 * MAX_TRANSACTIONS)
    async with started(database) as server:
        await server.commit(4)
        now = server.relay.watermark.snapshot
        for _ in range(3):
            assert (await gap(server, Cursor(EPOCH, wide(now, MAX_TRANSACTIONS + 1)))).startswith("more running transactions")
        upto = wide(now, MAX_TRANSACTIONS + 1)
        with pytest.raises(GapError, match="more running transactions"):
            await server.planner.history_page(str(Cursor(EPOCH, Snapshot(1, 1), upto, 1)), limit=10, client=CLIENT)
        assert server.reader.calls == ["max_transactions"], "asked once for all of them"
        assert (await server.planner.plan(str(position(server)._replace(after=wide(now, MAX_TRANSACTIONS))), CLIENT)).count == 1


async def test_usual_cursor_costs_no_question_about_running_transactions(database: ModelDatabase) -> None:
    database.skip_transactions(2 * MAX_TRANSACTIONS)
    async with started(database) as server:
        await server.commit(1)
        await server.planner.plan(str(position(server)._replace(after=wide(server.relay.watermark.snapshot, 100))), CLIENT)
        assert "max_transactions" not in server.reader.calls


# -------------------------------------------------------------------- many clients at once


async def test_clients_at_the_same_position_share_the_queries(database: ModelDatabase) -> None:
    first = commit(database, 1, 2)[0]
    async with started(database) as server:
        results = await asyncio.gather(*(server.replay(cursor_of(first)) for _ in range(20)))
        assert {tuple(ids(events)) for _, events in results} == {(first.id + 1,)}
        assert sorted(server.reader.calls) == ["count", "page", "writer_snapshot"]


async def test_resume_does_not_wait_for_those_who_page_through_history(database: ModelDatabase) -> None:
    first = commit(database, 1, 2)[0]
    async with started(database) as server:
        server.reader.may_answer.clear()
        paging = [
            asyncio.create_task(server.planner.history_page(str(cursor_of(first)), limit=1, client=number))
            for number in range(20)
        ]
        while not server.reader.calls:
            await asyncio.sleep(0)
        resuming = asyncio.create_task(server.planner.plan(str(cursor_of(first)), CLIENT))
        while server.reader.running < 2:
            await asyncio.sleep(0)
        server.reader.may_answer.set()
        await resuming
        assert server.reader.calls.index("count") <= 4, "after its own look for the event, beside some of the others"
        await asyncio.gather(*paging)


async def test_answers_are_kept_for_a_second(database: ModelDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("push.journal.replay.time", SimpleNamespace(monotonic=lambda: now))
    first = commit(database, 1, 2)[0]
    async with started(database) as server:
        await server.replay(cursor_of(first))
        now += 0.9
        await server.replay(cursor_of(first))
        assert server.reader.calls.count("count") == 1
        now += 0.2
        await server.replay(cursor_of(first))
        assert server.reader.calls.count("count") == 2


async def test_cache_is_bounded(database: ModelDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("push.journal.replay.CACHE_SIZE", 2)
    events = commit(database, 1, 2, 3, 4)
    async with started(database) as server:
        for event in (*events, events[-1], events[0]):
            await server.planner.plan(str(cursor_of(event)), CLIENT)
        assert server.reader.calls.count("count") == 5, "the last one was kept, the first one was not"
        assert len(server.planner._replay_cache._tasks) == 2


async def test_cancelled_client_does_not_take_the_answer_from_others(database: ModelDatabase) -> None:
    first = commit(database, 1, 2)[0]
    async with started(database) as server:
        server.reader.may_answer.clear()
        leaving = asyncio.create_task(server.planner.plan(str(cursor_of(first)), CLIENT))
        staying = asyncio.create_task(server.planner.plan(str(cursor_of(first)), CLIENT))
        await asyncio.sleep(0)
        leaving.cancel()
        await asyncio.wait([leaving])
        server.reader.may_answer.set()
        assert (await asyncio.wait_for(staying, TIMEOUT_SECONDS)).count == 1
        assert server.reader.calls.count("count") == 1


async def test_reads_at_one_time_are_limited(database: ModelDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("push.journal.replay.CACHE_SIZE", 1)
    events = commit(database, *range(1, 12))
    async with started(database) as server:
        await asyncio.gather(*(server.replay(cursor_of(event)) for event in events))
        assert server.reader.most_running == 2


async def test_failed_query_is_retried_by_the_next_client_once_the_answer_has_expired(
    database: ModelDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("push.journal.replay.CACHE_TTL_SECONDS", -1.0)
    first = commit(database, 1, 2)[0]
    async with started(database) as server:
        count = server.reader.count

        async def fails(*args: object) -> tuple[int, int]:
            raise StoreError("once")

        server.reader.count = fails  # type: ignore[method-assign, assignment]
        with pytest.raises(StoreError, match="once"):
            await server.planner.plan(str(cursor_of(first)), CLIENT)
        server.reader.count = count  # type: ignore[method-assign]
        assert (await server.planner.plan(str(cursor_of(first)), CLIENT)).count == 1


# -------------------------------------------------------------------- GET /api/events


async def test_history_is_paged_from_the_oldest_event_on(database: ModelDatabase) -> None:
    expected = commit(database, 1, 2, 3) + commit(database, 4, 5)
    async with started(database) as server:
        seen: list[Event] = []
        cursor: str | None = None
        sizes = []
        while True:
            page = await server.planner.history_page(cursor, limit=2, client=CLIENT)
            seen += page.events
            sizes.append(len(page.events))
            cursor = str(page.next_cursor)
            if not page.more:
                break
        assert ids(seen) == ids(expected)
        assert sizes == [2, 2, 1, 0], "the last one looks for what was committed since the first one"


async def test_events_committed_while_paging_come_last(database: ModelDatabase) -> None:
    before = commit(database, 1, 2, 3)
    async with started(database) as server:
        page = await server.planner.history_page(None, limit=2, client=CLIENT)
        later = await server.commit(4)
        page = await server.planner.history_page(str(page.next_cursor), limit=2, client=CLIENT)
        assert (ids(page.events), page.more) == (ids(before[2:]), True)
        page = await server.planner.history_page(str(page.next_cursor), limit=2, client=CLIENT)
        assert (ids(page.events), page.more) == (ids(later), False)
        (_, replayed) = await server.replay(page.next_cursor)
        assert replayed == [], "the cursor of the last page resumes live"


async def test_history_of_a_customer_is_paged_by_their_own_events(database: ModelDatabase) -> None:
    """Neither the number of pages nor a cursor tells how many events others have."""
    own = [
        event for order_id in range(1, 4) for event in commit(database, order_id, *range(100 * order_id, 100 * order_id + 50))
    ]
    expected = [event for event in own if event.key in ("1", "2", "3")]
    async with started(database) as server:
        owner = EventOwner(None, frozenset({"1", "2", "3"}))
        first = await server.planner.history_page(None, 2, CLIENT, owner)
        assert (ids(first.events), first.more) == (ids(expected[:2]), True)
        assert first.next_cursor.past_id == expected[1].id
        second = await server.planner.history_page(str(first.next_cursor), 2, CLIENT, owner)
        assert ids(second.events) == ids(expected[2:])
        assert "page" not in server.reader.calls[1:], "only for what was trimmed"


async def test_history_includes_what_was_committed_before_the_request(server: Server, database: ModelDatabase) -> None:
    commit(database, 1)
    page = await server.planner.history_page(None, limit=10, client=CLIENT)
    assert [int(event.key) for event in page.events] == [1]


async def test_history_begins_after_what_was_trimmed(database: ModelDatabase) -> None:
    trimmed, kept = commit(database, 1) + commit(database, 2)
    database.journal.remove(trimmed)
    database.trimmed_txid = trimmed.txid
    async with started(database) as server:
        page = await server.planner.history_page(None, limit=10, client=CLIENT)
        assert ids(page.events) == [kept.id]
        with pytest.raises(GapError, match="older than the journal"):
            await server.planner.history_page(f"{EPOCH}-s50.50", limit=10, client=CLIENT)


async def test_errors_of_history(server: Server, database: ModelDatabase) -> None:
    with pytest.raises(BadCursor):
        await server.planner.history_page("what", limit=1, client=CLIENT)
    with pytest.raises(GapError, match="another epoch"):
        await server.planner.history_page("ffffffff-1-0-1", limit=1, client=CLIENT)
    with pytest.raises(StoreError, match="waiting for the database"):
        await Server(database).planner.history_page(None, limit=1, client=CLIENT)
