"""db/database.py: the queries of the pool, its errors, and the release of its connections."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import Any

import pytest

from db.database import _ORDER_SETTINGS_SQL, Database
from db.embedded.postgres import EmbeddedPostgres
from db.errors import DatabaseMisconfigured, DatabaseTimeout, DatabaseUnavailable, PrivilegeMissing, SchemaMissing
from db.order_lists import LIST_SQL
from push.journal.events import Snapshot
from push.protocol.order_list import ListCursor, OrderFilter, OrderOwner, OrderPageRequest
from tests.helpers.tcp_proxy import TcpProxy, url_via_proxy
from tests.support import TIMEOUT_SECONDS, free_port, url_with_role, within


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with Database(database_url).open() as database:
        yield database


@pytest.fixture
async def proxy(postgres: EmbeddedPostgres) -> AsyncIterator[tuple[TcpProxy, int]]:
    """A proxy in front of the tests' PostgreSQL, and its port."""
    proxy = TcpProxy(int(postgres.url.rsplit(":", 1)[1].split("/")[0]))
    yield proxy, await proxy.start()
    await proxy.stop()


async def insert_orders(db: Any) -> None:
    await db.execute(
        """
        insert into orders (customer_name, customer_id, total, status)
        values ('a', 'anna', 1, 'pending'), ('b', 'ben', 2, 'ready'), ('c', 'anna', 3, 'ready'), ('d', null, 4, 'pending')
        """
    )


def ids(orders: Sequence[str]) -> list[int]:
    return [int(order.partition('"id":')[2].partition(",")[0]) for order in orders]


async def test_latest_orders_are_limited_and_filtered(database: Database, db: Any) -> None:
    await insert_orders(db)
    first = await database.list_orders(OrderPageRequest(3))
    assert ids(first.orders) == [4, 3, 2]
    assert ids((await database.list_orders(OrderPageRequest(10, OrderFilter(("ready",))))).orders) == [3, 2]
    last = await database.list_orders(OrderPageRequest(10, after=first.next_cursor))
    assert (ids(last.orders), last.next_cursor, last.complete) == ([1], None, True)
    assert isinstance(last.position.after, Snapshot)


async def test_orders_of_a_customer_are_those_of_the_subject_or_the_ids(database: Database, db: Any) -> None:
    await insert_orders(db)
    for owner, expected in (
        (OrderOwner("anna", frozenset()), [3, 1]),
        (OrderOwner("anna", frozenset({"4"})), [4, 3, 1]),
        (OrderOwner(None, frozenset({"2", "4"})), [4, 2]),  # one with a customer, one without
        (OrderOwner(None, frozenset({"x"})), []),
        (OrderOwner(None, frozenset()), []),
    ):
        assert ids((await database.list_orders(OrderPageRequest(10, owner=owner))).orders) == expected
    assert await database.owned_keys("anna", ["1", "2", "3", "4", "99", "x"]) == {"1", "3"}


@pytest.mark.parametrize("at", ["0044-03-15 12:00:00+00 BC", "infinity"])
async def test_a_time_that_the_driver_cannot_read_fails_no_list(database: Database, db: Any, at: str) -> None:
    await db.execute("insert into orders (customer_name, total) values ('Anna', 1)")
    await db.execute(f"insert into orderwire.journal (is_order, key, at) values (true, '7', '{at}')")
    page = await database.list_orders(OrderPageRequest(10))
    assert ids(page.orders) == [1]
    assert page.position.witness is not None
    assert await database.journal.writer_snapshot(page.position.witness) is not None


async def test_lists_use_the_indexes(database: Database, db: Any) -> None:
    """Of a large table: a page in the middle does not read what comes before it."""
    await db.execute("insert into orders (customer_name, total) select 'c', 1 from generate_series(1, 20000)")
    await db.execute("update orders set created_at = created_at + id * interval '1 second'")
    await db.execute("vacuum analyze orders")
    after = (await database.list_orders(OrderPageRequest(1, after=ListCursor("2200-01-01", "1")))).next_cursor
    assert after is not None
    await db.execute(_ORDER_SETTINGS_SQL)
    for arguments in ((3, None, None), (3, *after)):
        plan = await db.fetch("explain (analyze, costs off, timing off) " + LIST_SQL.replace("p.*, l.*", "*"), *arguments)
        text = "\n".join(row[0] for row in plan)
        assert "Seq Scan on orders" not in text, text
        assert "rows=20000" not in text, text


