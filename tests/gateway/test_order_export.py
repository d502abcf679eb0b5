"""``GET /api/orders.csv``: all orders of the filters, of one moment, without a burden for anything else."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.gateway.conftest import App, StartApp
from tests.helpers.tokens import SECRET, token
from tests.support import TIMEOUT_SECONDS, StartServer, within

COLUMNS = ["key", "number", "created_at", "customer_name", "customer_id", "total", "currency", "status"]
# Of more than the buffers of two sockets.
BIG_SQL = """
set session_replication_role = replica;
insert into orders (order_number, customer_name, total)
select 'N-' || n, repeat('x', 1000), n from generate_series(1, $1::int) as n
"""


async def fill(db: Any, rows: int) -> None:
    """Insert so many long orders, without events."""
    statements = BIG_SQL.split(";")
    await db.execute(statements[0])
    await db.execute(statements[1], rows)
    await db.execute("reset session_replication_role")


async def export(app: App, query: str = "", **headers: str) -> list[list[str]]:
    """The rows without the first, which is checked."""
    async with app.http.get(f"/api/orders.csv{query}", headers=headers) as response:
        assert response.status == 200, await response.text()
        body = await response.read()
    assert body.startswith(b"\xef\xbb\xbf")
    assert body.count(b"\n") == body.count(b"\r\n")
    head, *rows = csv.reader(io.StringIO(body.decode("utf-8-sig"), newline=""))
    assert head[: len(COLUMNS)] == COLUMNS
    return rows


async def read_rest(response: aiohttp.ClientResponse) -> bytes:
    return await within(TIMEOUT_SECONDS, response.read(), "the end of the export")


async def test_an_export_has_every_field_of_the_filtered_orders(start_app: StartApp, db: Any) -> None:
    app = await start_app(TIME_ZONE="Europe/Warsaw")
    await db.execute(
        "insert into orders (order_number, customer_name, customer_id, total, status, created_at) values"
        " ('A-1', 'Анна \"N\"', 'user-7', 9999999999.90, 'ready', '2026-01-31 23:30+00'),"
        " ('A-2', '=cmd', null, 0, 'pending', '2026-02-01 12:00+00'), ('B-3', 'Bo', '@x', 1, 'pending', '2026-02-02 12:00+00')"
    )
    first = ["1", "A-1", "2026-02-01T00:30:00+01:00", 'Анна "N"', "user-7", "9999999999.90", "", "ready"]
    second = ["2", "A-2", "2026-02-01T13:00:00+01:00", "'=cmd", "", "0.00", "", "pending"]
    third = ["3", "B-3", "2026-02-02T13:00:00+01:00", "Bo", "'@x", "1.00", "", "pending"]
    assert await export(app) == [third, second, first]
    for query, expected in {
        "?status=pending": [third, second],
        "?status=pending&status=ready&q=a-": [second, first],
        "?from=2026-02-01&to=2026-02-02": [second, first],
        "?q=user-7": [first],
        "?q=1": [third, first],  # the total, and a part of a number
        "?q=nothing": [],
    }.items():
        assert await export(app, query) == expected, query
    async with app.http.get("/api/orders.csv") as response:
        assert response.headers["Content-Type"] == "text/csv; charset=utf-8; header=present"
        assert re.fullmatch(r'attachment; filename="orders-\d{4}-\d\d-\d\d\.csv"', response.headers["Content-Disposition"])
        assert response.headers["Cache-Control"] == "no-store"
    async with app.http.head("/api/orders.csv") as response:
        assert (response.status, response.content_type, await response.read()) == (200, "text/csv", b"")


async def test_a_customer_exports_their_own_orders(start_app: StartApp, db: Any) -> None:
    app = await start_app(JWT_SECRET=SECRET)
    await db.execute(
        "insert into orders (customer_name, customer_id, total, status) values"
        " ('a', 'anna', 1, 'ready'), ('b', 'bo', 2, 'ready'), ('c', 'anna', 3, 'pending'), ('d', null, 4, 'ready')"
    )

    async def keys(query: str, **claims: Any) -> list[str]:
        shown = {"Authorization": f"Bearer {token('customer', **claims)}"}
        return [row[0] for row in await export(app, query, **shown)]

    assert await keys("", sub="anna") == ["3", "1"]
    assert await keys("", sub="anna", orders=[4]) == ["4", "3", "1"]
    assert await keys("?status=ready", sub="anna", orders=[4]) == ["4", "1"]
    assert await keys("", orders=[2]) == ["2"]
    assert await keys("", sub="x") == []
    async with app.http.get("/api/orders.csv", headers={"Authorization": f"Bearer {token('viewer')}"}) as response:
        assert response.status == 403


async def test_members_of_data_are_further_columns(start_app: StartApp, db: Any) -> None:
    app = await start_app()
    await db.execute("create table shop (id text primary key, note text, tables int, bill numeric)")
    await db.execute("select orderwire.detach()")
    async with app.http.get("/api/orders.csv") as response:
        assert (await response.text("utf-8-sig")).split("\r\n") == [",".join(COLUMNS), ""]
    order_map = {
        "key": "id",
        "total": "bill",
        "currency": "'EUR'",
        "data": {"note": "o.note", "two": "o.tables + 1", "all": "array[o.tables]"},
    }
    await db.execute("select orderwire.attach('public.shop', $1)", json.dumps(order_map))
    await db.execute("insert into shop values ('b', '=x', -3, -1.50), ('a', null, null, null)")
    async with app.http.get("/api/orders.csv") as response:
        lines = (await response.text("utf-8-sig")).split("\r\n")
    assert lines == [
        ",".join([*COLUMNS, "all", "two", "note"]),
        "b,,,,,-1.50,EUR,,[-3],-2,'=x",
        "a,,,,,,EUR,,[null],,",
        "",
    ]


async def test_100_000_orders_are_exported_in_little_memory_while_others_are_served(
    start_server: StartServer, database_url: str, db: Any
) -> None:
    await fill(db, 100_000)
    server = await start_server(database_url)
    pid = server.process.pid

    def resident_kilobytes() -> int:
        return int(re.findall(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())[0])

    async with aiohttp.ClientSession() as http:
        before = resident_kilobytes()
        async with http.get(f"{server.http_url}/api/orders.csv") as response:
            count = (await response.content.readexactly(1000)).count(b"\n")
            # The server has filled the buffers now, or will, and waits for this client.
            async with http.get(f"{server.http_url}/api/orders?limit=1") as other:
                assert other.status == 200
            await db.execute("insert into orders (customer_name, total) values ('later', 1)")
            async for chunk in response.content.iter_any():
                count += chunk.count(b"\r\n")
        assert count == 1 + 100_000, "those of one moment"
        # The text has 100 MB.
        assert resident_kilobytes() - before < 40_000


async def test_a_broken_export_never_ends_like_a_whole_one(app: App, db: Any) -> None:
    await fill(db, 20_000)  # 20 MB: more than sockets hold, so the export waits for the client
    async with app.http.get("/api/orders.csv") as response:
        await response.content.readexactly(1000)
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while not await db.fetchval(
                "select count(*) filter (where pg_terminate_backend(pid)) from pg_stat_activity"
                " where state = 'idle in transaction' and datname = current_database()"
            ):
                pass  # it fetches rows
        with pytest.raises(aiohttp.ClientPayloadError):
            await read_rest(response)
    await app.log.wait_for_line("an export was aborted")


async def test_a_client_that_does_not_read_is_cut_off(app: App, db: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.http.order_lists.MAX_STALL_SECONDS", 0.2)
    await fill(db, 20_000)
    async with app.http.get("/api/orders.csv") as response:
        await app.log.wait_for_line("an export was aborted: the client does not read")
        with pytest.raises(aiohttp.ClientPayloadError):
            await read_rest(response)


async def test_an_export_has_a_time_limit(app: App, db: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.http.order_lists.MAX_EXPORT_SECONDS", 0.3)
    await fill(db, 20_000)
    async with app.http.get("/api/orders.csv") as response:
        await app.log.wait_for_line("an export was aborted: it took longer than 0.3 s")
        with pytest.raises(aiohttp.ClientPayloadError):
            await read_rest(response)


async def test_exports_at_a_time_are_limited_and_a_client_that_leaves_makes_room(start_app: StartApp, db: Any) -> None:
    app = await start_app(JWT_SECRET=SECRET)
    await fill(db, 20_000)
    anna, bo, eve = ({"Authorization": f"Bearer {token('admin', sub=name)}"} for name in ("anna", "bo", "eve"))

    async def reason(headers: dict[str, str]) -> str:
        async with app.http.get("/api/orders.csv", headers=headers) as refused:
            assert (refused.status, refused.headers["Retry-After"]) == (429, "10")
            message: str = (await refused.json())["error"]["message"]
            return message

    first = await app.http.get("/api/orders.csv", headers=anna)
    assert await reason(anna) == "another export of yours is running: wait for its end, or break it off"
    second = await app.http.get("/api/orders.csv", headers=bo)
    assert "2 exports are running" in await reason(eve)
    first.close()

    async def until_there_is_room() -> None:
        while True:
            async with app.http.get("/api/orders.csv?status=ready", headers=anna) as response:
                if response.status == 200:
                    return
                assert response.status == 429

    await within(TIMEOUT_SECONDS, until_there_is_room(), "room for another export")
    second.close()


async def test_an_export_needs_chunks(app: App) -> None:
    reader, writer = await asyncio.open_connection(*app.address)
    writer.write(b"GET /api/orders.csv HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")
    answer = await within(TIMEOUT_SECONDS, reader.read(), "the answer")
    assert b" 400 " in answer.split(b"\r\n")[0] or b" 403 " in answer.split(b"\r\n")[0]
    writer.close()
