"""The SQL statements and URLs of the README work."""

from __future__ import annotations

import re
from typing import Any

import aiohttp

from tests.support import ROOT, Client, Connect, Server, StartServer

README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


async def test_sql_sends_events_and_revokes_tokens(
    start_server: StartServer, connect: Connect, database_url: str, db: Any
) -> None:
    server: Server = await start_server(database_url)
    client: Client = await connect(server.ws_url)
    changes, revocation = blocks("sql")
    for statement in filter(str.strip, changes.split(";")):
        await db.execute(statement)
    await client.wait_until(lambda c: len(c.events) == 2, "both events")
    assert [event["type"] for event in client.events] == ["new_order", "order_status_update"]
    await db.execute(revocation)
    assert await db.fetchval("select count(*) from orderwire.revocations where subject = 'user-7'") == 1


async def test_every_url_returns_200(start_server: StartServer, database_url: str) -> None:
    server: Server = await start_server(database_url)
    paths = re.findall(r"http://127\.0\.0\.1:8000(/[^\s'\"]*)", README)
    assert len(paths) >= 5
    async with aiohttp.ClientSession() as http:
        for path in paths:
            async with http.get(server.http_url + path) as response:
                assert response.status == 200, path