async def test_order_and_its_history_are_found_by_key(database: Database, db: Any) -> None:
    await insert_orders(db)
    await db.execute("update orders set status = 'delivered' where id = 3")
    order = json.loads(await database.find_order("3") or "null")
    assert (order["id"], order["status"], order["total"]) == (3, "delivered", "3.00")
    assert [json.loads(event)["type"] for event in await database.order_history("3", 10)] == [
        "order_status_update",
        "new_order",
    ]
    assert len(await database.order_history("3", 1)) == 1
    for key in ("99", "x", "", "9" * 30):
        assert await database.find_order(key) is None
        assert await database.order_history(key, 10) == []
    assert await database.find_order("3", OrderOwner("ben", frozenset())) is None
    assert await database.find_order("3", OrderOwner("ben", frozenset({"3"}))) is not None
    assert await database.order_history("3", 10, OrderOwner("ben", frozenset())) == []
    assert len(await database.order_history("3", 10, OrderOwner("anna", frozenset()))) == 2


async def test_database_without_an_attached_table_has_no_orders(database: Database, db: Any) -> None:
    await insert_orders(db)
    assert (await database.shop_info()).table == "public.orders"
    await db.execute("select orderwire.detach()")
    assert (await database.shop_info()).table is None
    assert ids((await database.list_orders(OrderPageRequest(10))).orders) == []
    assert ids((await database.list_orders(OrderPageRequest(10, OrderFilter(search="a")))).orders) == []
    assert await database.find_order("1") is None
    assert (await database.journal.scan_totals()).totals.orders == 0


async def test_state_contains_the_revoked_subjects(database: Database, db: Any) -> None:
    usage, revoked = await database.poll_state()
    assert 0 <= usage < 1
    assert revoked == {}
    await db.execute("select orderwire.revoke('anna')")
    _, revoked = await database.poll_state()
    now = await db.fetchval("select extract(epoch from now())::float8")
    assert abs(revoked.pop("anna") - now) < TIMEOUT_SECONDS
    assert revoked == {}


async def test_superuser_is_recognized(database: Database, database_url: str, db: Any) -> None:
    assert await database.is_superuser()
    await db.execute("create role plain_user login password 'p'; select orderwire.grant_serving('plain_user')")
    try:
        async with Database(url_with_role(database_url, "plain_user", "p")).open() as plain:
            assert not await plain.is_superuser()
    finally:
        await db.execute("drop owned by plain_user; drop role plain_user")


async def test_maintenance_creates_partitions(database: Database, db: Any) -> None:
    before = await db.fetchval("select count(*) from orderwire.journal_partitions")
    await database.maintain_partitions(timedelta(seconds=10))
    assert await db.fetchval("select count(*) from orderwire.journal_partitions") > before


async def test_journal_is_read_with_the_session_settings(database: Database, db: Any) -> None:
    await insert_orders(db)
    baseline = await database.journal.scan_totals()
    assert baseline.totals.orders == 4
    rows = await database._fetch_from_journal("show enable_seqscan")
    assert [row[0] for row in rows] == ["off"]
    async with database._acquire() as connection:  # the release has reset it for other queries
        assert await connection.fetchval("show enable_seqscan") == "on"


async def test_unreachable_server_is_unavailable(database_url: str) -> None:
    closed = url_via_proxy(database_url, int(free_port()))
    async with Database(closed).open() as database:  # opens no connection
        with pytest.raises(DatabaseUnavailable):
            await database.is_superuser()


async def test_a_wrong_password_is_misconfigured_and_a_missing_database_may_come(database_url: str, db: Any) -> None:
    async with Database(database_url.rsplit("/", 1)[0] + "/missing").open() as database:
        with pytest.raises(DatabaseUnavailable, match="missing"):
            await database.is_superuser()
    async with Database(url_with_role(database_url, "postgres", "wrong")).open() as database:
        with pytest.raises(DatabaseMisconfigured, match="password"):
            await database.is_superuser()


async def test_query_on_a_half_open_connection_is_unavailable_after_the_time_out(
    database_url: str, proxy: tuple[TcpProxy, int]
) -> None:
    between, port = proxy
    async with Database(url_via_proxy(database_url, port), timeout_seconds=0.3).open() as database:
        assert await database.is_superuser()
        between.stalled = True
        with pytest.raises(DatabaseUnavailable):
            await database.is_superuser()
        between.stalled = False
        await database.expire_connections()
        assert await within(TIMEOUT_SECONDS, database.is_superuser(), "a new connection")


