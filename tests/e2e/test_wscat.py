"""What is written with psql is what wscat prints: frame by frame as in the contract."""

from __future__ import annotations

import re
import subprocess
from datetime import UTC, datetime, timedelta

from tests.e2e.conftest import Checkout, Wscat, printed_psql
from tests.support import BASE_ENVIRONMENT, TIMEOUT_SECONDS, Message, Server

EMPTY = {"type": "analytics_update", "total_orders": 0, "total_revenue": "0", "pending_orders": 0}


def without_id_and_time(event: Message) -> Message:
    """The rest of the event, once its ``id``, ``at`` and ``created_at`` are what they have to be."""
    assert re.fullmatch(r"\S+", event["id"])
    for moment in map(datetime.fromisoformat, (event["at"], event["created_at"])):
        assert moment.utcoffset() == timedelta(0)
        assert abs(datetime.now(UTC) - moment) < timedelta(minutes=10)
    return {name: value for name, value in event.items() if name not in ("id", "at", "created_at")}


async def test_an_insert_and_an_update_with_make_psql_and_the_printed_psql(checkout: Checkout, wscat: Wscat) -> None:
    assert wscat.frames[0] == EMPTY
    server = checkout.processes[0]
    assert isinstance(server, Server)

    inserted = checkout.psql("insert into orders (customer_name, total) values ('Иван Иванов', 150.50);\n")
    assert inserted.returncode == 0, inserted.stderr
    assert inserted.stdout == "INSERT 0 1\n"
    await wscat.process.wait_for_line("new_order")
    await wscat.wait_for_totals(1)
    updated = subprocess.run(
        f"{printed_psql(server)} -c \"update orders set status = 'preparing' where id = 1\"",
        shell=True,
        env=BASE_ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    assert updated.returncode == 0, updated.stderr
    await wscat.process.wait_for_line("order_status_update")
    await wscat.process.wait_for_line('"pending_orders":0', start_index=1)

    year = datetime.now(UTC).year
    head = {"order_id": 1, "key": "1", "order_number": f"ORD-{year}-001"}
    assert [without_id_and_time(event) for event in wscat.events] == [
        {"type": "new_order", **head, "customer_name": "Иван Иванов", "total": "150.50", "status": "pending"},
        {"type": "order_status_update", **head, "total": "150.50", "status": "preparing", "previous_status": "pending"},
    ]
    assert len({event["id"] for event in wscat.events}) == 2
    assert [frame for frame in wscat.frames if frame["type"] == "analytics_update"] == [
        EMPTY,
        {"type": "analytics_update", "total_orders": 1, "total_revenue": "150.50", "pending_orders": 1},
        {"type": "analytics_update", "total_orders": 1, "total_revenue": "150.50", "pending_orders": 0},
    ]


async def test_copy_rollback_and_truncate(checkout: Checkout, wscat: Wscat) -> None:
    rows = "".join(f"guest {n}\t{n}.25\n" for n in range(1, 1001))
    assert checkout.psql(f"copy orders (customer_name, total) from stdin;\n{rows}\\.\n").stdout == "COPY 1000\n"
    totals = await wscat.wait_for_totals(1000)
    assert totals["total_revenue"] == f"{sum(range(1, 1001)) + 250}.00"
    copied = wscat.events
    assert [(event["type"], event["order_id"], event["customer_name"], event["total"]) for event in copied] == [
        ("new_order", n, f"guest {n}", f"{n}.25") for n in range(1, 1001)
    ]

    # The order after it shows that nothing of the rolled-back one was on its way.
    checkout.psql(
        "begin; insert into orders (customer_name, total) values ('rolled back', 1); rollback;"
        "insert into orders (customer_name, total) values ('committed', 2);"
    )
    await wscat.wait_for_totals(1001)
    after = wscat.events[1000:]
    assert [(event["type"], event["customer_name"]) for event in after] == [("new_order", "committed")]

    checkout.psql("truncate orders;")
    assert await wscat.wait_for_totals(0, after=1) == EMPTY
    deleted = wscat.events[1001:]
    assert {event["type"] for event in deleted} == {"order_delete"}
    assert [event["order_id"] for event in deleted] == [event["order_id"] for event in copied + after]
    assert len({event["id"] for event in wscat.events}) == 2002
