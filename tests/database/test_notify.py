"""The payloads of NOTIFY on the channel `orders`: JSON below 8000 bytes, only of committed changes."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from db.embedded.postgres import EmbeddedPostgres
from db.migrate import create_starter, migrate
from tests.database.journal_rows import add_orders, recorded_events
from tests.support import TIMEOUT_SECONDS, Message, open_connections, within

INSERT_SQL = "insert into orders (customer_name, total) values ('{}', 1)"
# In the past, with the 64ths that it has.
END_OF_THIS_LEASE = "orderwire.now_ms() * 64 - 64 + pg_sequence_last_value('orderwire.notify_lease') % 64"
END_LEASE_SQL = "select setval('orderwire.notify_lease', orderwire.now_ms() * 64 - 64)"


class ListeningConnection:
    """A second connection that listens on the channel, like psql."""

    def __init__(self, connection: Any, writer: Any) -> None:
        self._connection = connection
        self._writer = writer
        self._payloads: asyncio.Queue[str] = asyncio.Queue()

    async def open(self) -> None:
        await self._connection.add_listener("orders", lambda *call: self._payloads.put_nowait(call[3]))

    async def all_payloads(self) -> list[str]:
        """Every payload so far. Notifications arrive in commit order, so one of our own marks the end."""
        await self._writer.execute("select pg_notify('orders', 'end')")
        payloads: list[str] = []
        while (payload := await within(TIMEOUT_SECONDS, self._payloads.get(), "a notification")) != "end":
            payloads.append(payload)
        return payloads

    async def one_message(self) -> Message:
        (payload,) = await self.all_payloads()
        assert len(payload.encode()) < 8000
        message: Message = json.loads(payload)
        return message


@pytest.fixture
async def bystander(database_url: str, db: Any) -> AsyncIterator[ListeningConnection]:
    """Listens while no server requires notifications."""
    connection = await asyncpg.connect(database_url)
    listener = ListeningConnection(connection, db)
    await listener.open()
    yield listener
    await connection.close()


@pytest.fixture
async def listener(database_url: str, bystander: ListeningConnection) -> AsyncIterator[ListeningConnection]:
    """Listens while a session requires a notification for each change, as a server does."""
    server = await asyncpg.connect(database_url)
    assert await server.fetchval("select orderwire.require_notify()")
    yield bystander
    await server.close()


async def test_payload_of_one_change_is_the_event_that_clients_receive(db: Any, listener: ListeningConnection) -> None:
    await db.execute("insert into orders (customer_name, total) values ('Иван \"Вань\" Иванов\n', 150.50)")
    await db.execute("update orders set status = 'preparing'")
    await db.execute("update orders set customer_name = 'Пётр'")
    await db.execute("delete from orders")
    received = [json.loads(payload) for payload in await listener.all_payloads()]
    assert received == await recorded_events(db)

    head = {"type", "id", "at", "order_id", "key", "order_number", "created_at"}
    assert [set(event) for event in received] == [
        head | {"customer_name", "total", "status"},
        head | {"total", "status", "previous_status"},
        head | {"customer_name", "total", "status"},
        head | {"previous_status", "previous_total"},
    ]
    assert received[0]["customer_name"] == 'Иван "Вань" Иванов\n'
    assert received[0]["total"] == "150.50"
    assert re.fullmatch(r"[0-9a-f]{8}-\d+-\d+-\d+", received[0]["id"])


async def test_payload_of_several_changes_is_a_batch_of_their_events(db: Any, listener: ListeningConnection) -> None:
    await db.execute("insert into orders (customer_name, total) values ('a', 1), ('b', 2), ('c', 3)")
    assert await listener.one_message() == {"type": "batch", "events": await recorded_events(db), "more": 0}


@pytest.mark.parametrize("name", ["x", "Иван Иванов", "Щ" * 700, "🍕" * 1900, '"' * 3000])
async def test_batch_contains_the_first_events_that_fit_and_counts_the_others(
    db: Any, listener: ListeningConnection, name: str
) -> None:
    await db.execute("insert into orders (customer_name, total) select $1, 1 from generate_series(1, 60)", name)
    received = await listener.one_message()
    events = await recorded_events(db)
    assert received["events"] == events[: len(received["events"])] or received["events"] == [
        e for e in events if e in received["events"]
    ]
    assert len(received["events"]) + received["more"] == 60


@pytest.mark.parametrize("letters", [500, 501, 7000, 7700, 7800, 1024 * 1024])
@pytest.mark.parametrize("letter", ["x", "Щ", "🍕", "\x01"])
async def test_customer_name_of_any_size_does_not_fail_the_writer(
    db: Any, listener: ListeningConnection, letters: int, letter: str
) -> None:
    await db.execute("insert into orders (customer_name, total) values (repeat($2, $1), 1)", letters, letter)
    received = await listener.one_message()
    assert [received] == await recorded_events(db)
    assert received["customer_name"] == letter * 500
    assert received.get("truncated") == (None if letters == 500 else ["customer_name"])


@pytest.mark.parametrize(("letters", "fits"), [(100, True), (5_900, False), (6_100, True)])
async def test_event_that_is_too_long_for_a_payload_is_counted(
    db: Any, listener: ListeningConnection, letters: int, fits: bool
) -> None:
    """A name of 500 control characters takes 3,000 bytes. Data of more than 6,000 bytes is left out of the event."""
    await db.execute("alter table orders add column note text")
    await db.execute(
        "select orderwire.attach('public.orders', a.map || '{\"data\": [\"note\"]}') from orderwire.attached_tables as a"
    )
    await listener.all_payloads()
    await db.execute(
        "insert into orders (customer_name, total, note) values (repeat(chr(1), 500), 1, repeat('x', $1))", letters
    )
    received = await listener.one_message()
    (event,) = await recorded_events(db)
    assert received == (event if fits else {"type": "batch", "events": [], "more": 1})
    assert ("data" in event) == (letters < 6_000)


async def test_payload_of_100000_changes_is_small(db: Any, listener: ListeningConnection) -> None:
    await db.execute("insert into orders (customer_name, total) select 'c', 1 from generate_series(1, 100000)")
    await db.execute("update orders set status = 'ready'")
    payloads = await listener.all_payloads()
    assert [len(payload.encode()) < 8000 for payload in payloads] == [True, True]
    for payload in payloads:
        received = json.loads(payload)
        assert len(received["events"]) + received["more"] == 100_000


async def test_each_statement_of_a_transaction_notifies_and_further_ones_are_counted(
    db: Any, listener: ListeningConnection
) -> None:
    insert = "insert into orders (customer_name, total) values (repeat('n', 500), 1)"
    async with db.transaction():
        await db.execute(";".join([insert] * 150))
        await db.execute(f"savepoint s; {insert}; {insert}; rollback to s; {insert}")
        await db.execute(";".join([insert] * 49))
    *messages, last = map(json.loads, await listener.all_payloads())
    assert [message["type"] for message in messages] == ["new_order"] * len(messages)
    assert [message["order_id"] for message in messages] == list(range(1, len(messages) + 1))
    assert last == {"type": "batch", "events": [], "more": 200 - len(messages)}
    await db.execute(insert)
    assert (await listener.one_message())["type"] == "new_order"


async def test_savepoint_that_is_rolled_back_takes_its_notification_back(db: Any, listener: ListeningConnection) -> None:
    insert = "insert into orders (customer_name, total) values ('{}', 1)"
    await db.execute(
        f"begin; savepoint s; {insert.format('gone')}; rollback to s; {insert.format('kept')}; savepoint s; "
        f"{insert.format('gone too')}; rollback to s; commit"
    )
    assert (await listener.one_message())["customer_name"] == "kept"


async def test_rolled_back_changes_send_no_notification(db: Any, listener: ListeningConnection) -> None:
    await db.execute("begin; insert into orders (customer_name, total) values ('c', 1); rollback")
    await db.execute("insert into orders (customer_name, total) select 'c', 1 where false")
    assert await listener.all_payloads() == []


async def test_orders_notify_off_sends_no_notification(db: Any, listener: ListeningConnection) -> None:
    await db.execute("set orders.notify = off")
    await add_orders(db, "pending")
    await db.execute("truncate orders")
    assert await listener.all_payloads() == []
    assert len(await recorded_events(db)) == 2
    await db.execute("reset orders.notify")
    await add_orders(db, "pending")
    assert (await listener.one_message())["type"] == "new_order"


async def test_without_a_server_the_first_change_after_quiet_notifies(db: Any, bystander: ListeningConnection) -> None:
    await db.execute(INSERT_SQL.format("first"))
    assert (await bystander.one_message())["customer_name"] == "first"
    await db.execute(f"select orderwire.extend_notify_lease(); {INSERT_SQL.format('under the lease')}")
    assert await bystander.all_payloads() == []
    await db.execute(END_LEASE_SQL)
    await db.execute(INSERT_SQL.format("after it"))
    assert (await bystander.one_message())["customer_name"] == "after it"


async def test_without_a_server_writers_notify_five_times_a_second(database_url: str, db: Any) -> None:
    """Whatever the number of writers: the sixth notification comes a second after the first one at the earliest."""
    notified: asyncio.Queue[float] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    listening = await asyncpg.connect(database_url)
    await listening.add_listener("orders", lambda *call: notified.put_nowait(loop.time()))
    commits = 0

    async def write(connection: Any) -> None:
        nonlocal commits
        while True:
            await connection.execute(INSERT_SQL.format("c"))
            commits += 1

    async with open_connections(database_url, 8) as writers:
        started_at = loop.time()
        tasks = [asyncio.create_task(write(connection)) for connection in writers]
        for number in range(1, 7):
            at = await within(TIMEOUT_SECONDS, notified.get(), f"notification {number}")
            assert at - started_at >= (number - 1) * 0.2, f"notification {number} of {commits} commits"
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    await listening.close()


async def test_transaction_that_is_rolled_back_or_stays_open_does_not_take_the_lease(
    database_url: str, db: Any, bystander: ListeningConnection
) -> None:
    async with open_connections(database_url, 1) as (other,):
        await other.execute(f"begin; {INSERT_SQL.format('rolled back')}; rollback; begin; {INSERT_SQL.format('open')}")
        await db.execute(INSERT_SQL.format("meanwhile"))
        assert (await bystander.one_message())["customer_name"] == "meanwhile"
        await db.execute(END_LEASE_SQL)
        await other.execute("commit")
        assert (await bystander.one_message())["customer_name"] == "open"


async def test_transaction_looks_at_the_lease_again_when_it_commits(
    database_url: str, db: Any, bystander: ListeningConnection
) -> None:
    async with open_connections(database_url, 1) as (other,):
        await other.execute(f"begin; {INSERT_SQL.format('long')}")
        await other.execute("select orderwire.extend_notify_lease(); commit")
        assert await bystander.all_payloads() == []
        # A session that requires notifications in between gets it.
        await db.execute(END_LEASE_SQL)
        await other.execute(f"begin; {INSERT_SQL.format('long again')}")
        assert await db.fetchval("select orderwire.require_notify()")
        assert not await db.fetchval("select orderwire.silent_writers()")
        await other.execute("select orderwire.extend_notify_lease(); set constraints all immediate")
        assert not await db.fetchval("select orderwire.silent_writers()")
        await other.execute("commit")
        assert (await bystander.one_message())["customer_name"] == "long again"


async def test_change_under_the_lease_of_another_writer_is_heard_when_it_commits_after_it(
    database_url: str, db: Any, bystander: ListeningConnection
) -> None:
    async with open_connections(database_url, 1) as (other,):
        await other.execute("begin")
        await other.execute("select pg_sleep(0.1)")  # so old, it is none that is about to end
        await db.execute(INSERT_SQL.format("takes the lease"))
        await other.execute(INSERT_SQL.format("long"))
        assert (await bystander.one_message())["customer_name"] == "takes the lease"
        await db.execute(END_LEASE_SQL)
        await other.execute("commit")
        assert (await bystander.one_message())["customer_name"] == "long"


async def test_transaction_that_has_just_begun_builds_no_notification_under_the_lease_of_another_writer(
    db: Any, bystander: ListeningConnection
) -> None:
    """Not only sends none: a writer without a server costs what the journal costs."""
    await db.execute(INSERT_SQL.format("takes the lease"))  # and compiles the triggers, which may take longer than a lease
    await bystander.one_message()
    recorded = await db.fetchval("select count(*) from orderwire.notices")
    await db.execute(f"select setval('orderwire.notify_lease', (orderwire.now_ms() + 200) * 64); {INSERT_SQL.format('young')}")
    assert await bystander.all_payloads() == []
    assert await db.fetchval("select count(*) from orderwire.notices") == recorded
    assert len(await recorded_events(db)) == 2


async def test_transactions_that_commit_at_the_same_moment_leave_the_lease_to_be_taken(
    database_url: str, db: Any, bystander: ListeningConnection
) -> None:
    async with open_connections(database_url, 6) as writers:
        for number in range(60):
            await asyncio.gather(*(writer.execute(f"begin; {INSERT_SQL.format('c')}") for writer in writers))
            await asyncio.gather(*(writer.execute("commit") for writer in writers))
            assert len(await bystander.all_payloads()) >= 1, f"of commit {number} nothing is heard"
            await db.execute(END_LEASE_SQL.replace("orderwire.now_ms() * 64 - 64", END_OF_THIS_LEASE))


async def test_writer_that_skips_at_commit_is_seen_by_a_server_that_asks(
    database_url: str, db: Any, bystander: ListeningConnection
) -> None:
    async with open_connections(database_url, 1) as (other,):
        await other.execute(f"begin; {INSERT_SQL.format('c')}")
        assert not await db.fetchval("select orderwire.silent_writers()")
        await other.execute("select orderwire.extend_notify_lease(); set constraints all immediate")
        assert await db.fetchval("select orderwire.silent_writers()")
        await other.execute("commit")
        assert await bystander.all_payloads() == []


@pytest.mark.parametrize("lease", ["orderwire.now_ms() + 3000", "orderwire.now_ms() + 100000000000"])
async def test_lease_of_a_clock_that_was_set_back_does_not_hold(db: Any, bystander: ListeningConnection, lease: str) -> None:
    await db.execute(f"select setval('orderwire.notify_lease', ({lease}) * 64); {INSERT_SQL.format('c')}")
    assert (await bystander.one_message())["type"] == "new_order"


async def test_lease_that_was_not_taken_to_the_end_silences_63_changes_at_most(db: Any, bystander: ListeningConnection) -> None:
    await db.execute(INSERT_SQL.format("c"))
    assert len(await bystander.all_payloads()) == 1
    await db.execute(END_LEASE_SQL)
    await db.execute("select nextval('orderwire.notify_lease')")  # and then the server has crashed
    await db.execute(INSERT_SQL.format("silent"))
    assert await bystander.all_payloads() == []
    for _ in range(63):
        await db.execute(INSERT_SQL.format("c"))
    assert len(await bystander.all_payloads()) == 1


async def test_writer_needs_no_right_for_what_happens_at_commit(
    database_url: str, db: Any, bystander: ListeningConnection
) -> None:
    """Before PostgreSQL 18 a deferred trigger has the rights of the role at COMMIT."""
    await db.execute("drop role if exists plain_writer; create role plain_writer login; grant insert on orders to plain_writer")
    await db.execute(f"set role plain_writer; {INSERT_SQL.format('notifies')}")
    assert (await bystander.one_message())["customer_name"] == "notifies"
    await db.execute(f"begin; {INSERT_SQL.format('silent')}; reset role")
    await db.execute("select orderwire.extend_notify_lease(); set role plain_writer; commit; reset role")
    assert await bystander.all_payloads() == []
    await db.execute("drop owned by plain_writer; drop role plain_writer")


async def test_notification_on_behalf_of_writers_waits_for_no_flush(db: Any) -> None:
    row = await db.fetchrow("select orderwire.notify_on_behalf(1)::text, current_setting('synchronous_commit') as flush")
    assert row["flush"] == "off"
    assert await db.fetchval("show synchronous_commit") == "on"


async def test_session_that_requires_notify_gets_every_notification(
    database_url: str, db: Any, bystander: ListeningConnection
) -> None:
    listener = bystander
    other = await asyncpg.connect(database_url)
    server = await asyncpg.connect(database_url)
    await db.execute("select orderwire.extend_notify_lease()")
    assert await server.fetchval("select orderwire.require_notify()")
    async with other.transaction():
        await other.execute("insert into orders (customer_name, total) values ('first', 1)")
        await db.execute("insert into orders (customer_name, total) values ('meanwhile', 1)")
        assert (await listener.one_message())["customer_name"] == "meanwhile"
    assert (await listener.one_message())["customer_name"] == "first"
    assert not await server.fetchval("select orderwire.silent_writers()")
    await server.close()
    await other.close()


@pytest.mark.postgres
async def test_orders_notify_off_permits_two_phase_commit(server: EmbeddedPostgres) -> None:
    """PREPARE TRANSACTION fails after a NOTIFY."""
    connection = await asyncpg.connect(server.start())
    await connection.execute("alter system set max_prepared_transactions = 2")
    await connection.close()
    server.release()
    url = server.start()
    await migrate(url)
    await create_starter(url)
    connection = await asyncpg.connect(url)
    add = "insert into orders (customer_name, total) values ('c', 1)"
    await connection.execute(END_LEASE_SQL)
    try:
        with pytest.raises(asyncpg.FeatureNotSupportedError):
            await connection.execute(f"begin; {add}; prepare transaction 'loud'")
        await connection.execute("rollback; set orders.notify = off")
        await connection.execute(f"begin; {add}; prepare transaction 'quiet'")
        assert await connection.fetchval("select count(*) from orderwire.journal") == 0
        await connection.execute("commit prepared 'quiet'")
        assert await connection.fetchval("select count(*) from orderwire.journal") == 1
    finally:
        await connection.close()
