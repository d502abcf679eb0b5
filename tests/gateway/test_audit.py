"""Changes without events: the audit corrects the totals, and another journal under the same address is detected."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import asyncpg
import pytest

from db.embedded.postgres import EmbeddedPostgres
from db.migrate import migrate
from tests.conftest import needs_own_reader
from tests.gateway.conftest import App, StartApp, StartTarget
from tests.support import WORKERS, Client, Connect, Process

OFTEN = {"AUDIT_SECONDS": "0.1"}


async def order(db: Any, name: str) -> None:
    await db.execute("insert into orders (customer_name, total) values ($1, 10)", name)


async def connected_after_one_event(app: App, connect: Connect, db: Any) -> Client:
    client = await connect(app.ws_url)
    await order(db, "first")
    await client.wait_until(lambda c: len(c.events) == 1, "the first event")
    return client


def was_told_to_fetch_again(client: Client) -> bool:
    told = [(frame["recovered"], frame["replayed"]) for frame in client.of_type("resumed")]
    return (False, 0) in told and len(set(told)) == 1


async def assert_not_resumed(app: App, connect: Connect, cursor: str) -> None:
    back = await connect(f"{app.ws_url}?last_event_id={cursor}")
    await back.wait_until(lambda c: bool(c.of_type("resumed")), "an answer")
    assert was_told_to_fetch_again(back)


@pytest.mark.parametrize(
    ("disable_triggers", "enable_triggers"),
    [
        ("set session_replication_role = replica", "reset session_replication_role"),
        ("alter table orders disable trigger all", "alter table orders enable trigger all"),
    ],
)
async def test_changes_without_triggers_are_found_and_the_totals_corrected(
    start_app: StartApp, connect: Connect, db: Any, disable_triggers: str, enable_triggers: str
) -> None:
    app = await start_app(**OFTEN)
    client = await connected_after_one_event(app, connect, db)
    # One transaction: an audit between the two changes would correct the totals twice.
    async with db.transaction():
        await db.execute(disable_triggers)
        await db.execute(
            "insert into orders (order_number, customer_name, total) select n, 'silent', 5 from generate_series(1, 7) n"
        )
        await db.execute("update orders set status = 'ready' where customer_name = 'first'")
        await db.execute(enable_triggers)
    await client.wait_until(lambda c: c.totals["total_orders"] == 8, "corrected totals")
    assert client.totals == {"type": "analytics_update", "total_orders": 8, "total_revenue": "45.00", "pending_orders": 7}
    drift = "WARNING the totals had drifted by +7 orders, +35.00 revenue, +6 pending"
    assert drift in await app.log.wait_for_line("drifted")
    await order(db, "loud")
    await client.wait_until(lambda c: c.totals["total_orders"] == 9, "later changes are added")
    assert [event["customer_name"] for event in client.events] == ["first", "loud"]


FROM_CHECKPOINT = "from the checkpoint and the journal since"


@needs_own_reader
async def test_after_a_start_from_a_checkpoint_the_first_audit_is_soon(
    start_target: StartTarget, connect: Connect, db: Any
) -> None:
    rarely = {"AUDIT_SECONDS": "3600", "LOG_LEVEL": "DEBUG"}
    await order(db, "before")
    first = await start_target(**rarely)
    await first.wait_for_line("totals and position by a scan")
    async with db.transaction():
        await db.execute("set local session_replication_role = replica")
        await db.execute("insert into orders (order_number, customer_name, total) values ('silent', 'silent', 5)")
    await order(db, "after")
    await first.kill()
    if WORKERS == 1:  # of several, those that start last may find a checkpoint of the first
        assert FROM_CHECKPOINT not in "\n".join(first.lines)

    second = await start_target(**rarely)
    await second.wait_for_line(FROM_CHECKPOINT)
    client = await connect(second.ws_url)
    await client.wait_until(lambda c: bool(c.messages), "the first message")
    await client.wait_until(lambda c: c.totals["total_orders"] == 3, "the silent change is found before AUDIT_SECONDS")
    assert "drifted by +1 orders, +5.00" in await second.wait_for_line("drifted")
    assert client.totals["total_revenue"] == "25.00"
    await order(db, "live")
    await client.wait_until(lambda c: c.totals["total_orders"] == 4, "later changes are added")
    await second.kill()

    # The audit's count is the checkpoint of the third, whose totals are right from the start.
    third = await start_target(**rarely)
    await third.wait_for_line(FROM_CHECKPOINT)
    newcomer = await connect(third.ws_url)
    await newcomer.wait_until(lambda c: bool(c.messages), "the first message")
    assert newcomer.messages[0] == {
        "type": "analytics_update",
        "total_orders": 4,
        "total_revenue": "35.00",
        "pending_orders": 4,
    }


async def run_program(postgres: EmbeddedPostgres, program: str, *arguments: str) -> None:
    process = await Process.start(str(postgres.bin_dir / program), *arguments)
    assert await process.wait_for_exit() == 0, process.output


async def test_a_restored_dump_is_another_journal(
    postgres: EmbeddedPostgres,
    start_app: StartApp,
    connect: Connect,
    database_url: str,
    empty_database_url: str,
    db: Any,
    tmp_path: Path,
) -> None:
    client = await connected_after_one_event(await start_app(), connect, db)
    cursor = client.events[0]["id"]
    # A wrong checkpoint: a copy must not use it.
    await db.execute("update orderwire.checkpoint set total_orders = 1000")
    await run_program(postgres, "pg_dump", "--format=custom", f"--file={tmp_path / 'dump'}", database_url)
    await run_program(postgres, "pg_restore", "--exit-on-error", f"--dbname={empty_database_url}", str(tmp_path / "dump"))

    app = await start_app(empty_database_url)
    await assert_not_resumed(app, connect, cursor)
    fresh = await connect(app.ws_url)
    copy = await asyncpg.connect(empty_database_url)
    await order(copy, "in the copy")
    await copy.close()
    await fresh.wait_until(lambda c: len(c.events) == 1 and c.totals["total_orders"] == 2, "its event and totals")
    assert fresh.events[0]["id"].split("-")[0] != cursor.split("-")[0]


async def test_a_reinstalled_schema_is_another_journal(
    start_app: StartApp, connect: Connect, database_url: str, db: Any
) -> None:
    app = await start_app(**OFTEN)
    client = await connected_after_one_event(app, connect, db)
    order_map = await db.fetchval("select map from orderwire.attached_tables")
    await db.execute("drop schema orderwire cascade")
    await app.log.wait_for_line("the journal cannot be read")
    await order_without_number(db)
    await migrate(database_url)
    await client.wait_until(was_told_to_fetch_again, "the client is told")
    await client.wait_until(lambda c: c.totals["total_orders"] == 0, "no table is attached")
    await db.execute("select orderwire.attach('public.orders', $1)", order_map)
    await client.wait_until(lambda c: c.totals["total_orders"] == 2, "the totals are counted again")
    orders = 2
    # The audit may tell the client to fetch again once more, which includes these.
    while len(client.events) == 1:
        orders += 1
        await order(db, "after it")
        await client.wait_until(lambda c: c.totals["total_orders"] == orders, "the totals after it")  # noqa: B023
    await assert_not_resumed(app, connect, client.events[0]["id"])


async def order_without_number(db: Any) -> None:
    """Without the schema the change makes no event."""
    await db.execute("insert into orders (order_number, customer_name, total) values ('by hand', 'in between', 10)")


async def test_delivered_events_that_are_lost_are_a_gap(start_app: StartApp, connect: Connect, db: Any) -> None:
    app = await start_app(**OFTEN)
    client = await connected_after_one_event(app, connect, db)
    # The state after a crash with synchronous_commit = off: the event was delivered, but neither it nor its order exists.
    async with db.transaction():
        await db.execute("set local session_replication_role = replica")
        await db.execute("delete from orders")
        await db.execute("delete from orderwire.journal")
    await client.wait_until(was_told_to_fetch_again, "the client is told")
    await client.wait_until(lambda c: c.totals["total_orders"] == 0, "the totals are counted again")
    orders = 0
    while len(client.events) == 1:
        orders += 1
        await order(db, "after it")
        await client.wait_until(lambda c: c.totals["total_orders"] == orders, "the totals after it")  # noqa: B023
    assert client.events[1]["id"].split("-")[0] != client.events[0]["id"].split("-")[0]
    await assert_not_resumed(app, connect, client.events[0]["id"])