async def test_a_slow_query_a_missing_privilege_and_a_missing_schema_are_told_apart(database_url: str, db: Any) -> None:
    await db.execute("create role unprivileged login password 'secret'")
    wanted = OrderPageRequest(limit=1)
    try:
        async with Database(database_url, timeout_seconds=0.3).open() as database:
            async with db.transaction():
                await db.execute("lock table orderwire.journal_identity in access exclusive mode")
                with pytest.raises(
                    DatabaseTimeout, match=r"^a query took longer than 0\.3 s \(DATABASE_TIMEOUT_SECONDS\)$"
                ) as late:
                    await database.list_orders(wanted)
            assert "took longer than DATABASE_TIMEOUT_SECONDS" in late.value.public_text
        async with Database(url_with_role(database_url, "unprivileged", "secret")).open() as database:
            with pytest.raises(PrivilegeMissing, match=r"^the role unprivileged .*grant_serving\('unprivileged'\)") as denied:
                await database.list_orders(wanted)
            assert "lacks a privilege" in denied.value.public_text
            assert "unprivileged" not in denied.value.public_text  # any client may read it
        async with Database(database_url).open() as database:
            await db.execute("select orderwire.uninstall()")
            with pytest.raises(SchemaMissing, match=r"python server\.py migrate") as missing:
                await database.list_orders(wanted)
            assert "migrate" in missing.value.public_text
    finally:
        await db.execute("drop owned by unprivileged; drop role unprivileged")


async def test_expired_connections_are_replaced(database: Database) -> None:
    async def backend_pid() -> int:
        async with database._acquire() as connection:
            pid = int(await connection.fetchval("select pg_backend_pid()"))
        await asyncio.gather(*database._release_tasks)
        return pid

    first = await backend_pid()
    assert await backend_pid() == first
    await database.expire_connections()
    assert await backend_pid() != first


async def test_cancelled_query_on_a_lost_connection_leaves_no_unretrieved_error(
    proxy: tuple[TcpProxy, int], database_url: str
) -> None:
    between, port = proxy
    database = Database(url_via_proxy(database_url, port))
    unhandled: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unhandled.append(context))
    before = asyncio.all_tasks()

    async def query() -> None:
        async with database._acquire() as connection:
            await connection.execute("select 1")
            between.stalled = True  # the reset of the connection gets no response

    async with database.open():
        querying = asyncio.create_task(query())
        while not between.stalled:
            await asyncio.sleep(0)
        querying.cancel()
        await asyncio.wait([querying])
        releasing = [task for task in asyncio.all_tasks() - before if "release" in repr(task.get_coro())]
        assert releasing
        await between.stop()
        await asyncio.wait(releasing)
        releasing.clear()
        gc.collect()
        assert unhandled == []


async def test_a_pool_that_gets_no_connection_does_not_try_again_for_each_query(
    postgres: EmbeddedPostgres, database_url: str, db: Any, proxy: tuple[TcpProxy, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each query of a client would be another login with a wrong password."""
    monkeypatch.setattr("push.backoff.Backoff.next_delay", lambda _: TIMEOUT_SECONDS)
    between, port = proxy
    await db.execute("create role late nologin password 'secret'")
    await db.execute("select orderwire.grant_serving('late')")
    try:
        async with Database(url_with_role(url_via_proxy(database_url, port), "late", "secret")).open() as database:
            for _ in range(20):
                with pytest.raises(DatabaseMisconfigured, match='role "late" is not permitted to log in') as raised:
                    await database.poll_state()
                assert raised.value.public_text == "the server's role may not log in (NOLOGIN)"
            assert between.accepted == 2, "one attempt, with and without TLS"
            await db.execute("alter role late login")
            database.reset_backoff()
            await database.poll_state()
    finally:
        await db.execute("drop owned by late; drop role late")


async def test_history_of_an_order_does_not_show_a_table_that_was_attached_before(database: Database, db: Any) -> None:
    """Whose order of the same key is another one, of another customer."""
    await db.execute("insert into orders (customer_name, customer_id, total) values ('Anna', 'anna', 1)")
    assert len(await database.order_history("1", 10)) == 1
    await db.execute("select orderwire.detach('orders'); create table public.shop (id bigint primary key, name text)")
    await db.execute("insert into public.shop values (1, 'Kate')")
    await db.execute("""select orderwire.attach('public.shop', '{"key": "id", "customer_name": "name"}')""")
    assert await database.order_history("1", 10) == []
    await db.execute("update public.shop set name = 'Katherine'")
    [event] = await database.order_history("1", 10)
    assert json.loads(event)["customer_name"] == "Katherine"
