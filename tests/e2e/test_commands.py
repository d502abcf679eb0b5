"""``make run`` and its companions, from start to Ctrl-C."""

from __future__ import annotations

import re
import signal

import asyncpg

from tests.e2e.conftest import Checkout, accepts_connections, ctrl_c, database_url
from tests.support import Client, Connect

INSERT = "insert into orders (customer_name, total) values ('Anna', 5);"


async def test_ctrl_c_drains_and_stops_postgres_and_the_next_run_keeps_the_data(
    new_checkout: Checkout, connect: Connect
) -> None:
    checkout = new_checkout
    first = await checkout.run()
    assert "creating a database" in first.output
    client: Client = await connect(first.ws_url)
    assert checkout.psql(INSERT).returncode == 0
    await client.wait_until(lambda c: len(c.events) == 1, "the event")
    assert await ctrl_c(first) == -signal.SIGINT  # make's own way to end; an error of the server would be 2
    assert await client.wait_closed() == 3001
    assert "make:" not in first.output
    assert "WARNING" not in first.output
    assert checkout.postgres_pid is None
    assert not accepts_connections(database_url(first))

    second = await checkout.run()
    assert "creating a database" not in second.output
    again: Client = await connect(second.ws_url)
    assert checkout.psql(INSERT).returncode == 0
    await again.wait_until(lambda c: len(c.events) == 1, "the next event")
    assert again.messages[0]["total_orders"] == 1
    assert [event["order_id"] for event in client.events + again.events] == [1, 2]
    epochs = {event["id"].split("-")[0] for event in client.events + again.events}
    assert len(epochs) == 1  # a client may go on with the cursor that it has


async def test_after_kill_9_the_next_run_attaches_to_the_postgres_still_running(checkout: Checkout, connect: Connect) -> None:
    first = await checkout.run()
    url, pid = database_url(first), checkout.postgres_pid
    assert pid is not None
    await ctrl_c(first, signal.SIGKILL)
    assert accepts_connections(url)

    connection = await asyncpg.connect(url)
    await connection.execute(INSERT)
    second = await checkout.run()
    assert "starting PostgreSQL" not in second.output
    assert database_url(second) == url
    assert checkout.postgres_pid == pid
    client: Client = await connect(second.ws_url)
    await client.wait_until(lambda c: len(c.messages) == 1, "first frame")
    assert client.totals["total_orders"] == 1
    await connection.execute(INSERT)
    await client.wait_until(lambda c: len(c.events) == 1, "an event")
    await connection.close()
    await ctrl_c(second)
    assert not accepts_connections(url)


async def test_make_psql_starts_and_stops_postgres_by_itself(checkout: Checkout) -> None:
    done = checkout.psql("select 6 * 7 as answer \\g (format=unaligned tuples_only=on)\n")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "42\n"  # so that it can be piped on: nothing but what psql says
    assert checkout.postgres_pid is None

    done = checkout.psql(ARGS="""-At -c "select 'a  b'" -c 'select 2'""")
    assert (done.returncode, done.stdout) == (0, "a  b\n2\n"), done.stderr

    failed = checkout.psql("\\set ON_ERROR_STOP on\nselect nonsense;\n")
    assert failed.returncode != 0
    assert 'column "nonsense" does not exist' in failed.stderr


async def test_make_demo_makes_events_until_ctrl_c(checkout: Checkout, connect: Connect) -> None:
    server = await checkout.run()
    client: Client = await connect(server.ws_url)
    demo = await checkout.start("demo", "RATE=50")
    kinds = {"new_order", "order_status_update"}
    await client.wait_until(lambda c: {e["type"] for e in c.events} >= kinds and len(c.events) >= 30, "30 events of both kinds")
    assert await ctrl_c(demo) == -signal.SIGINT
    assert "make:" not in demo.output
    printed = [line for line in demo.lines if line.startswith("order ")]
    await client.wait_until(lambda c: len(c.events) >= len(printed), "an event for every line of the demo")


async def test_make_watch_prints_one_readable_line_for_each_event(checkout: Checkout) -> None:
    watch = await checkout.start("watch")
    await watch.wait_for_line("0 orders, revenue 0, 0 pending")
    checkout.psql(
        "insert into orders (customer_name, total) values ('Zoë \x1b[31m', 150.50);"
        "update orders set status = 'preparing';"
        "update orders set total = 99, customer_name = 'Иван Иванов';"
        "delete from orders;"
    )
    await watch.wait_for_line("deleted")
    assert await ctrl_c(watch) == -signal.SIGINT
    lines = [line for line in watch.lines if "ORD-" in line]
    number = re.findall(r"ORD-\d{4}-001", lines[0])[0]
    assert [re.sub(r"^\d\d:\d\d:\d\d ", "", line) for line in lines] == [
        f"new      {number}  Zoë �[31m  150.50  pending",
        f"status   {number}  pending → preparing",
        f"changed  {number}  customer_name: Иван Иванов, total: 99.00",
        f"deleted  {number}",
    ]
    assert checkout.postgres_pid is None


async def test_make_run_with_several_workers(checkout: Checkout, connect: Connect) -> None:
    """The supervisor owns PostgreSQL, which stops after the last worker. Each line of the announcement is printed once."""
    server = await checkout.run("WORKERS=2")
    # Of the build, if the dashboard is not built yet, and of PostgreSQL.
    before = ("building", "installing", "creating", "starting")
    printed = [line.split()[0] for line in server.lines if not line.startswith(before) and "INFO" not in line]
    assert printed == ["dashboard", "websocket", "psql", "login", "ready;"]
    client: Client = await connect(server.ws_url)
    assert checkout.psql(INSERT).returncode == 0
    await client.wait_until(lambda c: len(c.events) == 1, "the event")
    assert await ctrl_c(server) == -signal.SIGINT
    assert await client.wait_closed() == 3001
    assert "make:" not in server.output
    assert "WARNING" not in server.output
    assert checkout.postgres_pid is None
    assert not accepts_connections(database_url(server))
